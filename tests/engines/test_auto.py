"""The engine `auto` opens processes when, and only when, they save more than they cost."""

import pytest

from cutaway.engines import auto
from cutaway.engines.auto import AutoExecutor
from cutaway.engines.base import Executor
from cutaway.engines.executor import get_executor
from cutaway.engines.jobs import map_jobs
from cutaway.engines.local import InlineExecutor


class Clock:
    """A clock that jobs move on."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Elsewhere(Executor):
    """Stands for processes and counts what it is given."""

    room, given, broken = 3, 0, False

    def __init__(self, workers):
        self.workers = workers

    def submit(self, task, varying, shared):
        if Elsewhere.broken:
            raise TypeError("cannot pickle this")
        Elsewhere.given += 1
        return InlineExecutor().submit(task, varying, shared)


def done_elsewhere(seconds, *, count=39, workers=2, expected=39, broken=False):
    """How many of `count` jobs of `seconds` go to the processes; all results must be right."""
    clock, Elsewhere.given, Elsewhere.broken = Clock(), 0, broken

    def job(number):
        clock.now += seconds[number] if isinstance(seconds, list) else seconds
        return number * number

    executor = AutoExecutor(workers, expected, clock=clock, processes=Elsewhere)
    assert map_jobs(executor, job, [(k,) for k in range(count)]) == [k * k for k in range(count)]
    return Elsewhere.given


def test_dear_jobs_go_to_processes_after_the_second():
    assert done_elsewhere(10.0) == 37


def test_cheap_jobs_stay_here():
    assert done_elsewhere(0.5) == 0  # 39 jobs would be done 9.5 s sooner
    assert done_elsewhere(1.5) == 37


def test_a_first_job_that_pays_for_imports_does_not_open_processes():
    assert done_elsewhere([90.0, *[0.1] * 38]) == 0


@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_without_a_number_of_jobs_processes_open_when_half_the_past_would_have_paid(seconds):
    given = done_elsewhere(seconds, expected=None, count=60)
    assert 60 - given == int(2 * auto.START / seconds) + 1


def test_what_cannot_be_sent_to_a_process_stays_here():
    assert done_elsewhere(10.0, broken=True) == 0


def test_one_worker_is_this_process():
    assert done_elsewhere(100.0, workers=1) == 0


def test_cores_that_others_use_are_not_counted(monkeypatch):
    monkeypatch.setattr(auto, "usable_cores", lambda: 4)
    for load, free in ((0.0, 4), (1.0, 4), (3.0, 2), (9.0, 1)):
        monkeypatch.setattr(auto.os, "getloadavg", lambda load=load: (load, 0, 0), raising=False)
        assert auto.free_cores() == free


def test_auto_is_an_engine_by_name():
    assert get_executor("auto", workers=2, expected=5).expected == 5
