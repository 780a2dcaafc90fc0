"""The engine `auto`: here, one job after the other, until processes are worth their start."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future

from cutaway.engines.base import Executor, Task
from cutaway.engines.local import InlineExecutor, LokyExecutor, usable_cores

START = 20.0
"""Seconds that have to be saved before processes are opened: each imports torch, which takes a core 5 to 10 s."""


class AutoExecutor(Executor):
    """Jobs run here; when what is still to come would be done `START` seconds sooner by processes on the cores that
    are free, the rest goes to loky.

    expected: how many jobs will come in all (None: as many again as were done). The first job, which also pays for
    what happens once, does not count. A network that cannot be sent to a process stays here.
    Results do not depend on where a job runs.
    """

    def __init__(
        self,
        workers: int | None = None,
        expected: int | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
        processes: Callable[[int], Executor] = LokyExecutor,
    ) -> None:
        self.workers = workers or free_cores()
        self.expected, self._clock, self._processes = expected, clock, processes
        self._seconds: list[float] = []
        self._use(InlineExecutor())
        self._decided = self.workers < 2

    def _use(self, executor: Executor) -> None:
        self._inner, self.room, self.pool_dies_as_one = executor, executor.room, executor.pool_dies_as_one

    def submit(self, task: Task, varying: tuple, shared: tuple) -> Future:
        if not self._decided and self.gain() > START:
            self._decided, opened = True, self._processes(self.workers)
            try:
                future = opened.submit(task, varying, shared)
            except Exception:  # it cannot be pickled, or no process can be started
                opened.shutdown()
            else:
                self._use(opened)
                return future
        began = self._clock()
        future = self._inner.submit(task, varying, shared)
        if not self._decided:
            self._seconds.append(self._clock() - began)
        return future

    def gain(self) -> float:
        """Seconds that the processes would save, by what the jobs took so far."""
        done = len(self._seconds)
        if done < 2:
            return 0.0
        each = sum(self._seconds[1:]) / (done - 1)
        left = done if self.expected is None else self.expected - done
        return left * each * (1 - 1 / self.workers)

    def died(self, error: BaseException) -> bool:
        return self._inner.died(error)

    def renew(self) -> None:
        self._inner.renew()

    def stop(self) -> None:
        self._inner.stop()

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        self._inner.shutdown(wait=wait, cancel_futures=cancel_futures)


def free_cores() -> int:
    """Cores that other work leaves to this process, itself included; one at least."""
    cores = usable_cores()
    try:
        others = max(os.getloadavg()[0] - 1, 0.0)
    except (AttributeError, OSError):  # Windows
        return cores
    return max(1, round(cores - others))
