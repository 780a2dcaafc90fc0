"""Search for a witness: projected gradient descent on max_k g_k over each clause's box, with restarts.

Starts are uniform points and corners, for few inputs the best of many samples. Restarts take turns between steps by the
sign of the gradient, Auto-PGD (momentum, steps that halve themselves; Croce and Hein, arXiv 2003.01690, see
`attacks.ascent`), and steps along the gradient itself; the first and last are halved in rate where nothing improved.
All are scaled by the width of the box. Every candidate is replayed through the original model before it counts.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from cutaway import seeds
from cutaway.robustness.attacks.ascent import climb
from cutaway.robustness.verify.memory import SHARE, index_pieces
from cutaway.robustness.verify.problem import Problem

MANY_SAMPLES_UP_TO = 32
"""Inputs up to which starts are chosen among thousands of samples."""

SAMPLES, SAMPLED_BYTES = 4000, 4e9
"""Samples for each clause: at most so many; fewer where all clauses' together would fill more than so many bytes."""

TURNS = ("momentum", "sign", "gradient")
"""How the restarts descend, one after another."""


def find_witness(
    problem: Problem, *, restarts: int = 10, steps: int = 40, deadline: float = float("inf"), seed: int = 0
) -> tuple[Tensor | None, float]:
    """A confirmed witness (n,) or None, and the smallest max_k g_k seen. Cost: restarts x steps passes a clause."""
    generator = seeds.generator(seed, "witness")
    best = float("inf")
    for turn in range(restarts):
        for some in _clause_pieces(problem):
            if time.monotonic() > deadline:
                return None, best
            part = problem.subset(some) if len(some) < len(problem.lower) else problem
            point = _starts(part, generator)
            clause = torch.arange(len(some)).repeat(len(point) // len(some))
            way = TURNS[turn % len(TURNS)]
            if way == "momentum":
                found, least = _descend_with_momentum(part, point, clause, steps, deadline)
            else:
                found, least = _descend(part, point, clause, steps, deadline, by_sign=way == "sign")
            best = min(best, least)
            if found is not None:
                return found, best
    return None, best


def _clause_pieces(problem: Problem) -> list[Tensor]:
    """Clauses in pieces whose starting points fit the budget."""
    clauses, inputs = problem.lower.shape
    samples = SAMPLES if inputs <= MANY_SAMPLES_UP_TO else 2
    return index_pieces(clauses, int(SHARE * problem.budget / (samples * (24 * inputs + 32))))


def witnesses_of_many(problem: Problem, *, steps: int = 10, seed: int = 0) -> dict[int, Tensor]:
    """Confirmed witnesses (n,) by clause, where a descent from the middle of the box or from a uniform point
    finds them: all clauses in one batch, for lists of boxes that share a question. Cost: 2 x steps passes a clause."""
    generator = seeds.generator(seed, "witnesses of many")
    low, high = problem.lower, problem.upper
    found: dict[int, Tensor] = {}
    for start in ((low + high) / 2, low + torch.rand(low.shape, generator=generator, dtype=low.dtype) * (high - low)):
        clause = torch.tensor([i for i in range(len(low)) if i not in found], dtype=torch.int64)
        point = start[clause]
        for step in range(steps + 1):
            if len(clause) == 0:
                break
            loss, gradient = problem.slopes(point, clause)
            met = loss <= 0
            for i in met.nonzero().squeeze(1).tolist():
                witness = problem.confirm(point[i], int(clause[i]))
                if witness is not None:
                    found[int(clause[i])] = witness
            clause, point, gradient = clause[~met], point[~met], gradient[~met]
            moved = point - 0.5 * 0.8**step * (high - low)[clause] * gradient.sign()
            point = torch.minimum(torch.maximum(moved, low[clause]), high[clause])
    return found


def _starts(problem: Problem, generator: torch.Generator) -> Tensor:
    low, high = problem.lower, problem.upper
    unit = torch.rand(low.shape, generator=generator, dtype=low.dtype)
    if low.shape[1] <= MANY_SAMPLES_UP_TO:
        return _best_samples(problem, generator)
    corner = (torch.rand(low.shape, generator=generator, dtype=low.dtype) > 0.5).to(low.dtype)
    return torch.cat([low + unit * (high - low), low + corner * (high - low)])


def _best_samples(problem: Problem, generator: torch.Generator, kept: int = 16) -> Tensor:
    """The most promising of `samples` uniform points for every clause, ordered so that clauses repeat 0, 1, 2, ..."""
    low, high = problem.lower.unsqueeze(0), problem.upper.unsqueeze(0)
    count = problem.lower.shape[0]
    samples = int(min(SAMPLES, max(kept, SAMPLED_BYTES // (problem.costs.point * len(problem.query.clauses)))))
    unit = torch.rand((samples, *problem.lower.shape), generator=generator, dtype=problem.lower.dtype)
    points = low + unit * (high - low)
    loss = problem.misses(points.flatten(0, 1), torch.arange(count).repeat(samples)).reshape(samples, count)
    best = loss.topk(kept, dim=0, largest=False).indices
    return points.gather(0, best.unsqueeze(-1).expand(-1, -1, points.shape[-1])).flatten(0, 1)


def _descend(
    problem: Problem, point: Tensor, clause: Tensor, steps: int, deadline: float, by_sign: bool = True
) -> tuple[Tensor | None, float]:
    low, high = problem.lower[clause], problem.upper[clause]
    rate = torch.full((len(point), 1), 0.25, dtype=point.dtype)
    best_loss = torch.full((len(point),), torch.inf, dtype=point.dtype)
    best = point
    for step in range(steps):
        loss, gradient = problem.slopes(point, clause)
        found = _first_confirmed(problem, point, clause, loss)
        if found is not None:
            return found, float(loss.min())
        better = loss < best_loss
        best_loss = torch.where(better, loss, best_loss)
        best = torch.where(better.unsqueeze(1), point, best)
        if step % 8 == 7:  # back to the best point with half the step where nothing improved
            rate = torch.where(better.unsqueeze(1), rate, rate / 2)
            point = torch.where(better.unsqueeze(1), point, best)
        direction = gradient.sign()
        if not by_sign:
            direction = gradient * (high - low)
            direction = direction / direction.abs().amax(1, keepdim=True).clamp(min=1e-300)
        moved = point - rate * (high - low) * direction
        point = torch.minimum(torch.maximum(moved, low), high)
        if time.monotonic() > deadline:
            break
    return None, float(best_loss.min())


def _descend_with_momentum(
    problem: Problem, point: Tensor, clause: Tensor, steps: int, deadline: float
) -> tuple[Tensor | None, float]:
    ground = _Boxes(problem, clause)
    climbed = climb(
        ground, point, size=1.0, steps=steps, stop=lambda: ground.found is not None or time.monotonic() > deadline
    )
    return ground.found, -float(climbed.values.max())


class _Boxes:
    """What Auto-PGD climbs: -max_k g_k over the clauses' boxes, steps in widths of the box; the first confirmed point
    is kept in `found`."""

    def __init__(self, problem: Problem, clause: Tensor) -> None:
        self.problem, self.clause, self.found = problem, clause, None
        self.low, self.high = problem.lower[clause], problem.upper[clause]

    def evaluate(self, points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        clause = self.clause[rows]
        loss, gradient = self.problem.slopes(points, clause)
        if self.found is None:
            self.found = _first_confirmed(self.problem, points, clause, loss)
        return -loss, -gradient, torch.zeros(len(points), dtype=torch.bool)

    def step(self, points: Tensor, gradient: Tensor, size: Tensor, rows: Tensor) -> Tensor:
        width = (self.high - self.low)[rows]
        return self.project(points + size.unsqueeze(1) * width * gradient.sign(), rows)

    def project(self, points: Tensor, rows: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(points, self.low[rows]), self.high[rows])


def _first_confirmed(problem: Problem, points: Tensor, clause: Tensor, losses: Tensor) -> Tensor | None:
    for i in (losses <= 0).nonzero().squeeze(1).tolist()[:5]:
        found = problem.confirm(points[i], int(clause[i]))
        if found is not None:
            return found
    return None


def try_points(problem: Problem, points: Tensor, clause: Tensor) -> Tensor | None:
    """A confirmed witness among given points (N, n) of clauses (N,), or None."""
    return _first_confirmed(problem, points, clause, problem.misses(points, clause))
