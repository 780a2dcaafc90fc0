"""Label signals: the real matrix that weights the moment operator, and the targets of the readout.

A binary problem has one signal of +-1, a regression its standardised targets, c > 2 classes the centred one-hot matrix
(its mean direction carries no information on the inputs). Weights of rows (n,) multiply the signals, so that a weight
of 2 is a row given twice. Shapes: signals (n, r), targets (n, c).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.arrays import Array

IMBALANCE = 0.2  # |mean| / rms of a signal from which `auto` centres it and adds the first moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """`operator` weights the moment operator, `targets` feed the readout; `centered` and `first_moment` as decided;
    `weights` (n,) of the rows, already in `operator`, or None for equal ones."""

    operator: Array
    targets: Array
    centered: bool
    first_moment: bool
    weights: Array | None = None

    def rows(self, index: NDArray[np.intp]) -> Signals:
        return Signals(
            operator=self.operator[index],
            targets=self.targets[index],
            centered=self.centered,
            first_moment=self.first_moment,
            weights=None if self.weights is None else self.weights[index],
        )


def class_signals(
    codes: NDArray[np.intp],
    num_classes: int,
    *,
    center: bool | str = "auto",
    first_moment: bool | str = "auto",
    weights: Array | None = None,
) -> Signals:
    """Signals of class codes 0 .. c-1 (n,): one column of +-1 for two classes, centred one-hot columns for more."""
    if num_classes == 2:
        raw = np.where(codes == 1, 1.0, -1.0)[:, None]
        imbalanced = bool(abs(np.average(raw[:, 0], weights=weights)) > IMBALANCE)
        return _decide(raw, raw, imbalanced, center, first_moment, weights)
    onehot = np.eye(num_classes)[codes]
    share = np.average(onehot, axis=0, weights=weights)
    imbalanced = bool(np.max(np.abs(share * num_classes - 1.0)) > 3.0 * IMBALANCE)
    chosen = center if center != "auto" else True
    return _decide(onehot, 2.0 * onehot - 1.0, imbalanced, chosen, first_moment, weights)


def real_signals(
    values: Array,
    *,
    center: bool | str = "auto",
    first_moment: bool | str = "auto",
    weights: Array | None = None,
) -> Signals:
    """Signals of real targets (n, c): divided by their root mean square about the mean, centred where imbalanced."""
    mean = np.average(values, axis=0, weights=weights)
    spread = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))
    spread = np.where(spread > 0, spread, 1.0)
    scaled = values / spread
    rms = np.sqrt(np.average(scaled**2, axis=0, weights=weights))
    imbalanced = bool(np.any(np.abs(mean / spread) > IMBALANCE * np.where(rms > 0, rms, 1.0)))
    return _decide(scaled, values, imbalanced, center, first_moment, weights)


def _decide(
    raw: Array,
    targets: Array,
    imbalanced: bool,
    center: bool | str,
    first_moment: bool | str,
    weights: Array | None,
) -> Signals:
    centered = imbalanced if center == "auto" else bool(center)
    linear = imbalanced if first_moment == "auto" else bool(first_moment)
    signal = raw - np.average(raw, axis=0, weights=weights) if centered else raw
    signal = signal if weights is None else signal * weights[:, None]
    return Signals(operator=signal, targets=targets, centered=centered, first_moment=linear, weights=weights)


def label_directions(operator: Array, moment: Array, count: int | str) -> Array:
    """Mixing matrix (c, r) of the label columns that weight the operator.

    `"all"` keeps every column (a bank: subspace of sum_k C_k^2, the second-mode singular subspace of the moment tensor
    E[y_k z z^T]); an integer keeps that many leading label-side singular directions of the first moment E[y z^T], with
    1 the start of the BackLoFi iteration. `moment` is (c, P) or any matrix with the same left singular vectors.
    """
    columns = operator.shape[1]
    if count == "all" or columns == 1:
        return np.eye(columns)
    left, _, _ = np.linalg.svd(moment, full_matrices=False)
    return left[:, : int(count)]
