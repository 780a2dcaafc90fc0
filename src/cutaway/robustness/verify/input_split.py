"""Complete search by cutting the input box, for networks with few inputs.

A batch of boxes is bounded at a time; a box whose clause has a row that stays positive is done, any other is cut in two
along the input that the linear lower bound varies most over. Children start from the parent's limits, so neurons
settled once stay settled. The minimiser of every linear bound is tried as a witness.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from cutaway.robustness.bounds.backward import Choices
from cutaway.robustness.bounds.intervals import Limits
from cutaway.robustness.bounds.sweep import SweepSettings, bound_rows, sweep
from cutaway.robustness.verify.problem import Problem
from cutaway.robustness.verify.search import try_points

FLOOR = 0.5
"""Share of the mean slope that every input counts with when the next cut is chosen."""


@dataclass(slots=True, kw_only=True)
class SearchOutcome:
    """What a complete search found: `proved`, a `witness` (n,), or neither; `bound` is the smallest lower bound on
    max_k g_k over all parts when proved (positive; infinite where every part was empty), else the worst one that is
    left; `parts` is how many boxes or subproblems were bounded, `open_parts` how many were left, `full` whether as
    many were as may be."""

    proved: bool = False
    witness: Tensor | None = None
    bound: float = float("nan")
    parts: int = 0
    open_parts: int = 0
    full: bool = False


@dataclass(slots=True, kw_only=True)
class _Boxes:
    lower: Tensor
    upper: Tensor
    clause: Tensor
    known: Limits | None
    worst: Tensor

    def take(self, index: Tensor) -> _Boxes:
        return _Boxes(
            lower=self.lower[index],
            upper=self.upper[index],
            clause=self.clause[index],
            worst=self.worst[index],
            known=None if self.known is None else self.known.select(index),
        )


def split_inputs(
    problem: Problem,
    clauses: Tensor,
    *,
    deadline: float,
    batch_size: int = 512,
    max_open: int = 400_000,
    progress=lambda text: None,
) -> SearchOutcome:
    """Decide the clauses (indices) by cutting boxes until `deadline` (monotonic seconds)."""
    start = _Boxes(
        lower=problem.lower[clauses],
        upper=problem.upper[clauses],
        clause=clauses,
        known=None,
        worst=torch.full((len(clauses),), -torch.inf, dtype=torch.float64),
    )
    stack: list[_Boxes] = [start]
    parts, told, least = 0, time.monotonic(), float("inf")
    while stack:
        boxes = _pop(stack, batch_size)
        full = sum(len(b.lower) for b in stack if b.known is not None) > max_open
        if full or time.monotonic() > deadline:
            outcome = _given_up([*stack, boxes], parts)
            outcome.full = full
            return outcome
        value, influence, points, limits = _bound(problem, boxes)
        parts += len(value)
        least = min(least, smallest_proved(value, limits.empty))
        left = (~(value > 0)).nonzero().squeeze(1)
        if limits.empty is not None:
            left = left[~limits.empty[left]]
        if len(left) == 0:
            continue
        witness = try_points(problem, points[left], boxes.clause[left])
        if witness is not None:
            return SearchOutcome(witness=witness, parts=parts)
        children = _cut(problem, boxes, left, value, influence, limits)
        if children is None:
            return _given_up([*stack, boxes], parts)
        stack.append(children)
        if time.monotonic() - told > 5:
            told = time.monotonic()
            progress(f"{parts} boxes bounded, {sum(len(b.lower) for b in stack)} open")
    return SearchOutcome(proved=True, bound=least, parts=parts)


def smallest_proved(value: Tensor, empty: Tensor | None) -> float:
    """The smallest positive value among parts that are not empty; infinite where there is none."""
    kept = value > 0 if empty is None else (value > 0) & ~empty
    return float(value[kept].min()) if bool(kept.any()) else float("inf")


def _pop(stack: list[_Boxes], batch_size: int) -> _Boxes:
    """The newest boxes, at most `batch_size` of them: depth first, so that few are open at once."""
    top = stack.pop()
    while stack and len(top.lower) < batch_size and (top.known is None) == (stack[-1].known is None):
        top = _join([stack.pop(), top])
    if len(top.lower) > batch_size:
        rest = torch.arange(len(top.lower) - batch_size)
        stack.append(top.take(rest))
        top = top.take(torch.arange(len(rest), len(top.lower)))
    return top


def _join(parts: list[_Boxes]) -> _Boxes:
    knowns = [p.known for p in parts if p.known is not None]
    known = None
    if len(knowns) == len(parts):
        known = Limits(
            lower={i: torch.cat([k.lower[i] for k in knowns]) for i in knowns[0].lower},
            upper={i: torch.cat([k.upper[i] for k in knowns]) for i in knowns[0].upper},
        )
    return _Boxes(
        lower=torch.cat([p.lower for p in parts]),
        upper=torch.cat([p.upper for p in parts]),
        known=known,
        clause=torch.cat([p.clause for p in parts]),
        worst=torch.cat([p.worst for p in parts]),
    )


def _bound(problem: Problem, boxes: _Boxes) -> tuple[Tensor, Tensor, Tensor, Limits]:
    """Best row's lower bound (B,), influence of each input (B, n), minimiser (B, n), limits."""
    settings = SweepSettings()
    region = problem.region(boxes.lower, boxes.upper)
    limits = sweep(problem.bounded, region, settings, known=boxes.known)
    choices = Choices(record={})
    rows = bound_rows(problem.bounded, limits, region, problem.rows(boxes.clause), settings, choices)
    rows = safe_difference(rows, problem.limits[boxes.clause])
    value, best = torch.where(torch.isnan(rows), -torch.inf, rows).max(1)
    assert choices.record is not None
    source = problem.bounded.graph.inputs[0]
    seen = choices.record.get(source)
    if seen is None:  # the output does not depend on the input through any linear path
        seen = torch.zeros(*rows.shape, boxes.lower.shape[1], dtype=rows.dtype)
    functional = seen.flatten(2)[torch.arange(len(best)), best]
    points = torch.where(functional > 0, boxes.lower, boxes.upper)
    influence = seen.flatten(2).abs().sum(1) * (boxes.upper - boxes.lower)
    return value, influence, points, limits


