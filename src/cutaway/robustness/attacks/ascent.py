"""Ascent with momentum that halves its own steps: Algorithm 1 of Croce and Hein (Auto-PGD, arXiv 2003.01690).

With projection P, steepest ascent step s(g, eta) and momentum a = 0.75 (a = 1 in the first step):
    z = P(x_k + s(grad f(x_k), eta)),    x_{k+1} = P(x_k + a (z - x_k) + (1 - a) (x_k - x_{k-1})).
At checkpoints w_j = ceil(p_j steps), p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), a row's eta
is halved and the row goes back to its best point if (1) f rose in fewer than 75 % of the steps since the last
checkpoint, or (2) neither eta nor the best f changed since then. Used by the attack `APGD` and by the search for
witnesses in verification.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

MOMENTUM = 0.75
ENOUGH = 0.75
"""Share of rising steps below which a row's step size is halved."""


class Ground(Protocol):
    """What is climbed; `rows` are the numbers of the rows that the points belong to."""

    def evaluate(self, points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values `(n,)`, gradients like `points`, and whether a row is won `(n,)` bool."""
        ...

    def step(self, points: Tensor, gradient: Tensor, size: Tensor, rows: Tensor) -> Tensor:
        """Points after a projected steepest ascent step of `size` `(n,)`."""
        ...

    def project(self, points: Tensor, rows: Tensor) -> Tensor:
        """The nearest allowed points."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Climbed:
    """Best points `(n, ...)`, their values `(n,)`, and whether the row was won there `(n,)`."""

    points: Tensor
    values: Tensor
    won: Tensor


def checkpoints(steps: int) -> tuple[int, ...]:
    """The steps after which step sizes are looked at: w_1, w_2, ... below `steps`."""
    before, here, found = 0.0, 0.22, []
    while here < 1:
        found.append(math.ceil(here * steps - 1e-9))
        before, here = here, here + max(here - before - 0.03, 0.06)
    return tuple(sorted({w for w in found if 0 < w < steps}))


def climb(
    ground: Ground,
    start: Tensor,
    *,
    size: float,
    steps: int,
    stop_early: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> Climbed:
    """`steps` steps from `start` with first step size `size`; with `stop_early` a row is left once it is won.

    `stop` is asked after every step. Cost: steps + 1 evaluations a row.
    """
    state = _State(ground, start, size)
    looks, since = checkpoints(steps), 0
    for k in range(steps):
        if stop_early:
            state.drop_won()
        if len(state.rows) == 0 or stop():
            break
        state.advance(1.0 if k == 0 else MOMENTUM)
        if k + 1 in looks:
            state.look(k + 1 - since)
            since = k + 1
    return Climbed(points=state.best, values=state.value, won=state.won)


class _State:
    """All rows' best points, and the walk of the rows still climbed (`rows`)."""

    def __init__(self, ground: Ground, start: Tensor, size: float) -> None:
        self.ground, self.rows = ground, torch.arange(len(start), device=start.device)
        self.point = self.before = start
        self.f, self.gradient, won = ground.evaluate(start, self.rows)
        self.best, self.value, self.won = start.clone(), self.f.clone(), won.clone()
        self.best_gradient = self.gradient.clone()
        self.size = torch.full((len(start),), size, dtype=start.dtype, device=start.device)
        self.rises = torch.zeros(len(start), device=start.device)
        self.seen = self.value.clone()
        self.halved = torch.ones(len(start), dtype=torch.bool, device=start.device)

    def drop_won(self) -> None:
        keep = ~self.won[self.rows]
        if bool(keep.all()):
            return
        for name in ("rows", "point", "before", "f", "gradient", "best_gradient", "size", "rises", "seen", "halved"):
            setattr(self, name, getattr(self, name)[keep])

    def advance(self, momentum: float) -> None:
        z = self.ground.step(self.point, self.gradient, self.size, self.rows)
        new = self.point + momentum * (z - self.point) + (1 - momentum) * (self.point - self.before)
        self.before, self.point = self.point, self.ground.project(new, self.rows)
        f, self.gradient, won = self.ground.evaluate(self.point, self.rows)
        self.rises += f > self.f
        self.f = f
        better = ~self.won[self.rows] & won | (won == self.won[self.rows]) & (f > self.value[self.rows])
        where = self.rows[better]
        self.best[where], self.value[where], self.won[where] = self.point[better], f[better], won[better]
        self.best_gradient[better] = self.gradient[better]

    def look(self, count: int) -> None:
        """A checkpoint after `count` steps."""
        best = self.value[self.rows]
        halve = (self.rises < ENOUGH * count) | (~self.halved & (best <= self.seen))
        self.size = torch.where(halve, self.size / 2, self.size)
        self.point = torch.where(halve.reshape(-1, *[1] * (self.point.ndim - 1)), self.best[self.rows], self.point)
        self.gradient = torch.where(halve.reshape(-1, *[1] * (self.point.ndim - 1)), self.best_gradient, self.gradient)
        self.f = torch.where(halve, best, self.f)
        self.halved, self.seen, self.rises = halve, best.clone(), torch.zeros_like(self.rises)
