"""What an infinitely wide layer does to covariances: E[s(u) s(v)] and E[s'(u) s'(v)] for normal (u, v).

(u, v) have variances `left`, `right` and correlation `cosine`, all broadcast together. ReLU and erf are closed forms
(Cho and Saul 2009; Williams 1998), GELU is a product Gauss-Hermite rule with 24 nodes a dimension. Differentiable in
all three; at |cosine| = 1 the slope of arccos is infinite, so gradients want `CLEAR` of room there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

Pair = tuple[torch.Tensor, torch.Tensor]
CLEAR = 1e-6
NODES = 24


def relu(left: torch.Tensor, right: torch.Tensor, cosine: torch.Tensor) -> Pair:
    """sqrt(left right) (sin t + (pi - t) cos t) / 2 pi and (pi - t) / 2 pi, t the angle; 0 for a variance of 0."""
    sine = ((1 - cosine) * (1 + cosine)).clamp(min=0).sqrt()
    rest = math.pi - torch.arccos(cosine)
    alive = (left > 0) & (right > 0)
    slope = torch.where(alive, rest / (2 * math.pi), torch.zeros_like(rest))  # torch's derivative of relu at 0 is 0
    return (left * right).sqrt() * (sine + rest * cosine) / (2 * math.pi), slope


def erf(left: torch.Tensor, right: torch.Tensor, cosine: torch.Tensor) -> Pair:
    """2/pi arcsin(2 k / sqrt((1 + 2 left)(1 + 2 right))) and 4/pi / sqrt((1 + 2 left)(1 + 2 right) - 4 k^2), k the
    covariance."""
    covariance = cosine * (left * right).sqrt()
    size = (1 + 2 * left) * (1 + 2 * right)
    value = 2 / math.pi * torch.arcsin((2 * covariance / size.sqrt()).clamp(-1, 1))
    return value, 4 / math.pi / (size - 4 * covariance.square()).sqrt()


def gelu_dual(left: torch.Tensor, right: torch.Tensor, cosine: torch.Tensor) -> Pair:
    """By quadrature: errors below 2e-7 for variances up to 1, up to 4e-3 at variances of 4 (worst at |cosine| = 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    weights = weights / weights.sum()
    sine = ((1 - cosine) * (1 + cosine)).clamp(min=0).sqrt()
    value, slope = torch.zeros_like(cosine), torch.zeros_like(cosine)
    for a, weight in zip(nodes.tolist(), weights.tolist()):
        u = left.sqrt() * a
        for b, other in zip(nodes.tolist(), weights.tolist()):
            v = right.sqrt() * (cosine * a + sine * b)
            value = value + weight * other * _gelu(u) * _gelu(v)
            slope = slope + weight * other * _gelu_slope(u) * _gelu_slope(v)
    return value, slope


def _gelu(x: torch.Tensor) -> torch.Tensor:
    return x * torch.special.ndtr(x)


def _gelu_slope(x: torch.Tensor) -> torch.Tensor:
    return torch.special.ndtr(x) + x * torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)


DUALS: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Pair]] = {
    "relu": relu,
    "erf": erf,
    "gelu": gelu_dual,
}
"""By activation."""
