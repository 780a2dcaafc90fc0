"""Jobs on SLURM through submitit (extra `submitit`): one SLURM job for each of ours, results fetched as they come.

Logs and shared arguments lie in `cutaway-jobs/` under the working folder, which the nodes must see.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from cutaway.engines.base import Exchange, Executor, Task, run_task
from cutaway.errors import InputError, MissingExtra

FOLDER = "cutaway-jobs"
POLL_SECONDS = 0.5
DEFAULT_JOBS = 32
TIME_LIMIT_MINUTES = 240


class SubmititExecutor(Executor):
    """At most `workers` jobs at a time on `address` ("slurm", "local", "debug"; None: SLURM where there is one, else
    local)."""

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        try:
            import submitit  # pyright: ignore[reportMissingImports]  # an extra that developers may leave out
        except ImportError as error:
            raise MissingExtra.of("submitit", "submitit") from error
        folder = Path(FOLDER).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._executor = submitit.AutoExecutor(folder=folder / "logs", cluster=address)
        except (ValueError, RuntimeError) as error:
            raise InputError(
                f"submitit cluster {address!r}",
                found=str(error)[:160],
                expected="slurm or local",
                remedy="use one of the two, or another engine",
            ) from error
        self._executor.update_parameters(timeout_min=TIME_LIMIT_MINUTES, cpus_per_task=1)
        self.room = workers or DEFAULT_JOBS
        self._exchange = Exchange(folder)
        self._jobs: dict[Future, Any] = {}
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None

    def submit(self, task: Task, varying: tuple, shared: tuple) -> Future:
        job = self._executor.submit(run_to_outcome, task, varying, self._exchange.put(shared), 1)
        future: Future = Future()
        with self._lock:
            self._jobs[future] = job
            if self._watcher is None or not self._watcher.is_alive():
                self._watcher = threading.Thread(target=self._watch, daemon=True)
                self._watcher.start()
        return future

    def _watch(self) -> None:
        """Hand results over to the futures until no job is left."""
        while True:
            with self._lock:
                done = [(future, job) for future, job in self._jobs.items() if job.done()]
                for future, _ in done:
                    del self._jobs[future]
            for future, job in done:
                self._hand_over(future, job)
            with self._lock:
                if not self._jobs:
                    self._watcher = None
                    return
            time.sleep(POLL_SECONDS)

    @staticmethod
    def _hand_over(future: Future, job: Any) -> None:
        try:
            result, error = job.result()
        except BaseException as died:
            result, error = None, died
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def died(self, error: BaseException) -> bool:
        from submitit.core.utils import FailedJobError, UncompletedJobError  # pyright: ignore[reportMissingImports]

        return isinstance(error, (FailedJobError, UncompletedJobError))  # what jobs raise comes as an outcome

    def stop(self) -> None:
        with self._lock:
            jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            job.cancel()

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        self.stop()
        self._exchange.close()


def run_to_outcome(task: Task, varying: tuple, shared: Any, threads: int) -> tuple[Any, Exception | None]:
    """In the job: (result, None) or (None, what it raised), since submitit would give the exception's text only."""
    try:
        return run_task(task, varying, shared, threads), None
    except Exception as error:
        return None, error
