"""Lines around floor, ceil and round: steps of width one.

Where f takes several values on [l, u], a = f(l) and b = f(u), the step of value a ends at a + r and that of b
begins at b - 1 + r, with r = 1 for floor, 1/2 for round, 0 for ceil. For a slope s in [0, 1] the differences f(x) -
s x at
the right ends of steps rise from step to step, and so do those at the left ends, hence

    min(a - s (a + r), b - s u) <= f(x) - s x <= max(a - s l, b - s (b - 1 + r)).

Ties of round go to either side: both limits at a jump count. Derived here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cutaway.network.graph import Node
from cutaway.network.graph.facts import CURVES
from cutaway.network.graph.operators import apply_node


def step_lines(node: Node, lower: Tensor, upper: Tensor, alpha: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Slope and offset below, slope and offset above; `alpha` in [0, 1] is the slope of both."""
    first, last = apply_node(node, [lower]), apply_node(node, [upper])
    end = CURVES[node.op].step_end
    free = wide(lower, upper) if alpha is None else alpha.clamp(0, 1)
    one = first == last
    slope = torch.where(one, 0.0, free)
    low = torch.where(one, first, torch.minimum(first - slope * (first + end), last - slope * upper))
    high = torch.where(one, first, torch.maximum(first - slope * lower, last - slope * (last - 1 + end)))
    return slope, low, slope, high


def wide(lower: Tensor, upper: Tensor) -> Tensor:
    """Slope one where several steps lie in the interval, else zero."""
    return (upper - lower > 1).to(lower.dtype)
