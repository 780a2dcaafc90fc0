"""Hierarchical polynomials y = g(p(x)): three layers, trained one after the other, against kernels.

p is a quadratic form of unit variance without trace, p(x) = x^T A x / sqrt 2 with |A|_F = 1, and g(t) = sin(3 t / 2),
so that 48 % of the variance is linear in p (degree 2 in x, within reach of a kernel with n ~ d^2) and the rest has
degree 6 and more (d^6 for a kernel). A three-layer network needs n ~ d^2 for all of it: one gradient
step on the middle layer over random features finds p, and the last layer fits g on one dimension (Nichani, Damian and
Lee 2023; Wang, Nichani and Lee 2023, arXiv 2311.13774). The staged algorithm here is theirs in outline; widths, the
ridge and the split of the samples in two halves are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky

from cutaway.arrays import Array
from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class HierarchicalTarget:
    """`form` (d, d) symmetric traceless of unit Frobenius norm."""

    form: Array

    def inner(self, inputs: Array) -> Array:
        """p(x), shape (n,). `inputs` (n, d); exact up to rounding. Source: Nichani, Damian and Lee 2023."""
        return np.einsum("ni,ij,nj->n", inputs, self.form, inputs) / np.sqrt(2.0)

    def __call__(self, inputs: Array) -> Array:
        return np.sin(1.5 * self.inner(inputs))


def hierarchical_target(dimension: int, generator: np.random.Generator) -> HierarchicalTarget:
    """A random form with half its eigenvalues +1, half -1, in a random basis (`dimension` even).

    Raises `InputError` for an odd dimension.
    """
    if dimension < 2 or dimension % 2:
        raise InputError("dimension", found=str(dimension), expected="an even number", remedy="give an even dimension")
    basis = np.linalg.qr(generator.standard_normal((dimension, dimension)))[0]
    signs = np.where(np.arange(dimension) % 2 == 0, 1.0, -1.0) / np.sqrt(dimension)
    return HierarchicalTarget(form=(basis * signs) @ basis.T)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreeLayer:
    """A fitted network: random first layer, learned middle direction, random last lift with ridge weights."""

    first: Array
    middle: Array
    last: Array
    bias: Array
    weights: Array
    scale: tuple[float, float]

    def feature(self, inputs: Array) -> Array:
        """The learned scalar feature, standardised on the training half."""
        return (_lift(inputs, self.first) @ self.middle - self.scale[0]) / self.scale[1]

    def predict(self, inputs: Array) -> Array:
        return _tail(self.feature(inputs), self.last, self.bias) @ self.weights


def fit_three_layer(
    inputs: Array,
    targets: Array,
    generator: np.random.Generator,
    *,
    width: int = 3000,
    tail: int = 100,
    ridge: float = 1e-2,
) -> ThreeLayer:
    """Two stages on two halves of the data: one gradient step from zero on the middle layer, then ridge on the last.

    inputs (n, d), targets (n,). Cost: n d width.
    """
    if inputs.shape[0] < 4:
        raise InputError("inputs", found=f"{inputs.shape[0]} rows", expected="at least 4", remedy="give more rows")
    half = (2 * inputs.shape[0]) // 3
    first = generator.standard_normal((inputs.shape[1], width))
    first /= np.linalg.norm(first, axis=0)
    step = _lift(inputs[:half], first)
    middle = step.T @ (targets[:half] - targets[:half].mean()) / half / width
    raw = _lift(inputs[half:], first) @ middle
    scale = (float(raw.mean()), float(raw.std()) or 1.0)
    last, bias = generator.choice([-1.0, 1.0], tail), generator.uniform(-3.0, 3.0, tail)
    lifted = _tail((raw - scale[0]) / scale[1], last, bias)
    gram = lifted.T @ lifted + ridge * np.eye(lifted.shape[1])
    weights = np.linalg.solve(gram, lifted.T @ targets[half:])
    return ThreeLayer(first=first, middle=middle, last=last, bias=bias, weights=weights, scale=scale)


def _lift(inputs: Array, first: Array) -> Array:
    """Quadratic random features (w.x)^2 - |x|^2 / d for unit w: degree two without the trace, which is common to
    all."""
    size = np.einsum("nd,nd->n", inputs, inputs) / inputs.shape[1]
    return ((inputs @ first) ** 2 - size[:, None]) / np.sqrt(2.0)


def _tail(feature: Array, last: Array, bias: Array) -> Array:
    relu = np.maximum(feature[:, None] * last + bias, 0.0)
    return np.concatenate([relu, feature[:, None], np.ones((feature.size, 1))], axis=1)


def kernel_ridge_error(
    kernel: Callable[[Array, Array], Array], train: tuple[Array, Array], test: tuple[Array, Array], ridges: Array
) -> float:
    """Smallest test mean squared error over `ridges` (the kernel is favoured: the ridge is chosen on the test set)."""
    gram, cross = kernel(train[0], train[0]), kernel(test[0], train[0])
    best = np.inf
    for ridge in ridges:
        factor = cholesky(gram + ridge * np.eye(len(gram)), lower=True)
        predicted = cross @ cho_solve((factor, True), train[1] - train[1].mean()) + train[1].mean()
        best = min(best, float(np.mean((predicted - test[1]) ** 2)))
    return best


def polynomial_kernel(degree: int) -> Callable[[Array, Array], Array]:
    """(1 + x.x'/d)^degree."""
    return lambda a, b: (1.0 + a @ b.T / a.shape[1]) ** degree
