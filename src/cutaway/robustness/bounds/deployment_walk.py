"""What is known of every number of a network while its rounding errors are carried forwards (`deployment`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cutaway.robustness.bounds.intervals import Limits
from cutaway.robustness.bounds.network import BoundNetwork
from cutaway.robustness.bounds.unary import unary_range

SPARE = 8
"""Roundings granted to every operator beyond its sums and products: constants, folded factors, a change of order."""


@dataclass(slots=True, kw_only=True)
class Sum:
    """A weighted sum and the constant factors behind it: what the inputs' errors became, how many roundings each term
    has met, sum of the terms' sizes, and the same with every factor at least 1 (what an underflow may grow to)."""

    carried: Tensor
    count: int
    reach: Tensor
    wide: Tensor


@dataclass(slots=True, kw_only=True)
class Walk:
    """A network, limits of its numbers, and by node: the `error` found, open `sums`, what an underflow on `entry` to a
    sum may grow to, and the nodes whose numbers are never negative in the deployment dtype."""

    bounded: BoundNetwork
    limits: Limits
    dtype: torch.dtype
    error: dict[int, Tensor] = field(default_factory=dict)
    sums: dict[int, Sum] = field(default_factory=dict)
    entry: dict[int, Tensor] = field(default_factory=dict)
    never_negative: set[int] = field(default_factory=set)

    @property
    def unit(self) -> float:
        return torch.finfo(self.dtype).eps / 2

    @property
    def tiny(self) -> float:
        return torch.finfo(self.dtype).tiny

    def range(self, index: int) -> tuple[Tensor, Tensor]:
        """Limits of a node of the traced network; what bounds have moved (a ReLU behind a maximum) is worked out."""
        node, place = self.bounded.source.nodes[index], self.bounded.places.get(index)
        if place is None:
            return unary_range(node, *self.range(node.inputs[0]))
        return self.limits.lower[place], self.limits.upper[place]

    def exact(self, index: int) -> Tensor:
        """Largest absolute value in real arithmetic."""
        low, high = self.range(index)
        return torch.maximum(low.abs(), high.abs())

    def size(self, index: int) -> Tensor:
        """Largest absolute value in the deployment dtype."""
        return self.exact(index) + self.error[index]

    def capped(self, error: Tensor, reach: Tensor) -> Tensor:
        """Infinite where a part of the computation may pass the largest number."""
        return torch.where(reach >= torch.finfo(self.dtype).max, math.inf, error)
