"""Processes that compute, in the service: what a killed one was asked is answered by another, and it takes batches
again once it has loaded. Counts, no seconds: the processes are stand-ins that load and die on command."""

import asyncio
import threading
from importlib.util import find_spec
from typing import ClassVar

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from cutaway.errors import WorkError
from cutaway.guard.service import workers as of_service
from cutaway.guard.service.app import Service
from cutaway.guard.service.metrics import Metrics
from cutaway.guard.service.requests import Refused
from cutaway.guard.service.settings import ServiceSettings
from cutaway.guard.service.workers import ATTEMPTS, LIBRARIES, ProcessWorkers


class Process:
    """A process at the other end of a pipe that loads when `gate` is open and dies at what it is told to."""

    made: ClassVar[list] = []

    def __init__(self, context, start):
        self.gate, self.deaths, self.answered, self.launches, self.loaded = threading.Event(), 0, 0, 1, False
        self.gate.set()
        self.hold = threading.Event()
        self.hold.set()
        self.made.append(self)

    def receive(self):
        assert self.gate.wait(60)
        self.loaded = True
        return "ready", None

    def ask(self, texts, seconds):
        assert self.loaded, "asked before it had loaded"
        assert self.hold.wait(60)
        if self.deaths:
            self.deaths -= 1
            raise EOFError
        self.answered += 1
        return "verdicts", [text.upper() for text in texts]

    def restart(self):
        self.loaded, self.launches = False, self.launches + 1

    def stop(self):
        self.gate.set()
        self.hold.set()


@pytest.fixture
def two(monkeypatch, tmp_path):
    """(workers, their two processes, metrics), not started."""
    monkeypatch.setattr(of_service, "WorkerProcess", Process)
    monkeypatch.setattr(Process, "made", [])
    metrics = Metrics()
    workers = ProcessWorkers(tmp_path, 2, metrics)
    return workers, Process.made, metrics


async def until(true):
    while not true():
        await asyncio.sleep(0)


def test_a_killed_worker_takes_batches_again_only_once_it_has_loaded(two):
    workers, (one, other), metrics = two

    async def work():
        await workers.start()
        await until(lambda: workers.loaded == 2)
        one.gate.clear()
        one.deaths = 1
        asked = [workers.score([f"a{i}"]) for i in range(20)]
        answers = await asyncio.gather(*asked)
        assert answers == [[f"A{i}"] for i in range(20)]  # none lost, the one that died among them
        assert (workers.loaded, one.launches, one.loaded) == (1, 2, False)
        before = one.answered
        await asyncio.gather(*(workers.score(["b"]) for _ in range(10)))
        assert one.answered == before and metrics.value("guard_worker_restarts_total") == 1
        one.gate.set()
        await until(lambda: workers.loaded == 2)
        await asyncio.gather(*(workers.score(["c"]) for _ in range(10)))
        assert one.answered > before and other.launches == 1

    try:
        asyncio.run(work())
    finally:
        workers.close()


def test_both_killed_lose_nothing_and_a_batch_that_kills_every_process_is_told(two):
    workers, processes, metrics = two

    async def work():
        await workers.start()
        await until(lambda: workers.loaded == 2)
        for process in processes:
            process.deaths = 1
        answers = await asyncio.gather(*(workers.score([f"a{i}"]) for i in range(20)))
        assert answers == [[f"A{i}"] for i in range(20)] and metrics.value("guard_worker_restarts_total") == 2
        for process in processes:
            process.deaths = 1000
        with pytest.raises(WorkError, match=rf"{ATTEMPTS} deaths on one batch.*more memory"):
            await workers.score(["poison"])
        for process in processes:
            process.deaths = 0
        assert await workers.score(["after"]) == ["AFTER"]

    try:
        asyncio.run(work())
    finally:
        workers.close()


def test_what_waits_while_no_process_is_loaded_is_refused_and_answered_again_afterwards(two, monkeypatch):
    workers, processes, metrics = two
    monkeypatch.setattr(of_service, "LOAD_SECONDS", 0.05)
    service = Service(workers, ServiceSettings(), metrics)

    async def work():
        await workers.start()
        await until(lambda: workers.loaded == 2)
        service.batcher.start()
        for process in processes:
            process.gate.clear()
            process.deaths = 1
        asked = [service.verdicts([f"a{i}"], 0.0, "/v1/check", None) for i in range(40)]
        async with asyncio.timeout(30):
            refused = await asyncio.gather(*asked, return_exceptions=True)
        assert [(type(r), r.status) for r in refused] == [(Refused, 503)] * 40
        assert "no worker is loaded" in refused[0].reason and workers.loaded == service.batcher.waiting == 0
        for process in processes:
            process.gate.set()
        await until(lambda: workers.loaded == 2)
        assert await workers.score(["after"]) == ["AFTER"]
        await service.batcher.drain()

    try:
        asyncio.run(work())
    finally:
        service.reader.close()
        workers.close()


def test_a_batch_that_waits_for_a_busy_process_is_refused_once_that_dies_too(two, monkeypatch):
    workers, (one, other), _ = two
    monkeypatch.setattr(of_service, "LOAD_SECONDS", 0.05)

    async def work():
        await workers.start()
        await until(lambda: workers.loaded == 2)
        for process in (one, other):
            process.gate.clear()
            process.deaths = 1
            process.hold.clear()
        asked = [asyncio.create_task(workers.score([f"a{i}"])) for i in range(2)]
        await until(lambda: workers._idle.empty())
        one.hold.set()
        await until(lambda: workers.loaded == 1)  # its batch waits for the other, which is busy
        other.hold.set()
        async with asyncio.timeout(30):
            refused = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(r) for r in refused] == [of_service.Absent] * 2

    try:
        asyncio.run(work())
    finally:
        workers.close()


def test_processes_are_forked_from_one_that_has_the_libraries():
    context = of_service.process_context()
    assert context.get_start_method() in ("forkserver", "spawn")
    for name in LIBRARIES:  # one that is not there would be left out in silence
        assert find_spec(name) is not None, name
