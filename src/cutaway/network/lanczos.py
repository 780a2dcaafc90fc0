"""Lanczos: leading eigenpairs of an operator that is self-adjoint in the inner product <u, v> = u^T G v, and the
spectral density of a symmetric one.

In kernel LoFi the moment operator in the coordinates of the data is T = Y G: it is self-adjoint in the G inner product,
since (Y G)^T G = G Y G. Block Lanczos in that inner product needs one product with G a step, and neither a square root
nor a Cholesky factor of G, so that a singular kernel (duplicated rows) needs no floor. Its eigenvectors a with
a^T G a = 1 are LoFi's dual coefficients themselves, and its eigenvalues those of G^(1/2) Y G^(1/2), which the public
code gets from two full eigendecompositions a layer. With G = I this is plain block Lanczos.

Shapes: vectors are columns, (n, b). Estimate: residuals below `tolerance` times the largest |eigenvalue|, or, where the
subspace limit came first, `converged` False and the residuals as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cutaway.arrays import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class EigenPairs:
    """`values` (k,) by falling magnitude, `vectors` (n, k) with V^T G V = I, `residuals` (k,), `converged`."""

    values: Array
    vectors: Array
    images: Array
    residuals: Array
    converged: bool


def by_magnitude(values: Array) -> Array:
    """The order of `values` by falling |value|."""
    return np.argsort(-np.abs(values), kind="stable")


def leading_pairs(
    operator: Callable[[Array, Array], Array],
    gram: Callable[[Array], Array] | None,
    size: int,
    count: int,
    *,
    generator: np.random.Generator,
    locked: Array | None = None,
    tolerance: float = 1e-6,
    limit: int | None = None,
    order: Callable[[Array], Array] = by_magnitude,
) -> EigenPairs:
    """The `count` eigenpairs that come first in `order`, by default those of largest |eigenvalue|.

    `operator(vectors, images)` applies T given the vectors and their images G v; `gram(vectors)` applies G, None is the
    identity (images are then the vectors themselves, kept once). `locked` (n, l), G-orthonormal, is projected out of
    the whole search. `order` gives places of the projected eigenvalues; Lanczos finds the ends of a spectrum, so any
    of its ends may come first. Cost: about limit / block products with G on blocks, 2 n limit numbers kept (n limit for
    the identity). Raises nothing: fewer than `count` pairs come back where the space is smaller.
    """
    block = int(min(size, max(count, 4), 64))
    limit = min(size, limit or max(12 * count, 240))
    once, gram = gram is None, gram or (lambda vectors: vectors)
    fixed = _Basis(size, once)
    if locked is not None and locked.shape[1]:
        fixed.append(locked, gram(locked))
    basis = _Basis(size, once)
    start = generator.standard_normal((size, block))
    fresh, fresh_images, _ = _orthonormalise(start, fixed, basis, gram)
    projected = np.zeros((0, 0))
    values, coefficients = np.zeros(0), np.zeros((0, 0))
    residuals, converged = np.full(count, np.inf), False
    while fresh.shape[1]:
        basis.append(fresh, fresh_images)
        moved = operator(fresh, fresh_images)
        projected = _grow(projected, basis.images.T @ moved, fresh.shape[1])
        remainder, images, coupling = _orthonormalise(moved, fixed, basis, gram)
        values, coefficients = _ritz(projected, count, order)
        tail = coefficients[-fresh.shape[1] :]
        residuals = np.sqrt(np.sum((coupling @ tail) ** 2, axis=0))
        enough = values.size >= min(count, size - fixed.count)
        if enough and residuals.max() <= tolerance * max(np.abs(values).max(), 1e-300):
            converged = True
            break
        room = limit - basis.count
        if room <= 0:
            break
        fresh, fresh_images = remainder[:, :room], images[:, :room]
    else:
        converged = True  # the Krylov space is invariant: the pairs are exact
    vectors = basis.vectors @ coefficients
    return EigenPairs(
        values=values,
        vectors=vectors,
        images=basis.images @ coefficients,
        residuals=residuals[: values.size],
        converged=converged,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Quadrature:
    """Gauss quadrature of the spectral density of A, probe by probe: `nodes` and `weights` (probes, steps), weights
    >= 0 that add up to 1 a probe. E over probes of sum_k w_k f(x_k) estimates tr f(A) / n, exactly for polynomials f
    of degree < 2 steps at the same probe. Short rows (an invariant space) are padded with weight 0."""

    nodes: Array
    weights: Array


def quadrature(
    operator: Callable[[Array], Array], size: int, *, probes: int, steps: int, generator: np.random.Generator
) -> Quadrature:
    """Stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017, Algorithm 1) of a symmetric `operator`, which maps
    blocks (n, b) to blocks: `probes` Rademacher vectors, all moved in one product a step, each with full
    re-orthogonalisation. Probes are drawn one after another: calls that share the `generator` draw what one call for
    all would. Cost: `steps` products with blocks of `probes`, n probes steps numbers."""
    steps = min(steps, size)
    signs = [generator.choice([-1.0, 1.0], size=size) for _ in range(probes)]
    current = np.stack(signs, axis=1) / np.sqrt(size)
    basis = np.zeros((steps, size, probes))
    diagonal, beside = np.zeros((steps, probes)), np.zeros((steps, probes))
    for step in range(steps):
        basis[step] = current
        moved = operator(current)
        diagonal[step] = np.sum(current * moved, axis=0)
        for _ in range(2):
            shares = np.einsum("snp,np->sp", basis[: step + 1], moved)
            moved = moved - np.einsum("snp,sp->np", basis[: step + 1], shares)
        beside[step] = np.linalg.norm(moved, axis=0)
        scale = np.abs(diagonal[: step + 1]).max(axis=0) + beside[: step + 1].max(axis=0)
        ended = beside[step] <= 1e-12 * np.maximum(scale, 1e-300)
        beside[step, ended] = 0.0
        current = np.where(ended, 0.0, moved / np.where(ended, 1.0, beside[step]))
    nodes, weights = np.zeros((probes, steps)), np.zeros((probes, steps))
    for probe in range(probes):
        cut = beside[:, probe] == 0.0
        length = int(cut.argmax()) + 1 if cut.any() else steps
        inner = np.diag(beside[: length - 1, probe], 1)
        values, vectors = np.linalg.eigh(np.diag(diagonal[:length, probe]) + inner + inner.T)
        nodes[probe, :length], weights[probe, :length] = values, vectors[0] ** 2
    return Quadrature(nodes=nodes, weights=weights)


class _Basis:
    """Columns and their images under G, grown in place by doubling; `once`: the images are the columns."""

    def __init__(self, size: int, once: bool = False) -> None:
        self.count, self._once = 0, once
        self._vectors = np.empty((size, 16), order="F")
        self._images = self._vectors if once else np.empty((size, 16), order="F")

    def append(self, vectors: Array, images: Array) -> None:
        need = self.count + vectors.shape[1]
        while need > self._vectors.shape[1]:
            self._vectors = _doubled(self._vectors)
            self._images = self._vectors if self._once else _doubled(self._images)
        self._vectors[:, self.count : need] = vectors
        if not self._once:
            self._images[:, self.count : need] = images
        self.count = need

    @property
    def vectors(self) -> Array:
        return self._vectors[:, : self.count]

    @property
    def images(self) -> Array:
        return self._images[:, : self.count]


def _doubled(columns: Array) -> Array:
    return np.asfortranarray(np.concatenate([columns, np.empty_like(columns)], axis=1))


def _orthonormalise(
    vectors: Array, fixed: _Basis, basis: _Basis, gram: Callable[[Array], Array]
) -> tuple[Array, Array, Array]:
    """G-orthonormal basis of the part of `vectors` outside both bases, its images, and the coupling (r, b)."""
    work = np.array(vectors)
    size = np.zeros(work.shape[1])
    for _ in range(2):
        for old in (fixed, basis):
            if old.count:
                shares = old.images.T @ work
                size += np.sum(shares**2, axis=0)
                work -= old.vectors @ shares
    images = gram(work)
    coupling = np.eye(work.shape[1])
    floor = 1e-13 * float(size.max(initial=0.0)) + 1e-290
    for _ in range(2):
        product = work.T @ images
        scale, rotation = np.linalg.eigh(0.5 * (product + product.T))
        keep = scale > max(floor, 1e-13 * float(scale.max(initial=0.0)))
        root = np.sqrt(scale[keep])
        coupling = (root[:, None] * rotation[:, keep].T) @ coupling
        work, images = work @ (rotation[:, keep] / root), images @ (rotation[:, keep] / root)
        floor = 0.1  # the second pass only polishes
    return work, images, coupling


def _grow(projected: Array, columns: Array, width: int) -> Array:
    total = columns.shape[0]
    out = np.zeros((total, total))
    out[: total - width, : total - width] = projected
    out[:, total - width :] = columns
    out[total - width :, :] = columns.T
    corner = columns[total - width :]
    out[total - width :, total - width :] = 0.5 * (corner + corner.T)
    return out


def _ritz(projected: Array, count: int, order: Callable[[Array], Array]) -> tuple[Array, Array]:
    values, vectors = np.linalg.eigh(projected)
    first = order(values)[:count]
    return values[first], vectors[:, first]
