"""Search for a witness: projected gradient descent on max_k g_k over each clause's box, with restarts.

Starts are uniform points, corners and the middle; steps follow the sign of the gradient scaled by the box's width, halved
in rate along the way (as in Auto-PGD, Croce and Hein, arXiv 2003.01690, without its momentum). Every candidate is replayed
through the original model before it counts.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from cutaway.robustness.verify.problem import Problem


def find_witness(
    problem: Problem, *, restarts: int = 10, steps: int = 40, deadline: float = float("inf"), seed: int = 0
) -> tuple[Tensor | None, float]:
    """A confirmed witness (n,) or None, and the smallest max_k g_k seen. Cost: restarts x steps passes a clause."""
    generator = torch.Generator().manual_seed(seed)
    count = len(problem.lower)
    best = float("inf")
    for _ in range(restarts):
        if time.monotonic() > deadline:
            break
        clause = torch.arange(count)
        point = _starts(problem, generator)
        clause = clause.repeat(len(point) // count)
        found, least = _descend(problem, point, clause, steps, deadline)
        best = min(best, least)
        if found is not None:
            return found, best
    return None, best


def _starts(problem: Problem, generator: torch.Generator) -> Tensor:
    low, high = problem.lower, problem.upper
    unit = torch.rand(low.shape, generator=generator, dtype=low.dtype)
    corner = (torch.rand(low.shape, generator=generator, dtype=low.dtype) > 0.5).to(low.dtype)
    return torch.cat([low + unit * (high - low), low + corner * (high - low)])


def _descend(
    problem: Problem, point: Tensor, clause: Tensor, steps: int, deadline: float
) -> tuple[Tensor | None, float]:
    low, high = problem.lower[clause], problem.upper[clause]
    rate = torch.full((len(point), 1), 0.25, dtype=point.dtype)
    best_loss = torch.full((len(point),), torch.inf, dtype=point.dtype)
    best = point
    for step in range(steps):
        point = point.detach().requires_grad_()
        with torch.enable_grad():
            loss = problem.misses(point, clause)
            (gradient,) = torch.autograd.grad(loss.sum(), point)
        found = _first_confirmed(problem, point.detach(), clause, loss.detach())
        if found is not None:
            return found, float(loss.detach().min())
        better = loss.detach() < best_loss
        best_loss = torch.where(better, loss.detach(), best_loss)
        best = torch.where(better.unsqueeze(1), point.detach(), best)
        if step % 8 == 7:  # back to the best point with half the step where nothing improved
            rate = torch.where(better.unsqueeze(1), rate, rate / 2)
            point = torch.where(better.unsqueeze(1), point.detach(), best)
        moved = point.detach() - rate * (high - low) * gradient.sign()
        point = torch.minimum(torch.maximum(moved, low), high)
        if time.monotonic() > deadline:
            break
    return None, float(best_loss.min())


def _first_confirmed(problem: Problem, points: Tensor, clause: Tensor, losses: Tensor) -> Tensor | None:
    for i in (losses <= 0).nonzero().squeeze(1).tolist()[:5]:
        found = problem.confirm(points[i], int(clause[i]))
        if found is not None:
            return found
    return None


def try_points(problem: Problem, points: Tensor, clause: Tensor) -> Tensor | None:
    """A confirmed witness among given points (N, n) of clauses (N,), or None."""
    with torch.no_grad():
        losses = problem.misses(points, clause)
    return _first_confirmed(problem, points, clause, losses)
