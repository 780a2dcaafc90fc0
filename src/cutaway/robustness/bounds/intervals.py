"""Interval bound propagation, one node at a time, with the rounding slack of each node.

`Limits` holds for every node lower and upper (B, *shape) and `slack`: how much one unit of functional on that node may
be off through rounding (sum of absolute products times gamma). A lower bound computed backwards through functionals A_i
is safe after subtracting sum_i |A_i| . slack_i.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cutaway.network.graph import Node
from cutaway.robustness.bounds import maxima
from cutaway.robustness.bounds.lowering import LINEAR
from cutaway.robustness.bounds.maxima import MAXIMA
from cutaway.robustness.bounds.network import BoundNetwork
from cutaway.robustness.bounds.transpose import apply_linear
from cutaway.robustness.bounds.unary import unary_range
from cutaway.robustness.regions import Region


def flat_values(values: Tensor, start: int) -> Tensor:
    """Values of a node in a row after `start` leading dimensions; a node may be a single number without dimensions."""
    return values.unsqueeze(-1).flatten(start)


@dataclass(slots=True, kw_only=True)
class Limits:
    """Lower, upper and slack by node; `empty` (B,) where splits contradict the limits, so that nothing is left."""

    lower: dict[int, Tensor] = field(default_factory=dict)
    upper: dict[int, Tensor] = field(default_factory=dict)
    slack: dict[int, Tensor] = field(default_factory=dict)
    empty: Tensor | None = None

    def select(self, index: Tensor) -> Limits:
        """The limits of some samples. `index` (k,) numbers of samples. Exact. Source: definition."""
        return Limits(
            lower={k: v[index] for k, v in self.lower.items()},
            upper={k: v[index] for k, v in self.upper.items()},
            slack={k: v[index] for k, v in self.slack.items()},
            empty=None if self.empty is None else self.empty[index],
        )


def step(bounded: BoundNetwork, node: Node, limits: Limits, region: Region) -> None:
    """Lower, upper and slack of one node from those of its inputs."""
    if node.op == "input":
        low, high = (v.reshape(-1, *node.shape) for v in (region.lower, region.upper))
        factor = 2 * bounded.gamma[node.index]
        slack = factor * region.magnitude.reshape(-1, *node.shape)
    elif node.op == "constant":
        batch = len(limits.lower[bounded.graph.inputs[0]])
        low = high = node.constants["value"].expand(batch, *node.shape)
        slack = bounded.gamma[node.index] * low.abs()
    elif node.op in LINEAR:
        low, high, slack = _linear(bounded, node, limits)
    elif node.op == "mul":
        low, high, slack = _product(bounded, node, limits)
    else:
        low, high = limits.lower[node.inputs[0]], limits.upper[node.inputs[0]]
        if node.op in MAXIMA:
            low, high = maxima.maxima_range(bounded.windows[node.index], node, low, high)
        else:
            low, high = unary_range(node, low, high)
        slack = bounded.gamma[node.index] * torch.maximum(low.abs(), high.abs())
    if "range" in node.attributes:
        floor, ceiling = node.attributes["range"]
        low, high = low.clamp(min=floor), high.clamp(max=ceiling)
    limits.lower[node.index], limits.upper[node.index] = low, high
    if bounded.rounding:
        limits.slack[node.index] = slack


def _linear(bounded: BoundNetwork, node: Node, limits: Limits) -> tuple[Tensor, Tensor, Tensor]:
    lows, highs = ([side[i] for i in node.inputs] for side in (limits.lower, limits.upper))
    middle = apply_linear(node, [(a + b) / 2 for a, b in zip(lows, highs)])
    size = bounded.absolute[node.index]
    radius = apply_linear(size, [(b - a) / 2 for a, b in zip(lows, highs)])
    if not bounded.rounding:
        return middle - radius, middle + radius, radius
    magnitude = apply_linear(size, [torch.maximum(a.abs(), b.abs()) for a, b in zip(lows, highs)])
    if node.index in bounded.offset:
        magnitude = magnitude + bounded.offset[node.index].abs()
    slack = 2 * bounded.gamma[node.index] * magnitude
    return middle - radius - slack, middle + radius + slack, slack


def _product(bounded: BoundNetwork, node: Node, limits: Limits) -> tuple[Tensor, Tensor, Tensor]:
    (a, b), (c, d) = ((limits.lower[i], limits.upper[i]) for i in node.inputs)
    corners = torch.stack(torch.broadcast_tensors(a * c, a * d, b * c, b * d))
    slack = bounded.gamma[node.index] * corners.abs().amax(0)
    return corners.amin(0) - slack, corners.amax(0) + slack, slack
