"""`map_jobs`: independent jobs on any executor, with retries, results as they come, and nothing lost.

A job is a tuple of arguments. Arguments that are the very same object in every job (the network, the data) travel
once and stay with the workers. A job whose worker died is tried again in a fresh pool, its last time alone, so that a
job that kills workers is found out and takes no other with it. The result does not depend on the executor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from cutaway.engines.base import Executor, Task
from cutaway.errors import WorkError


def map_jobs(
    executor: Executor,
    function: Callable[..., Any],
    jobs: Sequence[tuple],
    *,
    retries: int = 2,
    on_done: Callable[[int, Any], None] | None = None,
) -> list[Any]:
    """[function(*job) for job in jobs], in the order of the jobs.

    on_done(index, result) is called here, in this process, as each job is done: the place to keep results. retries:
    how often a job whose worker died is tried again. An exception that `function` raises ends the work and is raised;
    Ctrl-C stops the workers first. Raises WorkError after all other jobs are done when a job's worker died more often
    than it may.
    """
    run = _Run(executor, function, [tuple(job) for job in jobs], retries, on_done)
    try:
        return run.all()
    except BaseException:
        executor.stop()
        raise


class _Run:
    """The state of one map_jobs call: which jobs wait, which run, how often each one's worker died."""

    def __init__(self, executor, function, jobs, retries, on_done) -> None:
        self.executor, self.retries, self.on_done = executor, retries, on_done
        self.shared = _same_in_all(jobs)
        self.task = Task(function, tuple(self.shared))
        self.varying = [tuple(v for k, v in enumerate(job) if k not in self.shared) for job in jobs]
        self.results: list[Any] = [None] * len(jobs)
        self.deaths = [0] * len(jobs)
        self.waiting = deque(range(len(jobs)))
        self.running: dict[Future, int] = {}
        self.lost: list[tuple[int, BaseException]] = []

    def all(self) -> list[Any]:
        while self.waiting or self.running:
            self._fill()
            done, _ = wait(self.running, return_when=FIRST_COMPLETED)
            if self._collect(done) and self.executor.pool_dies_as_one:
                done, _ = wait(self.running)
                self._collect(done)
                self.executor.renew()
        if self.lost:
            raise self._gave_up()
        return self.results

    def _fill(self) -> None:
        """Submit while there is room; a job on its last try runs alone."""
        while self.waiting and len(self.running) < self.executor.room:
            index = self.waiting[0]
            alone = self._last_try(index)
            if self.running and (alone or any(self._last_try(other) for other in self.running.values())):
                return
            self.waiting.popleft()
            try:
                future = self.executor.submit(self.task, self.varying[index], tuple(self.shared.values()))
            except Exception as error:
                if not self.executor.died(error):
                    raise
                future = Future()
                future.set_exception(error)
            self.running[future] = index

    def _last_try(self, index: int) -> bool:
        return 0 < self.deaths[index] >= self.retries

    def _collect(self, done: set[Future]) -> bool:
        """Take in what is done; True when a worker died."""
        died = False
        for future in sorted(done, key=self.running.__getitem__):
            index = self.running.pop(future)
            error = future.exception() if not future.cancelled() else None
            if error is None and not future.cancelled():
                self.results[index] = future.result()
                if self.on_done is not None:
                    self.on_done(index, self.results[index])
            elif error is None or self.executor.died(error):
                died = True
                self._retry(index, error or RuntimeError("cancelled by the cluster"))
            else:
                raise error
        return died

    def _retry(self, index: int, error: BaseException) -> None:
        self.deaths[index] += 1
        if self.deaths[index] > self.retries:
            self.lost.append((index, error))
        else:
            self.waiting.append(index)

    def _gave_up(self) -> WorkError:
        index, error = self.lost[0]
        reason = " ".join(str(error).split()).split(". ")[0][:160] or type(error).__name__
        return WorkError(
            f"job {index + 1} of {len(self.results)}"
            + (f" and {len(self.lost) - 1} more" if len(self.lost) > 1 else ""),
            found=f"its worker died {self.deaths[index]} times ({reason})",
            expected="a result",
            remedy="the other results are kept; if memory ran out, give fewer --workers or a smaller --budget",
        )


def _same_in_all(jobs: list[tuple]) -> dict[int, Any]:
    """Place -> argument, for the arguments that are one object in all jobs."""
    if len(jobs) < 2 or len({len(job) for job in jobs}) != 1:
        return {}
    return {k: value for k, value in enumerate(jobs[0]) if all(job[k] is value for job in jobs)}
