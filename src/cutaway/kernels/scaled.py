"""Fully connected networks in the parametrisation of the infinite-width theory: weights of variance 1, scaled as they
are used, so that a tangent kernel has a limit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class ScaledLinear(nn.Module):
    """x -> sqrt(variance / d) W x, with W (outputs, d) of independent standard normal numbers; no bias."""

    def __init__(
        self, inputs: int, outputs: int, variance: float, generator: torch.Generator, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, generator=generator, dtype=torch.float64).to(dtype))
        self.scale = (variance / inputs) ** 0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (n, d). Exact. Source: Jacot, Gabriel and Hongler 2018 for the scaling."""
        return self.scale * nn.functional.linear(x, self.weight)


def scaled_network(widths: Sequence[int], seed: int, *, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """ReLU network of `widths` (inputs first, outputs last): variance 2 in hidden layers and 1 at the output, as
    `InfiniteNetwork(depth=len(widths) - 2)` has by default."""
    draw = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = [nn.Flatten()]
    for number, inputs in enumerate(widths[:-1]):
        last = number == len(widths) - 2
        layers.append(ScaledLinear(inputs, widths[number + 1], 1.0 if last else 2.0, draw, dtype))
        layers += [] if last else [nn.ReLU()]
    return nn.Sequential(*layers).eval()
