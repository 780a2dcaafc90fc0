"""Executors on this machine: inline (here, one by one) and loky (a process for each core)."""

from __future__ import annotations

import contextlib
import signal
from concurrent.futures import BrokenExecutor, Future
from typing import Any

from cutaway.engines.base import Exchange, Executor, Task, run_task

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class InlineExecutor(Executor):
    """Runs each job at once, here. Threads are left as they are."""

    def submit(self, task: Task, varying: tuple, shared: tuple) -> Future:
        future: Future = Future()
        try:
            future.set_result(task.call(varying, shared))
        except Exception as error:
            future.set_exception(error)
        return future


class LokyExecutor(Executor):
    """Processes on this machine, kept between calls. A dead worker breaks the pool; a fresh one is opened."""

    pool_dies_as_one = True

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or usable_cores()
        self.threads = max(1, usable_cores() // self.workers)
        self.room = self.workers + 1  # one more than workers, so that none waits for its next job
        self._pool: Any = None
        self._exchange = Exchange()

    def submit(self, task: Task, varying: tuple, shared: tuple) -> Future:
        if self._pool is None:
            self._pool = self._open()
        return self._pool.submit(run_task, task, varying, self._exchange.put(shared), self.threads)

    def _open(self) -> Any:
        import loky

        variables = {name: str(self.threads) for name in THREAD_VARIABLES}
        return loky.ProcessPoolExecutor(max_workers=self.workers, initializer=ignore_interrupts, env=variables)

    def died(self, error: BaseException) -> bool:
        return isinstance(error, BrokenExecutor)

    def renew(self) -> None:
        self.stop()

    def stop(self) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.shutdown(wait=True, kill_workers=True)

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.shutdown(wait=wait, kill_workers=cancel_futures)
        self._exchange.close()


def ignore_interrupts() -> None:
    """Ctrl-C is for the parent, which then ends its workers."""
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def usable_cores() -> int:
    """Cores this process may use (affinity and container limits count)."""
    import loky

    return max(1, loky.cpu_count())
