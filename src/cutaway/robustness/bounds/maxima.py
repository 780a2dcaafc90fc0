"""Maxima over windows (max pooling, `amax`) between two planes, in one step.

For m = max_i x_i with x_i in [l_i, u_i]: below, m >= x_j for the j with the largest l_j. Above, for any T >= max l,

    m <= T + sum_i max(x_i - T, 0) <= T + sum_{u_i > T} s_i (x_i - l_i),   s_i = (u_i - T) / (u_i - l_i).

At the middle of the intervals the right side is least for T = the third largest u_i (its derivative in T is 1 - half
the number of u_i > T), so at most two values get a slope. Where one value is above all others both planes are that
value itself. Derived here; auto_LiRPA and DeepPoly (Singh et al., POPL 2019) take the constant T = max u above.

Looser than the pairs y + max(x - y, 0) of `lowering`, whose differences get bounds of their own, and far cheaper: a
network is bounded this way first (`BoundNetwork.coarse`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cutaway.network.graph import Graph, Node

MAXIMA = frozenset({"max_pool", "max_reduce"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """`index` (outputs, window): flat positions of the inputs of every output; `counts` of the same shape is false
    where padding repeats a position. `positive`: only max(m, 0) of the maximum m is read."""

    index: Tensor
    counts: Tensor
    positive: bool = False

    def of(self, values: Tensor) -> Tensor:
        """(B, outputs, window) of values (B, *shape)."""
        return values.flatten(1)[:, self.index]


def windows(graph: Graph, node: Node) -> Windows:
    """Of a pooling or a maximum over dimensions."""
    shape, users = graph.nodes[node.inputs[0]].shape, graph.users[node.index]
    positive = len(users) > 0 and all(graph.nodes[u].op == "relu" for u in users)
    if node.op == "max_pool":
        return replace(pooling_windows(node, shape), positive=positive)
    dims = node.attributes["dims"]
    rest = [d for d in range(len(shape)) if d not in dims]
    place = torch.arange(math.prod(shape)).reshape(shape).permute(*rest, *dims)
    index = place.reshape(math.prod(shape[d] for d in rest), -1)
    return Windows(index=index, counts=torch.ones_like(index, dtype=torch.bool), positive=positive)


def pooling_windows(node: Node, shape: tuple[int, ...]) -> Windows:
    """Of a pooling on inputs of this shape; padding repeats the first position inside."""
    a = node.attributes
    spatial = len(a["kernel"])
    lead = math.prod(shape[:-spatial])
    axes = []
    for d in range(spatial):
        before = a["padding"][d] + (a["pads"][2 * (spatial - 1 - d)] if "pads" in a else 0)
        first = torch.arange(node.shape[len(node.shape) - spatial + d]) * a["stride"][d] - before
        axes.append(first.unsqueeze(1) + torch.arange(a["kernel"][d]) * a["dilation"][d])
    position, inside = torch.zeros((), dtype=torch.int64), torch.ones((), dtype=torch.bool)
    for d, axis in enumerate(axes):
        view = [1] * (2 * spatial)
        view[d], view[spatial + d] = axis.shape
        size = shape[len(shape) - spatial + d]
        position = position * size + axis.clamp(0, size - 1).reshape(view)
        inside = inside & ((axis >= 0) & (axis < size)).reshape(view)
    count = math.prod(a["kernel"])
    position, inside = position.reshape(-1, count), inside.expand(position.shape).reshape(-1, count)
    real = position.gather(1, inside.to(torch.int64).argmax(1, keepdim=True))
    position = torch.where(inside, position, real)
    size = math.prod(shape[-spatial:])
    index = (torch.arange(lead).reshape(-1, 1, 1) * size + position).reshape(-1, count)
    return Windows(index=index, counts=inside.repeat(lead, 1))


def maxima_range(places: Windows, node: Node, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Range of the maxima: exact for a box."""
    low, high = (places.of(side).amax(2).reshape(-1, *node.shape) for side in (lower, upper))
    return low, high


def planes(places: Windows, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Slopes below and above (B, outputs, window), offset above (B, outputs); the offset below is 0."""
    low, top, high = _sides(places, lower, upper)
    below = torch.zeros_like(low).scatter(2, top, 1.0)
    best = low.gather(2, top)
    level = torch.maximum(best, high.topk(3, dim=2).values[..., 2:]) if low.shape[2] > 2 else best
    free = high > level
    above = torch.where(free, (high - level) / torch.where(free, high - low, 1.0), 0.0)
    decided = torch.where(below > 0, -torch.inf, high).amax(2, keepdim=True) <= best
    above, level = torch.where(decided, below, above), level.squeeze(2)
    offset = level - (above * low).sum(2)
    size = level.abs() + (above * torch.maximum(low.abs(), places.of(upper).abs())).sum(2)
    offset = torch.where(decided.squeeze(2), 0.0, offset + 1e-13 * size + 1e-300)
    return below, above, offset


def open_values(places: Windows, lower: Tensor, upper: Tensor) -> Tensor:
    """Inputs (B, n) whose limits matter: those that can be the maximum of a window that none of its values decides.
    Where only max(m, 0) is read a window also counts while its maximum may have either sign, and not once it is
    negative."""
    low, top, high = _sides(places, lower, upper)
    best = low.gather(2, top)
    others = high.scatter(2, top, -torch.inf).amax(2, keepdim=True)
    undecided = others > best
    floor = best
    if places.positive:
        floor = best.clamp(min=0)
        undecided = undecided | (best < 0)
    wanted = undecided & (high > floor)
    found = torch.zeros(len(low), lower[0].numel(), dtype=torch.int32)
    return found.index_add(1, places.index.flatten(), wanted.flatten(1).to(torch.int32)) > 0


def _sides(places: Windows, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lower limits, the place of the largest (B, outputs, 1), upper limits (minus infinity where padding repeats)."""
    low = places.of(lower)
    top = torch.where(places.counts, low, -torch.inf).argmax(2, keepdim=True)
    return low, top, torch.where(places.counts, places.of(upper), -torch.inf)
