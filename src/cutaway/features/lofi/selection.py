"""Honest selection of the number of directions, the ridge and the depth, on a held-out fold.

Leave-one-out is invalid once the labels have chosen the features (its error is half the test error in the public
code), so everything here is decided on points that took no part in the fit. The score that is reported is not the best
of the grid: the fold is halved, each half scores the candidate that the other half would choose, and the mean of the
two is free of the selection's optimism.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cutaway.arrays import Array


class Path(Protocol):
    """A stack that can be grown and asked for held-out predictions."""

    def branch(self) -> Any: ...
    def width(self) -> int: ...
    def lift(self) -> None: ...
    def prepare(self, count: int) -> None: ...
    def reduce(self, count: int) -> None: ...
    def solver(self) -> Callable[[float], Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One setting and its held-out figures: `loss` (m,) squared error a point, `hit` (m,) the score's own terms."""

    count: int
    depth: int
    alpha: float
    loss: Array
    hit: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The setting chosen on the whole fold, the honest score with its standard error, `held_out` (the chosen setting's
    `hit`), and the table of all tried."""

    count: int
    depth: int
    alpha: float
    score: float
    standard_error: float
    num_validation: int
    held_out: Array
    table: tuple[tuple[int, int, float, float], ...]


def search(
    start: Path,
    counts: tuple[int, ...],
    depths: int,
    alphas: tuple[float, ...],
    judge: Callable[[Array], Any],
    *,
    early_stopping: bool,
) -> list[Candidate]:
    """Every (count, depth, alpha); a deeper stack is not tried once depth made the loss worse by a standard error.

    `judge(predictions)` returns the pair (loss, hit) of arrays over the held-out points. The first lift, its readout
    and its eigenpairs are shared by all counts. Without `early_stopping` only the full depth is scored.
    """
    start.lift()
    found = _score(start, 0, 1, alphas, judge) if early_stopping or depths == 1 else []
    if depths == 1:
        return found
    counts = tuple(sorted({min(c, start.width()) for c in counts}))
    if len(counts) > 1:
        start.prepare(max(counts))
    shallow = _best(found) if found else None
    for count in counts:
        path, before = start.branch(), shallow
        for depth in range(2, depths + 1):
            path.reduce(count)
            path.lift()
            if before is None and depth < depths:
                continue
            fresh = _score(path, count, depth, alphas, judge)
            found += fresh
            best = _best(fresh)
            if before is None:
                break
            difference = best.loss - before.loss
            if difference.mean() > difference.std() / np.sqrt(difference.size):
                break
            before = best
    return found


def select(
    candidates: list[Candidate], generator: np.random.Generator, combine: Callable[[Array, Array], Any]
) -> Selection:
    """Lowest mean squared error on the fold; the reported score by exchange of halves.

    `combine(hit, index)` turns the terms of the points `index` into (score, standard error).
    """
    num = candidates[0].loss.size
    order = generator.permutation(num)
    halves = (np.sort(order[: num // 2]), np.sort(order[num // 2 :]))
    chosen = _best(candidates)
    parts = []
    for own, other in (halves, halves[::-1]):
        if own.size and other.size:
            parts.append((_best(candidates, other), own))
    if not parts:
        parts = [(chosen, np.arange(num))]
    scores = [combine(candidate.hit, index) for candidate, index in parts]
    weights = np.array([index.size for _, index in parts], dtype=float) / sum(index.size for _, index in parts)
    score = float(sum(w * s[0] for w, s in zip(weights, scores)))
    error = float(np.sqrt(sum((w * s[1]) ** 2 for w, s in zip(weights, scores))))
    table = tuple((c.count, c.depth, c.alpha, float(c.loss.mean())) for c in candidates)
    return Selection(
        count=chosen.count,
        depth=chosen.depth,
        alpha=chosen.alpha,
        score=score,
        standard_error=error,
        num_validation=num,
        held_out=chosen.hit,
        table=table,
    )


def _score(
    path: Path, count: int, depth: int, alphas: tuple[float, ...], judge: Callable[[Array], Any]
) -> list[Candidate]:
    """Walk downhill on the grid of alphas from its middle: the held-out loss of a ridge has one valley in practice."""
    solve = path.solver()
    tried: dict[int, Candidate] = {}

    def at(index: int) -> float:
        if not 0 <= index < len(alphas):
            return np.inf
        if index not in tried:
            loss, hit = judge(solve(alphas[index]))
            tried[index] = Candidate(count=count, depth=depth, alpha=alphas[index], loss=loss, hit=hit)
        return float(tried[index].loss.mean())

    here = len(alphas) // 2
    step = 1 if at(here + 1) < at(here) else -1
    while at(here + step) < at(here):
        here += step
    return [tried[index] for index in sorted(tried)]


def _best(candidates: list[Candidate], index: NDArray[np.intp] | None = None) -> Candidate:
    rows: Any = slice(None) if index is None else index
    return min(candidates, key=lambda c: float(c.loss[rows].mean()))
