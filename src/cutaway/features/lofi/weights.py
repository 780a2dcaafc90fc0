"""Weights of rows, from `sample_weight` and `class_weight`: 2 is a row given twice, 0 a row left out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight

from cutaway.arrays import Array
from cutaway.features.lofi.errors import EstimatorInputError


def row_weights(
    inputs: Array, sample_weight: Any, class_weight: Any = None, labels: Array | None = None
) -> tuple[Array | None, NDArray[np.intp]]:
    """Weights of the rows kept (None where all are 1), and which rows those are (weight above 0).

    class_weight: "balanced" (n / (classes x count)), a dictionary of labels, or None. Raises `EstimatorInputError`
    for negative weights and for fewer than two rows of positive weight.
    """
    everything = np.arange(inputs.shape[0])
    if sample_weight is None and class_weight is None:
        return None, everything
    num = inputs.shape[0]
    weights = np.ones(num) if sample_weight is None else np.array(sample_weight, dtype=np.float64)
    weights = np.full(num, weights) if weights.ndim == 0 else weights
    if weights.shape != (num,) or not np.isfinite(weights).all():
        raise EstimatorInputError(
            "sample_weight",
            found=f"shape {weights.shape}" if weights.shape != (num,) else "NaN or infinity",
            expected=f"{num} finite numbers, one a row",
            remedy="give one weight a row",
        )
    if class_weight is not None and labels is not None:
        classes, codes = np.unique(labels, return_inverse=True)
        weights = weights * compute_class_weight(class_weight, classes=classes, y=labels)[codes]
    if (weights < 0).any():
        row = int(np.argmin(weights))
        raise EstimatorInputError(
            f"sample_weight, row {row}",
            found=f"{weights[row]:g}",
            expected="0 or larger",
            remedy="leave rows out by a weight of 0",
        )
    kept = np.flatnonzero(weights > 0)
    if kept.size < 2:
        raise EstimatorInputError(
            "sample_weight",
            found=f"{kept.size} rows of non-zero weight",
            expected="at least two rows",
            remedy="give weight to more rows",
        )
    weights = weights[kept]
    return (None if (weights == 1.0).all() else weights), kept
