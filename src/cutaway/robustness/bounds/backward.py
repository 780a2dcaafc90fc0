"""CROWN: a linear functional of some node pulled back to the input, and its minimum over the region.

For functionals A on a node y = L x + c the lower bound of A y is that of (A L) x + A c; through y = f(x) with lines
a x + b <= f(x) <= c x + d it is that of (A+ a + A- c) x + A+ b + A- d (Zhang et al., arXiv 1811.00866). Products use
the two McCormick planes on each side, mixed half and half. Rounding: sum |A_i| . slack_i is subtracted (see
`intervals`). `betas` are multipliers of split constraints z >= 0 (Wang et al., arXiv 2103.06624).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cutaway.network.graph import Node
from cutaway.robustness.bounds.intervals import Limits, flat_values
from cutaway.robustness.bounds.lowering import LINEAR
from cutaway.robustness.bounds.maxima import MAXIMA, planes
from cutaway.robustness.bounds.network import BoundNetwork
from cutaway.robustness.bounds.patches import fits, travel
from cutaway.robustness.bounds.transpose import pull_back, unbroadcast
from cutaway.robustness.bounds.unary import lines
from cutaway.robustness.regions import Box, Region


@dataclass(frozen=True, slots=True, kw_only=True)
class OneHot:
    """Functionals that each pick one value of a node: `index` (B, S) into the flattened node, `sign` +1 or -1."""

    index: Tensor
    sign: float


@dataclass(slots=True, kw_only=True)
class Choices:
    """Free parameters of a backward pass: line positions `alphas` by nonlinear node, shape (B, 1 or S, *shape), and
    `betas` by split node, shape (B, 1 or S, *shape), signed (positive for z >= 0, negative for z <= 0). A `record` is
    filled with the functionals that reach each node (for choosing splits)."""

    alphas: dict[int, Tensor] = field(default_factory=dict)
    betas: dict[int, Tensor] = field(default_factory=dict)
    record: dict[int, Tensor] | None = None

    def select(self, index: Tensor) -> Choices:
        """Those of some samples."""
        return Choices(
            alphas={k: v[index] for k, v in self.alphas.items()}, betas={k: v[index] for k, v in self.betas.items()}
        )


def lower_bound(
    bounded: BoundNetwork,
    limits: Limits,
    region: Region,
    start: int,
    functionals: Tensor | OneHot,
    choices: Choices | None = None,
) -> Tensor:
    """Lower bounds (B, S) of functionals (B, S, *shape of node `start`) over the region."""
    choices = choices or Choices()
    waiting, total = _begin(bounded, limits, region, start, functionals, choices)
    for index in sorted(bounded.before[start], reverse=True):
        if index not in waiting:
            continue
        node, a = bounded.graph.nodes[index], waiting.pop(index)
        if choices.record is not None:
            choices.record[index] = a.detach()
        if index in choices.betas and index != start:
            a = a - choices.betas[index]
        if bounded.rounding:
            total = total - _dot(a.abs(), limits.slack[index])
        if node.op == "input":
            total = total + region.minimum(a.flatten(2))
        elif node.op == "constant":
            total = total + torch.tensordot(a, node.constants["value"].expand(node.shape), dims=len(node.shape))
        else:
            parts, gain = _through(bounded, node, a, limits, choices.alphas.get(index))
            total = total + gain
            for source, part in zip(node.inputs, parts):
                waiting[source] = waiting[source] + part if source in waiting else part
    return total


def _begin(
    bounded: BoundNetwork, limits: Limits, region: Region, start: int, f: Tensor | OneHot, choices: Choices
) -> tuple[dict[int, Tensor], Tensor]:
    """Functionals by node and what was gathered on the way to them."""
    if not isinstance(f, OneHot):
        return {start: f}, f.new_zeros(f.shape[:2])
    node = bounded.graph.nodes[start]
    while node.op == "reshape":
        node = bounded.graph.nodes[node.inputs[0]]
    if node.op == "linear" and node.numel == node.constants["weight"].shape[0]:
        source = bounded.graph.nodes[node.inputs[0]]
        rows = f.sign * node.constants["weight"][f.index]
        total = torch.zeros(f.index.shape, dtype=bounded.dtype)
        if bounded.rounding:
            total = total - flat_values(limits.slack[node.index], 1).gather(1, f.index)
        if node.index in bounded.offset:
            total = total + f.sign * bounded.offset[node.index].flatten()[f.index]
        return {source.index: rows.reshape(*f.index.shape, *source.shape)}, total
    if fits(node) and choices.record is None:
        stops = set(choices.betas) if isinstance(region, Box) else {*choices.betas, *bounded.graph.inputs}
        return travel(bounded, limits, region, node, f.index, f.sign, choices.alphas, stops)
    dense = torch.zeros(*f.index.shape, node.numel, dtype=bounded.dtype)
    dense.scatter_(2, f.index.unsqueeze(-1), f.sign)
    return {node.index: dense.reshape(*f.index.shape, *node.shape)}, torch.zeros(f.index.shape, dtype=bounded.dtype)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum over a node's values: (B, S, *shape) with (B, *shape) or (B, 1 or S, *shape), giving (B, S)."""
    values = flat_values(a, 2)
    if b.ndim == a.ndim:
        if b.shape[1] != 1:
            return (values * flat_values(b, 2)).sum(-1)
        b = b.squeeze(1)
    return (values @ flat_values(b, 1).unsqueeze(-1)).squeeze(-1)


