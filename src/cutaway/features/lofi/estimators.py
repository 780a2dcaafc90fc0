"""`LoFiClassifier`, `LoFiRegressor`, `LoFiTransformer`: Neural LoFi behind scikit-learn's contract.

A layer lifts its inputs by random features (or their kernel limit), forms the label-weighted moment operator
C = (1/n) sum_i y_i z_i z_i^T, and keeps the K directions of largest |eigenvalue|; the next layer works on those. The
last lift feeds a ridge readout. Source: Neural LoFi, arXiv 2605.13612. We differ: several label directions for more
than two classes, held-out selection in place of leave-one-out, a kernel route without square roots of the Gram matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, RegressorMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from cutaway._compat import own_device
from cutaway.arrays import Array
from cutaway.features.lofi.base import LoFiBase
from cutaway.features.lofi.errors import EstimatorInputError
from cutaway.features.lofi.fitting import fit_stack
from cutaway.features.lofi.labels import Signals, class_signals, real_signals
from cutaway.features.lofi.weights import row_weights


class LoFiClassifier(ClassifierMixin, LoFiBase):
    """Neural LoFi for two or more classes. `score` is accuracy, so is `validation_score_`.

    `predict_proba` is the softmax of `temperature_` times the ridge outputs; the temperature has the least log-loss on
    the held-out rows, or, where nothing was held out, on the training rows (an estimate on the confident side).
    """

    @own_device()
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LoFiClassifier:
        """Rows (n, d), labels (n,), weights (n,) >= 0: a weight of 2 counts as a row given twice.

        Raises `EstimatorInputError` for a single class.
        """
        X, y = validate_data(self, X, _labels(y), dtype=[np.float64, np.float32], ensure_min_samples=2)
        check_classification_targets(y)
        weights, kept = row_weights(X, sample_weight, self.class_weight, y)
        X, y = X[kept], y[kept]
        self.classes_, codes = np.unique(y, return_inverse=True)
        if self.classes_.size < 2:
            raise EstimatorInputError(
                "labels y", found="one class only", expected="at least two classes", remedy="add rows of another class"
            )
        settings = self._settings()
        self._learn_scaling(X)
        signals = class_signals(
            codes, self.classes_.size, center=self.center_labels, first_moment=self.first_moment, weights=weights
        )
        shares = np.ones(len(codes)) if weights is None else weights

        def judge(predicted: Array, mask: NDArray[np.bool_]) -> tuple[Array, Array]:
            hit = (self._codes(predicted) == codes[mask]).astype(float)
            loss = ((predicted - signals.targets[mask]) ** 2).sum(axis=1) * shares[mask]
            return loss, np.column_stack([hit, shares[mask], codes[mask], predicted])

        points = self._scaling(X)
        result = fit_stack(points, signals, codes, settings, judge, _mean_and_error)
        self._store(result, X)
        held = None if result.selection is None else result.selection.held_out
        if held is None:
            held = np.column_stack([codes, shares, codes, result.model.predict(points)])
        self.temperature_ = _temperature(_both(held[:, 3:]), held[:, 2].astype(int), held[:, 1])
        return self

    def _codes(self, predicted: Array) -> NDArray[np.intp]:
        if self.classes_.size == 2:
            return (predicted[:, 0] > 0).astype(int)
        return predicted.argmax(axis=1)

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (n, c) in the order of `classes_`, each in [0, 1], rows adding up to 1; estimates."""
        predicted = self._predicted(X)
        return softmax(self.temperature_ * _both(predicted), axis=1)

    def decision_function(self, X: Any) -> Array:
        """Ridge outputs: (n,) for two classes (positive is `classes_[1]`), else (n, c)."""
        predicted = self._predicted(X)
        return predicted[:, 0] if self.classes_.size == 2 else predicted

    def predict(self, X: Any) -> NDArray[Any]:
        """Class of the largest output, shape (n,)."""
        predicted = self._predicted(X)
        return self.classes_[self._codes(predicted)]


