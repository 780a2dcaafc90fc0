"""map_jobs here and on loky: order, callbacks, errors, threads, and killed workers that lose nothing."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import cloudpickle
import pytest
import torch

from cutaway.engines import get_executor, map_jobs
from cutaway.engines.base import Exchange
from cutaway.errors import InputError, MissingExtra, WorkError

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # worker processes cannot import a test file


def square(number, offset=0):
    return number * number + offset


def total(scale, tensor, number):
    return scale * float(tensor.sum()) + number


def fails_at_three(number, folder):
    if number == 3:
        while not all((folder / str(k)).exists() for k in range(3)):
            time.sleep(0.01)
        time.sleep(0.3)  # what the others return is on its way
        raise ValueError("three is not allowed")
    (folder / str(number)).touch()
    return number


def dies_once(number, folder):
    """Job 2 kills its worker the first time."""
    marker = Path(folder) / "died"
    if number == 2 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return number, os.getpid()


def always_dies(number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return number


def dies_beside_others(number):
    """Job 0 kills its worker while the others are at work."""
    time.sleep(0.1 if number == 0 else 1.0)
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def threads_used(_number):
    from threadpoolctl import threadpool_info

    return torch.get_num_threads(), max(pool["num_threads"] for pool in threadpool_info())


def sleeps(number, folder):
    (Path(folder) / str(number)).touch()
    time.sleep(0.1 if number == 0 else 60)
    return number


class Counted:
    """Counts how often it is pickled."""

    pickled = 0

    def __reduce__(self):
        Counted.pickled += 1
        return int, (7,)


@pytest.fixture(scope="module")
def loky():
    with get_executor("loky", workers=2) as executor:
        yield executor


@pytest.fixture(params=["inline", "loky"])
def executor(request):
    if request.param == "loky":
        yield request.getfixturevalue("loky")
    else:
        yield get_executor()


class TestBoth:
    def test_results_in_order_and_callback_for_each(self, executor):
        seen = {}
        found = map_jobs(executor, square, [(k, 1) for k in range(9)], on_done=seen.__setitem__)
        assert found == [k * k + 1 for k in range(9)]
        assert seen == dict(enumerate(found))
        assert map_jobs(executor, square, []) == []
        assert map_jobs(executor, square, [(4,)]) == [16]

    def test_shared_arguments_at_any_place(self, executor):
        tensor = torch.ones(50)
        assert map_jobs(executor, total, [(2.0, tensor, k) for k in range(4)]) == [100.0, 101.0, 102.0, 103.0]
        assert map_jobs(executor, total, [(k, tensor, 1) for k in range(3)]) == [1.0, 51.0, 101.0]
        assert map_jobs(executor, total, [(1.0, torch.full((2,), k), k) for k in (1.0, 2.0)]) == [3.0, 6.0]

    def test_an_exception_of_the_function_is_raised_and_what_was_done_is_kept(self, executor, tmp_path):
        done, jobs = [], [(k, tmp_path) for k in range(8)]
        with pytest.raises(ValueError, match="three is not allowed"):
            map_jobs(executor, fails_at_three, jobs, on_done=lambda k, _r: done.append(k))
        assert set(done) >= {0, 1, 2} if executor.room > 1 else done == [0, 1, 2]
        assert map_jobs(executor, square, [(2,), (3,)]) == [4, 9]  # and it still works

    def test_an_exception_of_the_callback_is_raised(self, executor):
        def full(_index, _result):
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            map_jobs(executor, square, [(1,), (2,)], on_done=full)


class TestLoky:
    def test_a_killed_worker_loses_nothing(self, tmp_path, loky):
        done = []
        jobs = [(k, str(tmp_path)) for k in range(8)]
        found = map_jobs(loky, dies_once, jobs, on_done=lambda k, _r: done.append(k))
        assert (tmp_path / "died").exists()
        assert [number for number, _ in found] == list(range(8))
        assert sorted(done) == list(range(8))
        assert os.getpid() not in {pid for _, pid in found}

    def test_without_retries_the_same_death_is_an_error(self, tmp_path, loky):
        with pytest.raises(WorkError, match="its worker died 1 times"):
            map_jobs(loky, dies_once, [(k, str(tmp_path)) for k in range(4)], retries=0)

    def test_a_job_that_always_kills_is_found_out_and_the_others_finish(self, loky):
        done = []
        with pytest.raises(WorkError, match=r"job 2 of 5; found its worker died 3 times.*results are kept"):
            map_jobs(loky, always_dies, [(k,) for k in range(5)], on_done=lambda k, _r: done.append(k))
        assert sorted(done) == [0, 2, 3, 4]

    def test_a_killer_does_not_take_its_neighbours_along(self):
        done = []
        with get_executor("loky", workers=3) as executor, pytest.raises(WorkError, match="job 1 of 3;"):
            map_jobs(executor, dies_beside_others, [(k,) for k in range(3)], on_done=lambda k, _r: done.append(k))
        assert sorted(done) == [1, 2]

    @pytest.mark.parametrize("threads", [1, 3])  # 3 is no default of any machine's, so that the cap shows
    def test_threads_are_capped(self, threads):
        with get_executor("loky", workers=1) as executor:
            executor.threads = threads
            assert map_jobs(executor, threads_used, [(0,)]) == [(threads, threads)]

    def test_threads_are_shared_out_over_the_workers(self, monkeypatch):
        from cutaway.engines import local

        monkeypatch.setattr(local, "usable_cores", lambda: 8)
        assert get_executor("loky", workers=3).threads == 2
        assert get_executor("loky", workers=16).threads == 1
        assert get_executor("loky").workers == 8

    def test_shared_arguments_are_pickled_once_for_all_jobs_and_calls(self, loky):
        shared = Counted()
        Counted.pickled = 0
        assert map_jobs(loky, square, [(k, shared) for k in range(6)]) == [k * k + 7 for k in range(6)]
        map_jobs(loky, square, [(k, shared) for k in range(3)])
        assert Counted.pickled == 1

    def test_interrupt_stops_the_workers_and_keeps_what_is_done(self, tmp_path):
        previous = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
        try:
            self.interrupted(tmp_path)
        finally:
            signal.signal(signal.SIGINT, previous)

    def interrupted(self, tmp_path):
        executor, done = get_executor("loky", workers=2), []
        map_jobs(executor, square, [(1,), (2,)])

        def interrupt():
            while not done:
                time.sleep(0.02)
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        began = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            map_jobs(executor, sleeps, [(k, str(tmp_path)) for k in range(4)], on_done=lambda k, _r: done.append(k))
        assert time.perf_counter() - began < 30  # the jobs would sleep a minute
        assert done == [0]
        assert map_jobs(executor, square, [(3,)]) == [9]
        executor.shutdown()


class TestChoice:
    def test_bad_options(self):
        for options, words in (
            ({"name": "loki"}, "Did you mean 'loky'"),
            ({"name": "loky", "workers": 0}, "1 or more"),
            ({"name": "inline", "address": "tcp://x:1"}, "--engine dask"),
        ):
            with pytest.raises(InputError, match=words):
                get_executor(**options)

    def test_missing_extras(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "distributed", None)
        monkeypatch.setitem(sys.modules, "submitit", None)
        for name in ("dask", "submitit"):
            with pytest.raises(MissingExtra, match=rf"cutaway\[{name}\]"):
                get_executor(name)

    def test_exchange_cleans_up(self, tmp_path):
        exchange = Exchange(tmp_path)
        shared = ([1, 2],)
        file = exchange.put(shared)
        assert file.get() == shared
        assert exchange.put(shared) is file
        exchange.close()
        assert list(tmp_path.iterdir()) == []
