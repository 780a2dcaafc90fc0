"""Ridge readouts with an unpenalised intercept, dual (kernel) and primal (sufficient statistics), for one alpha.

Objective: sum_i u_i |t_i - w.z_i - b|^2 + alpha |w|^2 with weights u of the rows (1 without); alpha has the units of n
times a kernel entry. Exact solves by
Cholesky in float64, one per alpha: n^3/3 or P^3/3 flops.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.linalg import solve as dense_solve

from cutaway.arrays import Array

ALPHAS = tuple(float(a) for a in 10.0 ** np.arange(-6.0, 4.0))
FLOOR = 1e-10  # relative to the mean diagonal: added to a singular Gram matrix before it is factorised


def _factor(matrix: Array, alpha: float | Array) -> Array:
    """Cholesky factor of matrix + alpha I (or diag(alpha)), over `matrix`; a failing one is lifted by the floor."""
    scale = float(np.mean(np.diagonal(matrix))) or 1.0
    index = np.arange(matrix.shape[0])
    diagonal = matrix[index, index].copy()
    for attempt in range(8):
        if attempt:
            matrix = np.asfortranarray(np.triu(matrix, 1) + np.triu(matrix, 1).T)  # the upper half is still intact
        matrix[index, index] = diagonal + alpha + FLOOR * scale * (100.0**attempt)
        try:
            return cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError:
            continue
    raise np.linalg.LinAlgError("Gram matrix is not positive semidefinite")


def dual_readout(gram: Array, targets: Array, alpha: float, weights: Array | None = None) -> tuple[Array, Array]:
    """Dual coefficients (n, c) and intercept (c,): predictions are K(x, X) @ coefficients + intercept.

    Weights (n,) > 0 of the rows divide the ridge: (K + alpha diag(1 / u)) a = t - b.
    """
    ones = np.ones((gram.shape[0], 1))
    factor = _factor(gram.copy(order="F"), alpha if weights is None else alpha / weights)
    solved = cho_solve((factor, True), np.concatenate([targets, ones], axis=1), check_finite=False)
    intercept = solved[:, :-1].sum(axis=0) / solved[:, -1].sum()
    return solved[:, :-1] - solved[:, -1:] * intercept, intercept


def primal_readout(centred: Array, right: Array, mean: Array, target_mean: Array, alpha: float) -> tuple[Array, Array]:
    """The same from centred sums: `centred` = Z^T Z - n m m^T (P, P), `right` = Z^T T - n m t^T (P, c)."""
    factor = _factor(centred.copy(order="F"), alpha)
    weights = cho_solve((factor, True), right, check_finite=False)
    return weights, target_mean - mean @ weights


def linear_ridge(inputs: Array, targets: Array, alpha: float) -> tuple[Array, Array]:
    """Ridge on the inputs themselves, by the smaller of the two normal equations."""
    return linear_ridges(inputs, targets, (alpha,))[0]


def linear_ridges(inputs: Array, targets: Array, alphas: Sequence[float]) -> list[tuple[Array, Array]]:
    """`linear_ridge` for several alphas from one pass over the inputs, one solve for each."""
    mean, target_mean = inputs.mean(axis=0), targets.mean(axis=0)
    centred, right = inputs - mean, targets - target_mean
    primal = inputs.shape[1] <= inputs.shape[0]
    system = centred.T @ centred if primal else centred @ centred.T
    right = centred.T @ right if primal else right
    diagonal = np.diagonal(system).copy()
    found = []
    for alpha in alphas:
        system[np.diag_indices_from(system)] = diagonal + alpha
        solved = dense_solve(system, right, assume_a="sym")
        weights = solved if primal else centred.T @ solved
        found.append((weights, target_mean - mean @ weights))
    return found
