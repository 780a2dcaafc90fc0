"""What an infinitely wide layer does to covariances: E[s(u) s(v)] and E[s'(u) s'(v)] for normal (u, v).

(u, v) have variances `left`, `right` and correlation `cosine`, all broadcast together. Closed forms: ReLU (Cho and Saul
2009), erf (Williams 1998), GELU. Differentiable in all three; at |cosine| = 1 the slope of arccos is infinite, so
gradients want `CLEAR` of room there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

Pair = tuple[torch.Tensor, torch.Tensor]
CLEAR = 1e-6


def relu(left: torch.Tensor, right: torch.Tensor, cosine: torch.Tensor) -> Pair:
    """sqrt(left right) (sin t + (pi - t) cos t) / 2 pi and (pi - t) / 2 pi, t the angle; 0 for a variance of 0."""
    value, rest = relu_of_roots(root(left) / (2 * math.pi), root(right), cosine)
    alive = (left > 0).to(rest) / (2 * math.pi) * (right > 0).to(rest)  # torch's derivative of relu at 0 is 0
    return value, rest * alive


def relu_of_roots(one: torch.Tensor, other: torch.Tensor, cosine: torch.Tensor) -> Pair:
    """one other (sin t + (pi - t) cos t) and pi - t, t the angle.

    Exact up to rounding; shapes as they broadcast. Source: Cho and Saul 2009.
    """
    sine = ((1 - cosine) * (1 + cosine)).sqrt()
    rest = math.pi - torch.arccos(cosine)
    return torch.addcmul(sine, rest, cosine) * one * other, rest


def root(variance: torch.Tensor) -> torch.Tensor:
    """sqrt(variance), of slope 0 where that is 0."""
    return torch.where(variance > 0, variance, torch.ones_like(variance)).sqrt() * (variance > 0)


def _roots(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """sqrt(left right); the roots are taken before the two are broadcast together."""
    return root(left) * root(right)


def erf(left: torch.Tensor, right: torch.Tensor, cosine: torch.Tensor) -> Pair:
    """2/pi arcsin(2 k / sqrt((1 + 2 left)(1 + 2 right))) and 4/pi / sqrt((1 + 2 left)(1 + 2 right) - 4 k^2), k the
    covariance."""
    covariance = cosine * _roots(left, right)
    size = (1 + 2 * left) * (1 + 2 * right)
    value = 2 / math.pi * torch.arcsin((2 * covariance / size.sqrt()).clamp(-1, 1))
    return value, 4 / math.pi / (size - 4 * covariance.square()).sqrt()


def gelu_dual(left: torch.Tensor, right: torch.Tensor, cosine: torch.Tensor) -> Pair:
    """With a, b the variances, k the covariance, D = (1 + a)(1 + b) - k^2 and c = 1 / (1 + a) + 1 / (1 + b) - 1:
    k / 4 + k arcsin(k / sqrt((1 + a)(1 + b))) / 2 pi + (a b + c k^2) / (2 pi sqrt(D)), and its derivative in k.

    Stein's lemma takes u and v out of E[u v P(u) P(v)], P the normal distribution function, and leaves an orthant
    probability and normal integrals; by Price's theorem the slope is the derivative in k. Derived here; compare
    Tsuchida et al. 2021 (arXiv 2002.08517)."""
    covariance = cosine * _roots(left, right)
    size = (1 + left) * (1 + right)
    rest = size - covariance.square()
    mixed = 1 / (1 + left) + 1 / (1 + right) - 1
    angle = 0.25 + torch.arcsin((covariance / size.sqrt()).clamp(-1, 1)) / (2 * math.pi)
    over = left * right + mixed * covariance.square()
    root = 2 * math.pi * rest.sqrt()
    slope = angle + covariance * (1 + 2 * mixed + over / rest) / root
    return covariance * angle + over / root, slope


DUALS: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Pair]] = {
    "relu": relu,
    "erf": erf,
    "gelu": gelu_dual,
}
"""By activation."""
