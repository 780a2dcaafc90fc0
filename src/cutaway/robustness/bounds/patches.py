"""Functionals that start at single values of a convolution, kept as small patches while they travel backwards.

The functional on one output of a convolution touches only a window of its input, and that window grows slowly through
further convolutions and not at all through elementwise functions. As long as the way back consists of these, the
functional is a patch of coefficients (N, C, p, q) with its top left corner per row, N = B x S rows; everything else
takes the dense form. Same numbers as the dense way up to the order of additions, for which the slack of every node
allows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.network.graph import Node
from cutaway.robustness.bounds.intervals import Limits
from cutaway.robustness.bounds.maxima import MAXIMA, planes
from cutaway.robustness.bounds.network import BoundNetwork
from cutaway.robustness.bounds.unary import UNARY, lines
from cutaway.robustness.regions import Box, Region

LARGEST = 0.6
"""Share of the picture above which a patch is made dense."""


@dataclass(slots=True, kw_only=True)
class Patch:
    """`values` (N, C, p, q) on a node of shape (1, C, H, W); `top`, `left` (N,) may lie outside the picture, where
    values are zero; `sample` (N,) says to which region a row belongs; `place` (N, C p q) are flat positions inside."""

    values: Tensor
    top: Tensor
    left: Tensor
    sample: Tensor
    shape: tuple[int, ...]
    place: Tensor

    @classmethod
    def of(cls, values: Tensor, top: Tensor, left: Tensor, sample: Tensor, shape: tuple[int, ...]) -> Patch:
        _, channels, height, width = shape
        tall, wide = values.shape[2:]
        y, x = top.unsqueeze(1) + torch.arange(tall), left.unsqueeze(1) + torch.arange(wide)
        inside = ((y >= 0) & (y < height)).unsqueeze(2) & ((x >= 0) & (x < width)).unsqueeze(1)
        if not bool(inside.all()):
            values = values * inside.unsqueeze(1)
        flat = y.clamp(0, height - 1).unsqueeze(2) * width + x.clamp(0, width - 1).unsqueeze(1)
        plane = torch.arange(channels).reshape(1, channels, 1, 1) * (height * width)
        return cls(
            values=values,
            top=top,
            left=left,
            sample=sample,
            shape=shape,
            place=(flat.unsqueeze(1) + plane).flatten(1),
        )

    @property
    def flat(self) -> Tensor:
        """Values as (N, C p q)."""
        return self.values.flatten(1)

    def of_sample(self, table: Tensor) -> Tensor:
        """Entries (N, C p q) of a quantity (B, *shape) under the patch."""
        size = table[0].numel()
        return table.reshape(-1).take(self.place + (self.sample * size).unsqueeze(1))

    def of_all(self, table: Tensor) -> Tensor:
        """Entries (N, C p q) of a quantity (*shape) that all samples share."""
        return table.reshape(-1).take(self.place)

    def dense(self) -> Tensor:
        """The functionals as (N, *shape)."""
        numel = self.shape[1] * self.shape[2] * self.shape[3]
        whole = torch.zeros(len(self.values), numel, dtype=self.values.dtype)
        return whole.scatter_add(1, self.place, self.flat).reshape(-1, *self.shape)


def fits(node: Node) -> bool:
    """Whether patches can pass this convolution."""
    a = node.attributes
    return (
        node.op == "convolution"
        and not a["transposed"]
        and len(node.shape) == 4
        and node.shape[0] == 1
        and a["groups"] == 1
        and set(a["dilation"]) == {1}
    )


def travel(
    bounded: BoundNetwork,
    limits: Limits,
    region: Region,
    start: Node,
    index: Tensor,
    sign: float,
    alphas: dict[int, Tensor],
    stops: set[int],
) -> tuple[dict[int, Tensor], Tensor]:
    """From single values `index` (B, S) of the convolution `start`, times `sign`, as far back as patches go.

    Gives what `lower_bound` goes on with: functionals by node (empty when the input was reached) and what was gathered
    (B, S). Nodes in `stops` are left to the dense way.
    """
    batch, count = index.shape
    total = torch.zeros(index.numel(), dtype=bounded.dtype)
    patch, gain = _begin(bounded, limits, start, index, sign)
    total = total + gain
    node = bounded.graph.nodes[start.inputs[0]]
    while _passes(bounded, node, patch, alphas, stops):
        if bounded.rounding:
            total = total - (patch.flat.abs() * patch.of_sample(limits.slack[node.index])).sum(1)
        if node.op == "input":
            assert isinstance(region, Box)
            return {}, (total + _least(region, patch)).reshape(batch, count)
        if node.op == "convolution":
            patch, gain = _through_convolution(bounded, node, patch)
        elif node.op in MAXIMA:
            patch, gain = _through_maxima(bounded, node, patch, limits)
        else:
            patch, gain = _through_unary(bounded, node, patch, limits, alphas.get(node.index))
        total = total + gain
        node = bounded.graph.nodes[node.inputs[0]]
    return {node.index: patch.dense().reshape(batch, count, *node.shape)}, total.reshape(batch, count)


def _begin(bounded: BoundNetwork, limits: Limits, start: Node, index: Tensor, sign: float) -> tuple[Patch, Tensor]:
    _, _, height, width = start.shape
    flat = index.reshape(-1)
    sample = torch.arange(len(index)).repeat_interleave(index.shape[1])
    channel, y, x = flat // (height * width), flat // width % height, flat % width
    (step_y, step_x), (pad_y, pad_x) = start.attributes["stride"], start.attributes["padding"]
    patch = Patch.of(
        sign * start.constants["weight"][channel],
        y * step_y - pad_y,
        x * step_x - pad_x,
        sample,
        bounded.graph.nodes[start.inputs[0]].shape,
    )
    gain = torch.zeros(len(flat), dtype=bounded.dtype)
    if bounded.rounding:
        gain = gain - limits.slack[start.index].flatten(1).gather(1, index).reshape(-1)
    if start.index in bounded.offset:
        gain = gain + sign * bounded.offset[start.index].flatten()[flat]
    return patch, gain


def _passes(bounded: BoundNetwork, node: Node, patch: Patch, alphas: dict[int, Tensor], stops: set[int]) -> bool:
    _, _, height, width = patch.shape
    tall, wide = patch.values.shape[2:]
    if node.index in stops or tall * wide > LARGEST * height * width:
        return False
    if node.op == "input":
        return node.index not in stops
    if node.op == "convolution":
        return fits(node)
    if node.op in MAXIMA:
        return _tiles(bounded, node)
    return node.op in UNARY and (node.index not in alphas or alphas[node.index].shape[1] == 1)


def _through_convolution(bounded: BoundNetwork, node: Node, patch: Patch) -> tuple[Patch, Tensor]:
    weight, a = node.constants["weight"], node.attributes
    gain = torch.zeros(len(patch.values), dtype=bounded.dtype)
    if node.index in bounded.offset:
        gain = (patch.flat * patch.of_all(bounded.offset[node.index])).sum(1)
    values = F.conv_transpose2d(patch.values, weight, None, a["stride"])
    top = patch.top * a["stride"][0] - a["padding"][0]
    left = patch.left * a["stride"][1] - a["padding"][1]
    return Patch.of(values, top, left, patch.sample, bounded.graph.nodes[node.inputs[0]].shape), gain


def _through_unary(
    bounded: BoundNetwork, node: Node, patch: Patch, limits: Limits, alpha: Tensor | None
) -> tuple[Patch, Tensor]:
    low, high = (side[node.inputs[0]] for side in (limits.lower, limits.upper))
    slope_low, offset_low, slope_high, offset_high = lines(node, low, high, None if alpha is None else alpha.squeeze(1))
    values = patch.flat
    above, below = values.clamp(min=0), values.clamp(max=0)
    gain = (below * patch.of_sample(offset_high)).sum(1)
    if node.op != "relu":
        gain = gain + (above * patch.of_sample(offset_low)).sum(1)
    if bounded.rounding:
        extra = bounded.gamma[node.index] * torch.maximum(offset_low.abs(), offset_high.abs())
        gain = gain - ((above - below) * patch.of_sample(extra)).sum(1)
    values = above * patch.of_sample(slope_low) + below * patch.of_sample(slope_high)
    return Patch(
        values=values.reshape(patch.values.shape),
        top=patch.top,
        left=patch.left,
        sample=patch.sample,
        shape=bounded.graph.nodes[node.inputs[0]].shape,
        place=patch.place,
    ), gain


def _tiles(bounded: BoundNetwork, node: Node) -> bool:
    """Whether the windows of a maximum are tiles of a picture: a pooling without overlap, padding and overhang (with
    `ceil_mode`, where a window repeats a position and the slopes of the two would be mixed up)."""
    a, shape = node.attributes, bounded.graph.nodes[node.inputs[0]].shape
    if node.op != "max_pool" or len(shape) != 4 or shape[0] != 1 or len(a["kernel"]) != 2:
        return False
    whole = not any(a["padding"]) and bool(bounded.windows[node.index].counts.all())
    return tuple(a["stride"]) == tuple(a["kernel"]) and whole and set(a["dilation"]) == {1}


def _through_maxima(bounded: BoundNetwork, node: Node, patch: Patch, limits: Limits) -> tuple[Patch, Tensor]:
    places, source = bounded.windows[node.index], bounded.graph.nodes[node.inputs[0]]
    below, above, offset = planes(places, limits.lower[source.index], limits.upper[source.index])
    values = patch.flat
    gain = (values.clamp(max=0) * patch.of_sample(offset)).sum(1)
    if bounded.rounding:
        gain = gain - (values.abs() * patch.of_sample(bounded.gamma[node.index] * offset.abs())).sum(1)
    tall, wide = node.attributes["kernel"]
    wider = patch.values.repeat_interleave(tall, 2).repeat_interleave(wide, 3)
    found = Patch.of(wider, patch.top * tall, patch.left * wide, patch.sample, source.shape)
    slopes = [
        found.of_sample(below.new_zeros(len(side), source.numel).index_copy(1, places.index.flatten(), side.flatten(1)))
        for side in (below, above)
    ]
    found.values = found.values * torch.where(found.flat >= 0, *slopes).reshape(found.values.shape)
    return found, gain


def _least(box: Box, patch: Patch) -> Tensor:
    """Minimum over the box, as `Box.minimum`."""
    center, radius = (box.low + box.high) / 2, (box.high - box.low) / 2
    values = patch.flat
    return (values * patch.of_sample(center)).sum(1) - (values.abs() * patch.of_sample(radius)).sum(1)
