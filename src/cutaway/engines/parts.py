"""Independent parts of one measurement on the workers of the engine in force: `with working_on(executor):`.

What can be split says so where it loops, by `in_parts` (texts, prompts) or `in_draws` (permutations, resamples); it
knows no engine, and no measurement passes one along. Parts and their random streams do not depend on the engine, so
neither do the numbers: bit for bit where each process takes as many threads (passes of networks below `threads.WORTH`
always take one), else up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cutaway import seeds
from cutaway.engines.base import Executor
from cutaway.engines.jobs import map_jobs

if TYPE_CHECKING:
    from cutaway.arrays import Floats

DRAWS = 25
"""Draws of one part, which has a random stream of its own."""

JOBS_EACH = 4
"""Jobs for each place of an executor: few enough to cost little, enough that no worker waits long for the last."""


@dataclass(slots=True)
class AtWork:
    """The engine in force, and how many parts it was given so far."""

    executor: Executor
    parts: int = 0

    def told(self, engine: str) -> str:
        """A sentence where the engine, so named, was given nothing; else empty."""
        return "" if self.parts else f"engine {engine}: nothing in this work is split, so it ran here"


_in_force: ContextVar[AtWork | None] = ContextVar("engine in force", default=None)


@contextmanager
def working_on(executor: Executor) -> Iterator[AtWork]:
    """Inside, what can be split runs on `executor`, in this thread; what cannot runs here as ever (`parts` stays 0)."""
    at = AtWork(executor)
    token = _in_force.set(at)
    try:
        yield at
    finally:
        _in_force.reset(token)


def in_parts(function: Callable[..., Any], parts: Sequence[tuple], *shared: Any) -> list[Any]:
    """[function(*shared, *part) for part in parts], in that order, on the engine in force.

    Arguments and results travel by pickle where the engine has other processes; `shared` travels once. Raises what
    `function` raises, and WorkError where a worker died too often.

    >>> in_parts(pow, [(1,), (2,), (3,)], 2)
    [2, 4, 8]
    """
    at = _in_force.get()
    if at is None or len(parts) < 2:
        return [function(*shared, *part) for part in parts]
    at.parts += len(parts)
    size = -(-len(parts) // (JOBS_EACH * max(at.executor.room, JOBS_EACH)))
    groups = [(function, shared, parts[start : start + size]) for start in range(0, len(parts), size)]
    return [result for results in map_jobs(at.executor, _each, groups) for result in results]


def _each(function: Callable[..., Any], shared: tuple, parts: Sequence[tuple]) -> list[Any]:
    return [function(*shared, *part) for part in parts]


def in_draws(function: Callable[..., Any], count: int, *shared: Any, seed: int, path: tuple[int | str, ...]) -> Floats:
    """(count, ...): function(rng, n, *shared) gives n draws (n, ...) from its generator, here for `DRAWS` at a time,
    each time from the next stream at `path` under `seed`, on the engine in force.

    >>> in_draws(lambda rng, n: rng.integers(0, 9, n), 60, seed=0, path=("dice",)).shape
    (60,)
    """
    import numpy as np

    parts = [(part, min(DRAWS, count - start)) for part, start in enumerate(range(0, count, DRAWS))]
    found = in_parts(_drawn, parts, function, shared, seed, path)
    return np.concatenate(found) if found else np.empty(0)


def _drawn(function: Callable[..., Any], shared: tuple, seed: int, path: tuple, part: int, count: int) -> Any:
    import numpy as np

    stream = seeds.stream(seed, *path, part)
    return function(np.random.default_rng(stream), count, *shared)
