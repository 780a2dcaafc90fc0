"""Sites of kinks: one call of one function that bends or jumps, with the numbers of its gates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.geometry.jumps import jumps
from cutaway.geometry.vocabulary import PAIRED, WINDOWED
from cutaway.network.graph import Graph, Node


@dataclass(frozen=True, slots=True, kw_only=True)
class KinkSite:
    """One call of one kink. Gates `first` .. `first + parts * width` - 1 are its; `shape` is that of one part, without
    the batch dimension; `window` (width, parts + 1) indexes the entries compared (-1: padding), None without
    windows."""

    name: str
    kind: str
    node: int
    first: int
    parts: int
    shape: tuple[int, ...]
    thresholds: tuple[float, ...] = ()
    window: Tensor | None = None
    jumps: bool = False

    @property
    def width(self) -> int:
        width = 1
        for length in self.shape:
            width *= length
        return width

    @property
    def num_gates(self) -> int:
        return self.parts * self.width

    def place(self, gate: int) -> tuple[int, tuple[int, ...], int]:
        """(channel, position, part) of a gate number."""
        part, flat = divmod(gate - self.first, self.width)
        if not self.shape:
            return 0, (), part
        index = []
        for length in reversed(self.shape):
            flat, rest = divmod(flat, length)
            index.append(rest)
        return index[-1], tuple(reversed(index[:-1])), part


def site_of_node(graph: Graph, node: Node, first: int) -> KinkSite:
    """The site of a kink, whose gates are numbered from `first`."""
    name = (node.module or node.name) + (f"#{node.call}" if node.call else "")
    read = graph.nodes[node.inputs[0]]
    common = {"name": name, "kind": node.op, "node": node.index, "first": first}
    if jumps(node):
        return KinkSite(**common, parts=1, shape=_bare(node.shape), jumps=True)
    if node.op == "clamp":
        bounds = tuple(float(b) for b in (node.attributes["min"], node.attributes["max"]) if b is not None)
        return KinkSite(**common, parts=len(bounds), shape=_bare(read.shape), thresholds=bounds)
    if node.op in PAIRED:
        return KinkSite(**common, parts=1, shape=_bare(node.shape))
    if node.op in WINDOWED:
        window = _windows(node, read)
        return KinkSite(**common, parts=window.shape[1] - 1, shape=_bare(node.shape), window=window)
    return KinkSite(**common, parts=1, shape=_bare(read.shape))


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[1:]) if len(shape) > 1 and shape[0] == 1 else tuple(shape)


def _windows(node: Node, read: Node) -> Tensor:
    """(outputs, m): flat indices into the input of what each output is the maximum of; -1 stands for padding."""
    index = torch.arange(read.numel).reshape(read.shape)
    a = node.attributes
    if node.op == "max_reduce":
        dims = [d % len(read.shape) for d in (a["dims"] if isinstance(a["dims"], (list, tuple)) else [a["dims"]])]
        rest = [d for d in range(len(read.shape)) if d not in dims]
        kept = index.permute(*rest, *dims)
        width = 1
        for d in rest:
            width *= read.shape[d]
        return kept.reshape(width, -1)
    spatial = len(a["kernel"])
    for axis in range(spatial):
        dim = len(read.shape) - spatial + axis
        size = (a["kernel"][axis] - 1) * a["dilation"][axis] + 1
        length = (node.shape[dim] - 1) * a["stride"][axis] + size
        after = max(0, length - read.shape[dim] - a["padding"][axis])
        pads = [0, 0] * (index.ndim - dim - 1) + [a["padding"][axis], after]
        index = F.pad(index, pads, value=-1).narrow(dim, 0, length)
        index = index.unfold(dim, size, a["stride"][axis])[..., :: a["dilation"][axis]]
    return index.reshape(node.numel, -1)
