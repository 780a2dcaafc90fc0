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
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from cutaway.features.lofi.activations import activation_named
from cutaway.features.lofi.errors import EstimatorInputError
from cutaway.features.lofi.fitting import FitResult, FitSettings, fit_stack
from cutaway.features.lofi.labels import Signals, class_signals, real_signals
from cutaway.features.lofi.parameters import check_stack
from cutaway.features.lofi.readout import FLOOR

Array = NDArray[Any]
WIDE = 100.0  # ratio of the largest to the median column spread, or of neighbours in order, that `auto` scales away
UNEVEN = 10.0  # the same ratio from which the notes speak of it
OFFSET = 5.0  # |mean row| over the root of the summed column variances from which `auto` removes the mean


class _LoFiBase(BaseEstimator):
    """Parameters and what the three estimators share.

    Parameters
    ----------
    mode : "auto", "kernel", "finite", "nystroem" or "conv". `auto` takes the exact kernel while it fits `memory_gb`.
    n_layers : lifts, the last of which feeds the readout; the largest depth tried with `early_stopping`.
    n_directions : K kept a layer; "auto" or a tuple lets the held-out fold choose.
    activation : see `cutaway.features.lofi.activations.ACTIVATIONS`.
    width : P of a finite lift, or the number of Nystroem landmarks.
    alpha : ridge; "auto" lets the held-out fold choose among 1e-5 .. 1e3.
    center_labels, first_moment : "auto" (on where labels are imbalanced), True or False.
    label_directions : "all", or how many label-side directions weight the operator.
    standardize : True, False or "auto": columns are standardised where the largest spread is 100 times the median one
        or spreads fall apart into groups 100 apart, centred where the mean row is five times the spread; `notes_` says
        so, and where spreads differ by 10 to 100 that they were left.
    validation_fraction : rows held out for selection; 0 selects nothing.
    refit : fit on all rows once selected; False keeps the model that was validated.
    backward_passes, backward_rank : BackLoFi passes at most (finite mode, one label column, held-out fold) and r / K.
    image_shape, channels, kernel_size, pool : the convolutional variant.
    memory_gb, device, random_state : budget, torch device of the finite modes, seed.
    dtype : of the finite lifts, "float32", "float64" or "auto" (float64 up to 5,000 rows); sums are float64 always.

    Attributes after `fit`: `model_`, `n_directions_`, `depth_`, `alpha_`, `mode_`, `layer_records_` (eigenvalues a
    layer), `validation_score_` and `validation_standard_error_` (nan without selection), `selection_`, `notes_` (what
    was adjusted), `nystroem_errors_`.
    """

    def __init__(
        self,
        *,
        mode: str = "auto",
        n_layers: int = 3,
        n_directions: Any = "auto",
        activation: str = "relu",
        width: int = 2000,
        alpha: Any = "auto",
        center_labels: Any = "auto",
        first_moment: Any = "auto",
        label_directions: Any = "all",
        standardize: Any = "auto",
        validation_fraction: float = 0.2,
        refit: bool = True,
        early_stopping: bool = True,
        image_shape: Any = None,
        channels: int = 256,
        kernel_size: int = 3,
        pool: int = 2,
        backward_passes: int = 0,
        backward_rank: float = 0.2,
        memory_gb: float = 4.0,
        device: str = "cpu",
        dtype: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.mode = mode
        self.n_layers = n_layers
        self.n_directions = n_directions
        self.activation = activation
        self.width = width
        self.alpha = alpha
        self.center_labels = center_labels
        self.first_moment = first_moment
        self.label_directions = label_directions
        self.standardize = standardize
        self.validation_fraction = validation_fraction
        self.refit = refit
        self.early_stopping = early_stopping
        self.image_shape = image_shape
        self.channels = channels
        self.kernel_size = kernel_size
        self.pool = pool
        self.backward_passes = backward_passes
        self.backward_rank = backward_rank
        self.memory_gb = memory_gb
        self.device = device
        self.dtype = dtype
        self.random_state = random_state

    def _settings(self) -> FitSettings:
        activation_named(self.activation)
        check_stack(self)
        counts = self.n_directions
        return FitSettings(
            mode=self.mode,
            n_layers=self.n_layers,
            n_directions=counts if isinstance(counts, str) else tuple(np.atleast_1d(counts).tolist()),
            activation=self.activation,
            width=self.width,
            alpha=self.alpha,
            label_directions=self.label_directions,
            validation_fraction=self.validation_fraction,
            refit=self.refit,
            early_stopping=self.early_stopping,
            image_shape=None if self.image_shape is None else tuple(self.image_shape),
            channels=self.channels,
            kernel_size=self.kernel_size,
            pool=self.pool,
            backward_passes=self.backward_passes,
            backward_rank=self.backward_rank,
            memory_gb=self.memory_gb,
            device=self.device,
            dtype=self.dtype,
            seed=_seed(self.random_state),
        )

    def _learn_scaling(self, inputs: Array) -> None:
        self.notes_: list[str] = []
        mean, spread = inputs.mean(axis=0, dtype=np.float64), inputs.std(axis=0, dtype=np.float64)
        spread = np.where(spread > 1e-12 * np.abs(mean), spread, 0.0)  # less is rounding of a constant
        total = float(np.linalg.norm(spread))
        ratio = _unevenness(spread[spread > 0])
        offset = float(np.linalg.norm(mean)) / total if total > 0 else 0.0
        scaled, centred = self.standardize, self.standardize
        if self.standardize == "auto":
            scaled = ratio > WIDE
            centred = scaled or offset > OFFSET
            if scaled:
                self.notes_.append(
                    f"columns standardised: spreads {ratio:.1e} times apart, of which the kernel would see the widest "
                    "only; standardize=False leaves them"
                )
            elif ratio > UNEVEN:
                self.notes_.append(
                    f"columns left as they are: spreads {ratio:.1e} times apart, of which the kernel sees mostly the "
                    "widest; standardize=True scales them"
                )
            if centred and not scaled:
                self.notes_.append(
                    f"columns centred: their mean is {offset:.1e} times their spread and would be most of what the "
                    "kernel sees; standardize=False leaves them"
                )
        self._shift: Any = mean if centred else 0.0
        self._spread: Any = np.where(spread > 0, spread, 1.0) if scaled else 1.0

    def _scaled(self, inputs: Array) -> Array:
        if np.ndim(self._shift) == 0:
            return inputs
        return (inputs - self._shift) / self._spread

    def _store(self, result: FitResult, inputs: Array) -> None:
        self.model_, self.selection_ = result.model, result.selection
        self.n_directions_, self.depth_, self.alpha_, self.mode_ = result.count, result.depth, result.alpha, result.mode
        self.backward_passes_ = result.backward_passes
        self.layer_records_ = result.model.records
        self.nystroem_errors_ = getattr(result.model, "nystroem_errors", ())
        chosen = result.selection
        self.validation_score_ = float("nan") if chosen is None else chosen.score
        self.validation_standard_error_ = float("nan") if chosen is None else chosen.standard_error
        num = inputs.shape[0]
        repeated = num - len({row.tobytes() for row in np.ascontiguousarray(inputs)}) if self.mode_ == "kernel" else 0
        if repeated:
            self.notes_.append(
                f"{repeated} of {num} rows repeat another: the kernel is singular, and {FLOOR:g} of its mean diagonal "
                "is added before it is factorised"
            )
        if self.n_directions != "auto" and np.max(self.n_directions) > num - 1:
            self.notes_.append(f"n_directions lowered to {num - 1}: {num} rows carry no more")

    def _predicted(self, inputs: Any) -> Array:
        check_is_fitted(self, "model_")
        points = validate_data(self, inputs, dtype=[np.float64, np.float32], reset=False)
        return self.model_.predict(self._scaled(points))  # pyright: ignore[reportArgumentType]


class LoFiClassifier(ClassifierMixin, _LoFiBase):
    """Neural LoFi for two or more classes. `score` is accuracy, so is `validation_score_`."""

    def fit(self, X: Any, y: Any) -> LoFiClassifier:
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if self.classes_.size < 2:
            raise EstimatorInputError(
                "labels y", found="one class only", expected="at least two classes", remedy="add rows of another class"
            )
        settings = self._settings()
        self._learn_scaling(X)
        signals = class_signals(codes, self.classes_.size, center=self.center_labels, first_moment=self.first_moment)
        binary = self.classes_.size == 2

        def judge(predicted: Array, mask: NDArray[np.bool_]) -> tuple[Array, Array]:
            guess = (predicted[:, 0] > 0).astype(int) if binary else predicted.argmax(axis=1)
            return ((predicted - signals.targets[mask]) ** 2).sum(axis=1), (guess == codes[mask]).astype(float)

        result = fit_stack(self._scaled(X), signals, codes, settings, judge, _mean_and_error)
        self._store(result, X)
        return self

    def decision_function(self, X: Any) -> Array:
        """Ridge outputs: (n,) for two classes (positive is `classes_[1]`), else (n, c)."""
        predicted = self._predicted(X)
        return predicted[:, 0] if self.classes_.size == 2 else predicted

    def predict(self, X: Any) -> NDArray[Any]:
        """Class of the largest output, shape (n,)."""
        predicted = self._predicted(X)
        if self.classes_.size == 2:
            return self.classes_[(predicted[:, 0] > 0).astype(int)]
        return self.classes_[predicted.argmax(axis=1)]


class LoFiRegressor(RegressorMixin, _LoFiBase):
    """Neural LoFi for real targets, one or several. `score` and `validation_score_` are R^2."""

    def fit(self, X: Any, y: Any) -> LoFiRegressor:
        X, y = validate_data(
            self, X, y, dtype=[np.float64, np.float32], ensure_min_samples=2, multi_output=True, y_numeric=True
        )
        targets = np.asarray(y, dtype=np.float64).reshape(X.shape[0], -1)
        if not np.all(targets.std(axis=0) > 0):
            raise EstimatorInputError(
                "targets y", found="a constant column", expected="targets that vary", remedy="drop the column"
            )
        self._flat = np.ndim(y) == 1
        settings = self._settings()
        self._learn_scaling(X)
        signals = real_signals(targets, center=self.center_labels, first_moment=self.first_moment)

        def judge(predicted: Array, mask: NDArray[np.bool_]) -> tuple[Array, Array]:
            truth = targets[mask]
            loss = ((predicted - truth) ** 2 / targets.var(axis=0)).mean(axis=1)
            spread = ((truth - truth.mean(axis=0)) ** 2 / targets.var(axis=0)).mean(axis=1)
            return loss, np.stack([loss, spread], axis=1)

        result = fit_stack(self._scaled(X), signals, None, settings, judge, _explained)
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


class LoFiTransformer(TransformerMixin, _LoFiBase):
    """Supervised features: coordinates (n, K) along the kept directions of the last layer.

    `fit` needs labels: classes (integers, booleans, strings) or, for floating point `y`, real targets. Every one of the
    `n_layers` lifts is reduced; nothing is selected on held-out rows ("auto" keeps 16 directions).
    """

    def fit(self, X: Any, y: Any = None) -> LoFiTransformer:
        if y is None:
            raise EstimatorInputError(
                "labels y",
                found="None",
                expected="labels (the estimator requires y to be passed, but the target y is None)",
            )
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], ensure_min_samples=2, multi_output=True)
        settings = self._settings()
        self._learn_scaling(X)
        signals, codes = self._signals(y)
        points = self._scaled(X)
        from cutaway.features.lofi.fitting import count_grid, make_path, resolve_mode

        mode = resolve_mode(settings.mode, X.shape[0], settings.memory_gb)
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

    def transform(self, X: Any) -> Array:
        """Coordinates (n, K) of new points."""
        check_is_fitted(self, "layers_")
        points = self._scaled(validate_data(self, X, dtype=[np.float64, np.float32], reset=False))  # pyright: ignore[reportArgumentType]
        for layer in self.layers_:
            if self.mode_ == "kernel":
                points = layer.forward(points)
            else:
                from cutaway.features.lofi.moments import rows_within
                from cutaway.features.lofi.primal_path import numbers_per_row

                points = layer.forward(points, rows_within(numbers_per_row(layer.lift), self.memory_gb), self.device)
        return points

    def _signals(self, y: NDArray[Any]) -> tuple[Signals, NDArray[np.intp] | None]:
        if y.dtype.kind == "f":
            targets = np.asarray(y, dtype=np.float64).reshape(y.shape[0], -1)
            if not np.all(targets.std(axis=0) > 0):
                raise EstimatorInputError("targets y", found="a constant column", expected="targets that vary")
            return real_signals(targets, center=self.center_labels, first_moment=self.first_moment), None
        classes, codes = np.unique(y, return_inverse=True)
        if classes.size < 2:
            raise EstimatorInputError("labels y", found="one class only", expected="at least two classes")
        signals = class_signals(codes, classes.size, center=self.center_labels, first_moment=self.first_moment)
        return signals, codes if classes.size > 2 else None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def _unevenness(spread: Array) -> float:
    """Largest of: widest over median spread, ratio of neighbours in order (units that differ leave a gap)."""
    if not spread.size:
        return 1.0
    ordered = np.sort(spread)
    return float(max(ordered[-1] / np.median(ordered), np.max(ordered[1:] / ordered[:-1], initial=1.0)))


def _seed(random_state: Any) -> int:
    if random_state is None:
        return 0
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    if not hasattr(random_state, "randint"):
        raise EstimatorInputError(
            "parameter random_state", found=repr(random_state), expected="None, a whole number or a RandomState"
        )
    return int(random_state.randint(2**31 - 1))


def _mean_and_error(hit: Array, index: Array) -> tuple[float, float]:
    share = float(hit[index].mean())
    return share, float(np.sqrt(max(share * (1 - share), 1e-12) / index.size))


def _explained(hit: Array, index: Array) -> tuple[float, float]:
    loss, spread = hit[index, 0], hit[index, 1]
    total = max(float(spread.mean()), 1e-300)
    ratio = float(loss.mean()) / total
    return 1.0 - ratio, float(np.std(loss - ratio * spread) / total / np.sqrt(index.size))