def _through(
    bounded: BoundNetwork, node: Node, a: Tensor, limits: Limits, alpha: Tensor | None
) -> tuple[list[Tensor], Tensor]:
    if node.op in LINEAR:
        gain = a.new_zeros(a.shape[:2])
        if node.index in bounded.offset:
            gain = torch.tensordot(a, bounded.offset[node.index], dims=len(node.shape))
        return pull_back(bounded.graph, node, a), gain
    if node.op == "mul":
        return _through_product(bounded, node, a, limits, alpha)
    if node.op in MAXIMA:
        return _through_maxima(bounded, node, a, limits)
    low, high = (side[node.inputs[0]].unsqueeze(1) for side in (limits.lower, limits.upper))
    slope_low, offset_low, slope_high, offset_high = lines(node, low, high, alpha)
    gain = _dot(a.clamp(max=0), offset_high)
    if node.op != "relu":
        gain = gain + _dot(a.clamp(min=0), offset_low)
    if bounded.rounding:
        extra = bounded.gamma[node.index] * torch.maximum(offset_low.abs(), offset_high.abs())
        gain = gain - _dot(a.abs(), extra)
    return [a * torch.where(a >= 0, slope_low, slope_high)], gain


def _through_product(
    bounded: BoundNetwork, node: Node, a: Tensor, limits: Limits, alpha: Tensor | None
) -> tuple[list[Tensor], Tensor]:
    """x y >= c x + a y - a c and >= d x + b y - b d on x in [a, b], y in [c, d]; above: d x + a y - a d, c x + b y -
    b c."""
    (xl, xu), (yl, yu) = ((limits.lower[i].unsqueeze(1), limits.upper[i].unsqueeze(1)) for i in node.inputs)
    mix = 0.5 if alpha is None else alpha.clamp(0, 1)
    below = (mix * yl + (1 - mix) * yu, mix * xl + (1 - mix) * xu, -(mix * xl * yl + (1 - mix) * xu * yu))
    above = (mix * yu + (1 - mix) * yl, mix * xl + (1 - mix) * xu, -(mix * xl * yu + (1 - mix) * xu * yl))
    positive = a >= 0
    parts = []
    for k, source in enumerate(node.inputs):
        part = a * torch.where(positive, below[k], above[k])
        parts.append(unbroadcast(part, bounded.graph.nodes[source].shape))
    constant = torch.where(positive, below[2], above[2])
    size = torch.maximum(xl.abs(), xu.abs()) * torch.maximum(yl.abs(), yu.abs())
    gain = flat_values(a * constant, 2).sum(-1) - _dot(
        a.abs(), (4 * bounded.gamma[node.index] * size).expand_as(constant)
    )
    return parts, gain


def _through_maxima(bounded: BoundNetwork, node: Node, a: Tensor, limits: Limits) -> tuple[list[Tensor], Tensor]:
    places, source = bounded.windows[node.index], bounded.graph.nodes[node.inputs[0]]
    below, above, offset = planes(places, limits.lower[source.index], limits.upper[source.index])
    slopes = flat_values(a, 2)
    gain = _dot(slopes.clamp(max=0), offset)
    if bounded.rounding:
        gain = gain - _dot(slopes.abs(), bounded.gamma[node.index] * offset.abs())
    slopes = slopes.unsqueeze(-1)
    spread = slopes * torch.where(slopes >= 0, below.unsqueeze(1), above.unsqueeze(1))
    part = a.new_zeros(*a.shape[:2], source.numel).index_add(2, places.index.flatten(), spread.flatten(2))
    return [part.reshape(*a.shape[:2], *source.shape)], gain
