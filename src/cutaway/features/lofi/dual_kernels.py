"""Kernels of infinitely wide random layers: k(a, b) = E_w[sigma(w.a) sigma(w.b)], w standard normal.

Shapes: `left` (n, q) and `right` (m, q), already divided by the layer's scale c; the answer is (n, m), float64, no
unit. ReLU, step and erf are closed forms (Cho and Saul 2009, degrees 1 and 0; Williams 1998), exact to rounding.
Every other activation is summed by Mehler's formula, k = sum_k c_k(|a|) c_k(|b|) rho^k with c_k(s) = E[sigma(s g)
he_k(g)]: the even and odd parts separate on their own, so that nothing cancels (the public LoFi code sums a
two-dimensional Gauss-Hermite rule and loses three digits on sigmoid unless it is centred by hand).
"""

from __future__ import annotations

import numpy as np

from cutaway.arrays import Array
from cutaway.features.lofi.activations import activation_named

_ROWS = 256
MEHLER_TERMS = 48
_CUT = 9.0  # standard normal mass outside +-9 is 2e-19


def cross_kernel(left: Array, right: Array, activation: str) -> Array:
    """Kernel matrix (n, m) between the rows of `left` and `right`; cost n m (q + a few) flops, one n x m array."""
    kernel = _Pairwise(activation, left, right)
    out = np.empty((left.shape[0], right.shape[0]))
    for start in range(0, left.shape[0], _ROWS):
        rows = slice(start, min(start + _ROWS, left.shape[0]))
        kernel.fill(out[rows], rows, slice(0, right.shape[0]))
    return out


def gram_kernel(inputs: Array, activation: str) -> Array:
    """Symmetric kernel matrix (n, n) of `inputs` with itself: only the lower blocks are evaluated, then mirrored.

    `inputs` (n, d). Exact up to rounding. Source: Cho and Saul 2009 (ReLU, step), Williams 1998 (erf), Mehler's formula
    for all else.
    """
    num = inputs.shape[0]
    kernel = _Pairwise(activation, inputs, inputs)
    out = np.empty((num, num))
    for start in range(0, num, _ROWS):
        rows = slice(start, min(start + _ROWS, num))
        kernel.fill(out[rows, : rows.stop], rows, slice(0, rows.stop))
        out[: rows.stop, rows] = out[rows, : rows.stop].T
    return out


def diagonal_kernel(inputs: Array, activation: str) -> Array:
    """k(a, a) for every row of `inputs`, shape (n,): E[sigma(|a| g)^2]."""
    norms = np.sqrt(np.einsum("nq,nq->n", inputs, inputs))
    if activation in ("relu", "relu_normalized"):
        return norms**2 * (0.5 if activation == "relu" else 1.0)
    nodes, weights = gaussian_rule(activation_named(activation).smooth)
    return np.square(activation_named(activation).evaluate(norms[:, None] * nodes)) @ weights


class _Pairwise:
    """Holds what one pair of point sets needs once (norms, Hermite coefficients) and fills blocks of the matrix."""

    def __init__(self, activation: str, left: Array, right: Array) -> None:
        activation_named(activation)
        self.activation, self.left, self.right = activation, left, right
        self.left_norm, self.right_norm = _norms(left), _norms(right)
        if activation not in ("relu", "relu_normalized", "step", "erf"):
            self.left_coef = hermite_profile(activation, self.left_norm)
            self.right_coef = self.left_coef if right is left else hermite_profile(activation, self.right_norm)

    def fill(self, out: Array, rows: slice, columns: slice) -> None:
        np.matmul(self.left[rows], self.right[columns].T, out=out)
        if self.activation == "erf":
            out /= np.sqrt(1.0 + self.left_norm[rows, None] ** 2)
            out /= np.sqrt(1.0 + self.right_norm[None, columns] ** 2)
            np.arcsin(np.clip(out, -1.0, 1.0, out=out), out=out)
            out *= 2.0 / np.pi
            return
        length = self.left_norm[rows, None] * self.right_norm[None, columns]
        np.divide(out, np.maximum(length, 1e-300), out=out)
        np.clip(out, -1.0, 1.0, out=out)
        if self.activation in ("relu", "relu_normalized"):
            _arc_cosine(out, length, 1.0 if self.activation == "relu" else 2.0)
        elif self.activation == "step":
            np.arccos(out, out=out)
            np.subtract(np.pi, out, out=out)
            out /= 2.0 * np.pi
        else:
            _mehler(out, self.left_coef[rows], self.right_coef[columns])


def _arc_cosine(cosine: Array, length: Array, factor: float) -> None:
    """In place: length [sin t + (pi - t) cos t] / (2 pi), t the angle; sin t as sqrt((1-c)(1+c)) for small angles."""
    sine = np.sqrt((1.0 - cosine) * (1.0 + cosine))
    angle = np.arccos(cosine)
    np.subtract(np.pi, angle, out=angle)
    np.multiply(angle, cosine, out=cosine)
    cosine += sine
    length *= factor / (2.0 * np.pi)
    cosine *= length


def _mehler(rho: Array, left: Array, right: Array) -> None:
    power = np.ones_like(rho)
    total = np.zeros_like(rho)
    for term in range(left.shape[1]):
        if term:
            power *= rho
        if np.abs(left[:, term]).max() * np.abs(right[:, term]).max() > 1e-18:
            total += (left[:, term, None] * right[None, :, term]) * power
    rho[...] = total


def _norms(points: Array) -> Array:
    return np.sqrt(np.einsum("nq,nq->n", points, points))


def gaussian_rule(smooth: bool) -> tuple[Array, Array]:
    """Nodes and weights of E over a standard normal: Gauss-Hermite (100 nodes) or, for kinks, a fine trapezium rule."""
    if smooth:
        nodes, weights = np.polynomial.hermite_e.hermegauss(100)
        return nodes, weights / weights.sum()
    nodes = np.linspace(-_CUT, _CUT, 6001)
    weights = np.exp(-0.5 * nodes**2)
    return nodes, weights / weights.sum()


def normalized_hermite(points: Array, degree: int) -> Array:
    """he_0 .. he_degree at `points`, shape (degree + 1, ...): He_k / sqrt(k!), by the stable three-term recurrence."""
    out = np.empty((degree + 1, *points.shape))
    out[0] = 1.0
    if degree:
        out[1] = points
    for k in range(1, degree):
        out[k + 1] = (points * out[k] - np.sqrt(k) * out[k - 1]) / np.sqrt(k + 1.0)
    return out


def hermite_profile(activation: str, norms: Array, terms: int = MEHLER_TERMS) -> Array:
    """c_k(s) = E[sigma(s g) he_k(g)] for every s in `norms`, shape (n, terms)."""
    chosen = activation_named(activation)
    nodes, weights = gaussian_rule(chosen.smooth)
    weighted = normalized_hermite(nodes, terms - 1) * weights
    out = np.empty((norms.shape[0], terms))
    for start in range(0, norms.shape[0], 512):
        block = norms[start : start + 512]
        out[start : start + 512] = chosen.evaluate(block[:, None] * nodes) @ weighted.T
    return out


def mehler_remainder(activation: str, norm: float = 1.0, terms: int = MEHLER_TERMS) -> float:
    """Share of E[sigma^2] beyond the kept terms: the relative error of the kernel at its diagonal, largest there."""
    profile = hermite_profile(activation, np.array([norm]), terms)[0]
    nodes, weights = gaussian_rule(activation_named(activation).smooth)
    total = float(np.square(activation_named(activation).evaluate(norm * nodes)) @ weights)
    return max(0.0, 1.0 - float(profile @ profile) / total)
