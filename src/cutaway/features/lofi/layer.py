"""What every LoFi layer reports, whichever way it was computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cutaway.arrays import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """One reduction: `eigenvalues` (k,) of C = (1/n) sum y z z^T (for several label columns the root of those of
    sum_k C_k^2), `linear` first-moment columns kept before them, `scale` = c, `second_moment` = E|z|^2,
    `converged` whether the eigensolver met its tolerance."""

    eigenvalues: Array
    linear: int
    scale: float
    second_moment: float
    converged: bool


def input_scale(inputs: Array, weights: Array | None = None) -> float:
    """c with c^2 = mean_i |h_i|^2 (weighted where weights (n,) are given); 1 for inputs that are all zero."""
    scale = float(np.sqrt(np.average(np.einsum("nq,nq->n", inputs, inputs), weights=weights)))
    return scale if scale > 0 else 1.0


def signs(columns: Array) -> Array:
    """+-1 a column (k,) that makes its largest entry positive: the sign of an eigenvector is the solver's whim."""
    top = columns[np.abs(columns).argmax(axis=0), np.arange(columns.shape[1])] if len(columns) else np.ones(0)
    return np.where(top < 0, -1.0, 1.0)