class LoFiRegressor(RegressorMixin, LoFiBase):
    """Neural LoFi for real targets, one or several. `score` and `validation_score_` are R^2."""

    @own_device()
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LoFiRegressor:
        """Rows (n, d), targets (n,) or (n, c), weights (n,) >= 0: a weight of 2 counts as a row given twice.

        Raises `EstimatorInputError` for a column of targets that is constant and for class weights.
        """
        X, y = validate_data(
            self, X, y, dtype=[np.float64, np.float32], ensure_min_samples=2, multi_output=True, y_numeric=True
        )
        if self.class_weight is not None:
            raise EstimatorInputError(
                "parameter class_weight",
                found=repr(self.class_weight),
                expected="None here",
                remedy="real targets have no classes: use sample_weight",
            )
        weights, kept = row_weights(X, sample_weight)
        X, targets = X[kept], np.asarray(y, dtype=np.float64).reshape(X.shape[0], -1)[kept]
        if not np.all(targets.std(axis=0) > 0):
            raise EstimatorInputError(
                "targets y", found="a constant column", expected="targets that vary", remedy="drop the column"
            )
        self._flat = np.ndim(y) == 1
        settings = self._settings()
        self._learn_scaling(X)
        signals = real_signals(targets, center=self.center_labels, first_moment=self.first_moment, weights=weights)
        shares = np.ones(len(targets)) if weights is None else weights

        def judge(predicted: Array, mask: NDArray[np.bool_]) -> tuple[Array, Array]:
            truth, share = targets[mask], shares[mask]
            middle = np.average(truth, axis=0, weights=share)
            loss = ((predicted - truth) ** 2 / targets.var(axis=0)).mean(axis=1) * share
            spread = ((truth - middle) ** 2 / targets.var(axis=0)).mean(axis=1) * share
            return loss, np.stack([loss, spread], axis=1)

        result = fit_stack(self._scaling(X), signals, None, settings, judge, _explained)
        self._store(result, X)
        return self

    def predict(self, X: Any) -> Array:
        """Predicted targets, shape (n,) or (n, c) like the `y` of `fit`."""
        predicted = self._predicted(X)
        return predicted[:, 0] if self._flat else predicted

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class LoFiTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, LoFiBase):
    """Supervised features: coordinates (n, K) along the kept directions of the last layer.

    `fit` needs labels: classes (integers, booleans, strings) or, for floating point `y`, real targets. Every one of the
    `n_layers` lifts is reduced; nothing is selected on held-out rows ("auto" keeps 16 directions). Columns are named
    `lofitransformer0`, `lofitransformer1`, ...
    """

    @own_device()
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> LoFiTransformer:
        """Rows (n, d), labels or targets, weights (n,) >= 0: a weight of 2 counts as a row given twice.

        Raises `EstimatorInputError` where `y` is None.
        """
        if y is None:
            raise EstimatorInputError(
                "labels y",
                found="None",
                expected="labels (the estimator requires y to be passed, but the target y is None)",
                remedy="pass y to fit",
            )
        X, y = validate_data(
            self, X, _labels(y), dtype=[np.float64, np.float32], ensure_min_samples=2, multi_output=True
        )
        classes = None if y.dtype.kind == "f" else y
        weights, kept = row_weights(X, sample_weight, self.class_weight, classes)
        X, y = X[kept], y[kept]
        settings = self._settings()
        self._learn_scaling(X)
        signals, codes = self._signals(y, weights)
        points = self._scaling(X)
        from cutaway.features.lofi.fitting import count_grid, make_path, resolve_mode

        mode = resolve_mode(settings.mode, X.shape[0], settings.budget)
        count = 16 if settings.n_directions == "auto" else count_grid(settings, X.shape[0], 1)[-1]
        count = max(1, min(count, X.shape[0] - 1))
        path = make_path(points, points[:0], signals, codes, settings, mode)
        for _ in range(settings.n_layers):
            path.lift()
            path.reduce(count)
        self.layers_, self.layer_records_ = path.layers, path.records
        self._path, self.mode_ = path.branch(), mode
        self._path.inputs = self._path.evaluation = points[:0]
        self._n_features_out = self.layers_[-1].dual.shape[1] if mode == "kernel" else self.layers_[-1].matrix.shape[1]
        self.n_directions_ = count
        return self

    @own_device()
    def transform(self, X: Any) -> Array:
        """Coordinates (n, K) of new points."""
        check_is_fitted(self, "layers_")
        checked: Any = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        points = self._scaling(checked)
        for layer in self.layers_:
            if self.mode_ == "kernel":
                points = layer.forward(points)
            else:
                from cutaway.features.lofi.moments import rows_within
                from cutaway.features.lofi.primal_path import numbers_per_row

                points = layer.forward(points, rows_within(numbers_per_row(layer.lift), self.budget), self.device)
        return points

    def _signals(self, y: NDArray[Any], weights: Array | None) -> tuple[Signals, NDArray[np.intp] | None]:
        how = {"center": self.center_labels, "first_moment": self.first_moment, "weights": weights}
        if y.dtype.kind == "f":
            targets = np.asarray(y, dtype=np.float64).reshape(y.shape[0], -1)
            if not np.all(targets.std(axis=0) > 0):
                raise EstimatorInputError(
                    "targets y",
                    found="a constant column",
                    expected="targets that vary",
                    remedy="leave out the constant column",
                )
            return real_signals(targets, **how), None
        classes, codes = np.unique(y, return_inverse=True)
        if classes.size < 2:
            raise EstimatorInputError(
                "labels y",
                found="one class only",
                expected="at least two classes",
                remedy="give rows of at least two classes",
            )
        signals = class_signals(codes, classes.size, **how)
        return signals, codes if classes.size > 2 else None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def _labels(y: Any) -> Any:
    """Labels as scikit-learn takes them: numpy's variable-width strings become its fixed-width ones."""
    return np.array(y.tolist()) if isinstance(y, np.ndarray) and y.dtype.kind == "T" else y


