"""What computing an elementwise function in float32 adds to the error of its argument: the record's `float32`.

Below the smallest normal number nothing is relative: `deployment` adds that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cutaway.network.graph import Node, facts
from cutaway.network.graph.fact import Rounding


def rounding_of(node: Node) -> Rounding:
    """What the node's record says of float32; infinite for a word of which nothing is known."""
    curve = facts.CURVES.get(node.op)
    return Rounding(torch.inf) if curve is None else curve.rounding(node)


def own_error(node: Node, argument: Tensor, value: Tensor) -> Tensor:
    """Error of f(x) computed in float32 in units of u, where |x| <= argument and |f(x)| <= value."""
    known = rounding_of(node)
    found = known.relative * value + known.fixed + known.by_argument * argument
    over = known.within * argument >= torch.finfo(torch.float32).max
    return torch.where(over, torch.inf, found)
