"""What points, boxes and functionals of a network cost in memory, so that chunks follow from a budget.

Counted from the graph: values of every node, and the columns that a float64 convolution copies its input into. Bytes
are estimates from above for one chunk; a chunk may take `SHARE` of the budget, since limits, chunks and what is passed
on live at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cutaway.network.graph import Graph, Node

SHARE = 0.2
"""Of the budget, for one chunk of points, boxes or functionals."""
OPEN_SHARE = 0.4
"""Of the budget, for what a search keeps open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Bytes of one `point` with its gradient, of a box's `limits`, of one `functional` on its way back and, with
    everything kept for gradients, in float32, `searched`."""

    point: int
    limits: int
    functional: int
    searched: int

    @classmethod
    def of(cls, graph: Graph) -> Costs:
        total, widest = sum(n.numel for n in graph.nodes), max(n.numel for n in graph.nodes)
        columns = max((_columns(graph, n) for n in graph.nodes), default=0)
        return cls(
            point=8 * (3 * total + 2 * columns),
            limits=8 * (3 * total + 4 * columns),
            functional=8 * (6 * widest + 2 * columns),
            searched=4 * (3 * total + 2 * columns),
        )

    def points(self, budget: int, inputs: int) -> int:
        """Points of `inputs` numbers in a chunk."""
        return max(1, int(SHARE * budget / (self.point + 64 * inputs)))

    def boxes(self, budget: int, rows: int) -> int:
        """Boxes, each with this many functionals, in a chunk."""
        return max(1, int(SHARE * budget / (self.limits + rows * self.functional)))

    def subproblems(self, budget: int, rows: int) -> int:
        """Parts of a search by ReLUs, whose children and their multipliers are optimised together."""
        return max(1, int(SHARE * budget / (2 * (2 * self.limits + rows * (self.functional + self.searched)))))

    def open_parts(self, budget: int) -> int:
        """Parts that a search may keep open with their limits and multipliers."""
        return max(2, int(OPEN_SHARE * budget / (2 * self.limits)))


def _columns(graph: Graph, node: Node) -> int:
    """Numbers in the copy that a convolution of one sample reads: a window for each place of the smaller side."""
    if node.op != "convolution":
        return 0
    weight, source = node.constants["weight"], graph.nodes[node.inputs[0]]
    places = source if node.attributes["transposed"] else node
    return weight[0].numel() * math.prod(places.shape[2:]) * places.shape[0]


def index_pieces(count: int, size: int) -> list[Tensor]:
    """Indices 0 to count - 1 in pieces of at most `size`."""
    return list(torch.arange(count).split(max(1, size)))


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out (torch, numpy, onnxruntime and C++ each word it in their way)."""
    text = str(error).lower()
    worded = "allocate memory" in text or "bad_alloc" in text or "bad allocation" in text or "out of memory" in text
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and worded)