def _both(predicted: Array) -> Array:
    """Ridge outputs (n, c), for two classes (n, 2) from the one column."""
    return np.column_stack([-predicted, predicted]) if predicted.shape[1] == 1 else predicted


def _temperature(outputs: Array, codes: NDArray[np.intp], shares: Array) -> float:
    """The factor b > 0 of least mean log-loss of softmax(b outputs), against targets smoothed by one count a class, so
    that rows all told right do not make it infinite (Platt 1999)."""
    total, classes = float(shares.sum()), outputs.shape[1]
    targets = (np.eye(classes)[codes] * total + 1.0) / (total + classes)

    def loss(log_factor: float) -> float:
        return -float(np.average((targets * log_softmax(np.exp(log_factor) * outputs, axis=1)).sum(1), weights=shares))

    found: Any = minimize_scalar(loss, bounds=(np.log(1e-2), np.log(1e2)), method="bounded")
    return float(np.exp(found.x))


def _mean_and_error(rows: Array, index: NDArray[np.intp]) -> tuple[float, float]:
    """Weighted share of hits and its standard error, from columns (hit, weight, ...)."""
    hit, share = rows[index, 0], rows[index, 1]
    mean = float(np.average(hit, weights=share))
    effective = float(share.sum() ** 2 / np.square(share).sum())
    return mean, float(np.sqrt(max(mean * (1 - mean), 1e-12) / effective))


def _explained(hit: Array, index: Array) -> tuple[float, float]:
    loss, spread = hit[index, 0], hit[index, 1]
    total = max(float(spread.mean()), 1e-300)
    ratio = float(loss.mean()) / total
    return 1.0 - ratio, float(np.std(loss - ratio * spread) / total / np.sqrt(index.size))
