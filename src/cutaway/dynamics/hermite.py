"""Hermite polynomials and Gaussian quadrature, numpy and torch alike.

He_k are the probabilists' polynomials, he_k = He_k / sqrt(k!) orthonormal under the standard normal. Functions with
kinks or jumps are integrated on a fine symmetric trapezium grid (spectrally exact for smooth functions, error of the
order of the spacing at a jump); Gauss-Hermite rules beyond about 100 nodes overflow in numpy and are not used.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cutaway.arrays import Array


def hermite(points: Any, degree: int) -> Any:
    """He_degree at `points` (any array or tensor type), by He_{k+1} = z He_k - k He_{k-1}."""
    before, now = points * 0.0 + 1.0, points
    if degree == 0:
        return before
    for k in range(1, degree):
        before, now = now, points * now - k * before
    return now


def normalized_hermites(points: Array, degree: int) -> Array:
    """he_0 .. he_degree at `points`, shape (degree + 1, *points.shape)."""
    out = np.empty((degree + 1, *points.shape))
    out[0] = 1.0
    if degree:
        out[1] = points
    for k in range(1, degree):
        out[k + 1] = (points * out[k] - math.sqrt(k) * out[k - 1]) / math.sqrt(k + 1.0)
    return out


def line_rule(num: int = 6001, cut: float = 10.0) -> tuple[Array, Array]:
    """Nodes and weights of the expectation over one standard normal, symmetric about 0 with 0 a node for odd `num`."""
    nodes = np.linspace(-cut, cut, num)
    weights = np.exp(-0.5 * nodes**2)
    return nodes, weights / weights.sum()


def graded_rule(num: int, cut: float, nearest: float = -6.54) -> tuple[Array, Array]:
    """Nodes and weights of the same expectation that crowd towards 0 (double exponential rule of Takahasi and Mori 1974
    on either side, z = exp(t - exp(-t)) from t = `nearest` on, by default |z| = 1e-303), for functions that are
    infinite there."""
    times = np.linspace(nearest, math.log(cut), num // 2)
    side = np.exp(times - np.exp(-times))
    weights = side * (1.0 + np.exp(-times)) * np.exp(-0.5 * side**2)
    nodes, weights = np.concatenate([-side[::-1], side]), np.concatenate([weights[::-1], weights])
    return nodes, weights / weights.sum()


def product_rule(
    dimensions: int, num_nodes: int = 2_000_000, *, cut: float | None = None, odd: bool = True
) -> tuple[Array, Array]:
    """Product of line rules with about `num_nodes` nodes: points (N, dimensions) and weights (N,).

    cut: where an axis ends, 10 for one dimension and 7 for more when not given. odd: whether 0 is a node.
    """
    per_axis = round(num_nodes ** (1.0 / dimensions))
    per_axis = (per_axis if cut else min(per_axis, 6001)) | 1
    nodes, weights = line_rule(per_axis - (not odd), cut=cut or (10.0 if dimensions == 1 else 7.0))
    grids = np.meshgrid(*[nodes] * dimensions, indexing="ij")
    joint = weights
    for _ in range(dimensions - 1):
        joint = np.multiply.outer(joint, weights)
    return np.stack([g.ravel() for g in grids], axis=1), joint.ravel()
