"""Two lines around a smooth function, from its values on a grid and a limit of its second derivative.

f(x) - a x is looked at on a grid; between two grid points it lies at most curvature h^2 / 8 below (above) the smaller
(larger) of its two values there. The slopes are those of the lower and upper envelope at the middle of [l, u].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cutaway.network.graph import Node
from cutaway.network.graph.fact import Curve
from cutaway.network.graph.operators import apply_node

Lines = tuple[Tensor, Tensor, Tensor, Tensor]
"""Slope and offset of the line below, slope and offset of the line above."""

GRID, TAIL_STEPS, COARSE = 64, 8, 8


def value(node: Node, x: Tensor) -> Tensor:
    """f(x), elementwise on a batch (constants broadcast from the right)."""
    return apply_node(node, [x])


def rounding_slack(lower: Tensor, upper: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    return 1e-13 * (slope.abs() * torch.maximum(lower.abs(), upper.abs()) + offset.abs()) + 1e-300


def _grid(node: Node, rule: Curve, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Points (K, ...) in ascending order and how far f may leave the straight line between neighbours, (K - 1, ...)."""
    core_low = lower.clamp(min=-rule.core).minimum(upper)
    core_high = upper.clamp(max=rule.core).maximum(core_low)
    unit = torch.linspace(0, 1, GRID + 1, dtype=lower.dtype).reshape(-1, *(1,) * lower.ndim)
    ends = torch.linspace(0, 1, TAIL_STEPS + 1, dtype=lower.dtype).reshape(-1, *(1,) * lower.ndim)
    points = torch.cat(
        [
            (lower + ends * (core_low - lower))[:-1],
            core_low + unit * (core_high - core_low),
            (core_high + ends * (upper - core_high))[1:],
        ]
    )
    steps = points[1:] - points[:-1]
    bend = torch.full((len(steps), *(1,) * lower.ndim), rule.tail, dtype=lower.dtype)
    bend[TAIL_STEPS : TAIL_STEPS + GRID] = rule.curvature
    if rule.bend is not None:
        bend = rule.bend(node, torch.maximum(lower.abs(), upper.abs()))
    return points, bend * steps**2 / 8


def smooth_lines(node: Node, rule: Curve, lower: Tensor, upper: Tensor) -> Lines:
    points, slack = _grid(node, rule, lower, upper)
    kinks = rule.kinks(node) if rule.kinks else ()
    if kinks:  # grid points, so that f'' exists between neighbours
        points, slack = _with_kinks(kinks, points, slack)
    values = value(node, points)
    some = list(range(0, len(points) - 1, (len(points) - 1) // (2 * COARSE))) + [len(points) - 1]
    middle = (lower + upper) / 2
    result: list[Tensor] = []
    for sign in (1.0, -1.0):
        slope = envelope_slope(points[some], sign * values[some], middle) * sign
        if rule.at_slope is not None:  # the two solutions of f' = slope: exact
            turn = rule.at_slope(node, slope)
            exact = torch.stack([lower, upper, turn.clamp(lower, upper), (-turn).clamp(lower, upper)])
            gap = sign * (value(node, exact) - slope * exact)
        else:
            rest = sign * (values - slope * points)
            gap = torch.minimum(rest[1:], rest[:-1]) - slack
        offset = sign * gap.amin(0)
        result += [slope, offset - sign * rounding_slack(lower, upper, slope, offset)]
    return result[0], result[1], result[2], result[3]


def _with_kinks(kinks: tuple[float, ...], points: Tensor, slack: Tensor) -> tuple[Tensor, Tensor]:
    more = [torch.full_like(points[:1], kink).clamp(points[:1], points[-1:]) for kink in kinks]
    points = torch.cat([points, *more]).sort(0).values
    return points, slack.amax(0, keepdim=True).expand(len(points) - 1, *points.shape[1:])


def envelope_slope(points: Tensor, values: Tensor, middle: Tensor) -> Tensor:
    """Slope of the lower convex envelope of (points, values) at `middle`."""
    left, right = points <= middle, points >= middle
    gap = points.unsqueeze(0) - points.unsqueeze(1)  # [i, j] = x_j - x_i
    safe = torch.where(gap > 0, gap, 1.0)
    slope = (values.unsqueeze(0) - values.unsqueeze(1)) / safe
    height = values.unsqueeze(1) + slope * (middle - points).unsqueeze(1)
    usable = left.unsqueeze(1) & right.unsqueeze(0) & (gap > 0)
    height = torch.where(usable, height, math.inf).flatten(0, 1)
    best = height.argmin(0, keepdim=True)
    chosen = slope.flatten(0, 1).gather(0, best).squeeze(0)
    return torch.where(usable.flatten(0, 1).any(0), chosen, 0.0)
