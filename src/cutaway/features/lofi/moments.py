"""Streamed moments of lifted features: nothing of size n x P is ever kept.

Accumulators are float64 whatever the lift computes in. Shapes: inputs (n, q), features z (P,), label columns (n, r).
Cost: one pass of n P^2 flops (class sums: every sample lands in one class, so r classes cost no more than one label).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, eigsh

from cutaway.arrays import Array
from cutaway.features.lofi.layer import signs

Lift = Callable[[torch.Tensor], torch.Tensor]


class Products(LinearOperator):
    """A symmetric matrix (width, width) that is known by its products with vectors."""

    def __init__(self, product: Callable[[Array], Array], width: int) -> None:
        super().__init__(np.float64, (width, width))
        self._product = product

    def _matvec(self, x: Array) -> Array:
        return self._product(x)


def largest_pairs(operator: Products, count: int, start: Array, *, tolerance: float) -> tuple[Array, Array]:
    """`count` eigenpairs of largest magnitude (ARPACK), values (count,) and vectors (width, count)."""
    limit: Any = tolerance  # a float, whatever scipy's default looks like
    values, vectors = eigsh(operator, k=count, which="LM", v0=start, tol=limit)
    return values, vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMoments:
    """`operators` (r, P, P) with C_k = (1/n) sum_i y_ik z_i z_i^T, `first` (r, P) = E[y z], `mean` (P,) = E[z],
    `second_moment` = E|z|^2."""

    operators: torch.Tensor
    first: torch.Tensor
    mean: torch.Tensor
    second_moment: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What a ridge readout needs: `second` = Z^T Z (P, P), `cross` = Z^T T (P, c), `mean` (P,)."""

    second: Array
    cross: Array
    mean: Array


def blocks(inputs: Array, rows: int, device: str) -> Iterator[tuple[slice, torch.Tensor]]:
    """Row blocks of `inputs` as float64 tensors on `device`."""
    for start in range(0, inputs.shape[0], rows):
        index = slice(start, min(start + rows, inputs.shape[0]))
        yield index, torch.from_numpy(np.array(inputs[index], order="C")).to(device)  # a copy: inputs may be read-only


def rows_within(width: int, budget: int) -> int:
    """Rows of a block such that a few blocks of features fit in a twentieth of the budget, between 16 and 8192."""
    return int(np.clip(budget / 20.0 / (8.0 * max(width, 1)), 16, 8192))


def accumulate(
    inputs: Array, lift: Lift, weights: Array, width: int, rows: int, device: str, classes: NDArray[np.intp] | None
) -> LabelMoments:
    """Moment operators of every label column; `classes` (n,) marks columns that are centred one-hot codes of it."""
    columns = weights.shape[1]
    operators = torch.zeros(columns, width, width, dtype=torch.float64, device=device)
    first = torch.zeros(columns, width, dtype=torch.float64, device=device)
    mean = torch.zeros(width, dtype=torch.float64, device=device)
    energy = 0.0
    total = 0
    for index, block in blocks(inputs, rows, device):
        z = lift(block)
        positions = z.shape[0] // block.shape[0]  # a convolution gives several samples an image, all with its label
        total += z.shape[0]
        label = torch.from_numpy(weights[index]).to(z).repeat_interleave(positions, dim=0)
        mean += z.sum(0).double()
        first += (label.T @ z).double()
        energy += float((z.double() ** 2).sum())
        if classes is None:
            for k in range(columns):
                operators[k] += (z.T @ (label[:, k, None] * z)).double()
        else:
            codes = torch.from_numpy(classes[index]).to(device).repeat_interleave(positions)
            for k in range(columns):
                members = z[codes == k]
                operators[k] += (members.T @ members).double()
    if classes is not None:
        share = torch.from_numpy(np.bincount(classes, minlength=columns) / classes.size).to(device)
        operators -= share[:, None, None] * operators.sum(0)
    return LabelMoments(
        operators=operators / total, first=first / total, mean=mean / total, second_moment=energy / total
    )


def readout_sums(
    inputs: Array, lift: Lift, targets: Array, width: int, rows: int, device: str, weights: Array | None = None
) -> Sums:
    """Sufficient statistics of the ridge readout in one pass; with weights (n,) every sum is weighted."""
    total = inputs.shape[0] if weights is None else float(weights.sum())
    second = torch.zeros(width, width, dtype=torch.float64, device=device)
    cross = torch.zeros(width, targets.shape[1], dtype=torch.float64, device=device)
    mean = torch.zeros(width, dtype=torch.float64, device=device)
    for index, block in blocks(inputs, rows, device):
        z = lift(block)
        weighted = z if weights is None else z * torch.from_numpy(weights[index]).to(z)[:, None]
        second += (weighted.T @ z).double()
        cross += (weighted.T @ torch.from_numpy(targets[index]).to(z)).double()
        mean += weighted.sum(0).double()
    return Sums(second=second.cpu().numpy(), cross=cross.cpu().numpy(), mean=(mean / total).cpu().numpy())


def leading_directions(operators: torch.Tensor, count: int, locked: torch.Tensor) -> tuple[Array, Array]:
    """Orthonormal directions (P, count) and strengths: top |eigenvalues| of C, or of the bank sum_k C_k^2 (rooted).

    `locked` (P, l) orthonormal columns are projected out first. Dense eigendecomposition where many are wanted or the
    operator sits on a GPU, Lanczos (largest magnitude) otherwise: ARPACK's, which restarts within 2 `count` columns and
    converges to rounding where gaps are small; `network.lanczos` keeps its whole basis and stops at a tolerance.
    """
    if locked.shape[1]:
        outside = torch.eye(operators.shape[1], dtype=operators.dtype, device=operators.device) - locked @ locked.T
        operators = torch.stack([outside @ c @ outside for c in operators])
    single = operators.shape[0] == 1
    width = operators.shape[1]
    dense = count >= width // 8 or width <= 256
    if dense or operators.is_cuda:
        matrix = operators[0] if single else sum((c @ c for c in operators), torch.zeros_like(operators[0]))
        values, vectors = _dense(matrix)
    elif single:
        start = np.random.default_rng(0).standard_normal(width)
        values, vectors = eigsh(operators[0].cpu().numpy(), k=count, which="LM", v0=start)
    else:
        start = np.random.default_rng(0).standard_normal(width)
        bank = operators.cpu().numpy()

        def multiply(v: Array) -> Array:
            return sum((c @ (c @ v) for c in bank), np.zeros(width))

        values, vectors = largest_pairs(Products(multiply, width), count, start, tolerance=1e-8)
    order = np.argsort(-np.abs(values), kind="stable")[:count]
    values, vectors = values[order], vectors[:, order]
    vectors = vectors * signs(vectors)  # the next random lift sees signs
    return vectors, values if single else np.sqrt(np.maximum(values, 0.0))


def _dense(matrix: torch.Tensor) -> tuple[Array, Array]:
    if matrix.is_cuda:
        values, vectors = torch.linalg.eigh(matrix)
        return values.cpu().numpy(), vectors.cpu().numpy()
    return eigh(matrix.numpy(), check_finite=False)


def linear_directions(first: torch.Tensor) -> torch.Tensor:
    """Orthonormal basis (P, l) of the span of the first moments u_k; empty where |u| < 1e-7."""
    basis, size, _ = torch.linalg.svd(first.T, full_matrices=False)
    return basis[:, size > max(float(size.max()) * 1e-5, 1e-7)]