def safe_difference(rows: Tensor, limits: Tensor) -> Tensor:
    """rows - limits, rounded down."""
    value = rows - limits
    return value - 4 * torch.finfo(value.dtype).eps * (rows.abs() + limits.abs())


def _cut(
    problem: Problem, boxes: _Boxes, left: Tensor, value: Tensor, influence: Tensor, limits: Limits
) -> _Boxes | None:
    low, high, score = boxes.lower[left], boxes.upper[left], influence[left]
    width = high - low
    splittable = width > 1e-12 * torch.maximum(low.abs(), high.abs()).clamp(min=1e-6)
    if not bool(splittable.any(1).all()):
        return None
    axis = torch.where(splittable, _appeal(score, width), -torch.inf).argmax(1)
    row = torch.arange(len(left))
    middle = (low[row, axis] + high[row, axis]) / 2
    first_high, second_low = high.clone(), low.clone()
    first_high[row, axis], second_low[row, axis] = middle, middle
    kept = Limits(
        lower={i: limits.lower[i][left] for i in limits.lower}, upper={i: limits.upper[i][left] for i in limits.upper}
    )
    kept = Limits(
        lower={i: torch.cat([v, v]) for i, v in kept.lower.items()},
        upper={i: torch.cat([v, v]) for i, v in kept.upper.items()},
    )
    return _Boxes(
        lower=torch.cat([low, second_low]),
        upper=torch.cat([first_high, high]),
        known=kept,
        clause=boxes.clause[left].repeat(2),
        worst=value[left].repeat(2),
    )


def _appeal(influence: Tensor, width: Tensor) -> Tensor:
    """Influence of each input plus a share of the mean influence in proportion to its width, so that inputs whose
    slope the relaxation lost are cut as well."""
    influence = torch.where(torch.isfinite(influence), influence, 0.0)
    slope = influence.sum(1, keepdim=True) / width.sum(1, keepdim=True).clamp(min=1e-300)
    return influence + FLOOR * slope.clamp(min=1e-30) * width


def _given_up(stack: list[_Boxes], parts: int) -> SearchOutcome:
    worst = min(float(b.worst.min()) for b in stack if len(b.worst))
    return SearchOutcome(bound=worst, parts=parts, open_parts=sum(len(b.lower) for b in stack))
