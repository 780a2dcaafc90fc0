"""What the three LoFi estimators share: parameters, settings, scaling of inputs, weights of rows, what a fit stores."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from cutaway._compat import own_device
from cutaway.arrays import Array
from cutaway.features.lofi.activations import activation_named
from cutaway.features.lofi.errors import EstimatorInputError
from cutaway.features.lofi.fitting import FitResult, FitSettings
from cutaway.features.lofi.parameters import check_stack
from cutaway.features.lofi.readout import FLOOR
from cutaway.features.lofi.scaling import learn_scaling


class LoFiBase(BaseEstimator):
    """Parameters and what the three estimators share.

    Parameters
    ----------
    mode : "auto", "kernel", "finite", "nystroem" or "conv". `auto` takes the exact kernel while it fits `budget`.
    n_layers : lifts, the last of which feeds the readout; the largest depth tried with `early_stopping`.
    n_directions : K kept a layer; "auto" or a tuple lets the held-out fold choose.
    activation : see `cutaway.features.lofi.activations.ACTIVATIONS`.
    width : P of a finite lift, or the number of Nystroem landmarks.
    alpha : ridge; "auto" lets the held-out fold choose among 1e-5 .. 1e3.
    center_labels, first_moment : "auto" (on where labels are imbalanced), True or False.
    label_directions : "all", or how many label-side directions weight the operator.
    class_weight : None, "balanced" or a dictionary of labels, on top of `sample_weight`; not for real targets.
    standardize : True, False or "auto" (see `scaling`): columns are standardised where the largest spread is 100 times
        the median one or spreads fall apart into groups 100 apart, centred where the mean row is five times the spread;
        with both, rows 100 median distances out are drawn back. `notes_` says so, and where spreads differ by 10 to
        100 that they were left.
    validation_fraction : rows held out for selection; 0 selects nothing.
    refit : fit on all rows once selected; False keeps the model that was validated.
    backward_passes, backward_rank : BackLoFi passes at most (finite mode, one label column, held-out fold) and r / K.
    image_shape, channels, kernel_size, pool : the convolutional variant.
    budget, device, random_state : bytes, torch device of the finite modes, seed.
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
        class_weight: Any = None,
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
        budget: int = 4_000_000_000,
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
        self.class_weight = class_weight
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
        self.budget = budget
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
            budget=self.budget,
            device=self.device,
            dtype=self.dtype,
            seed=seed_of(self.random_state),
        )

    def _learn_scaling(self, inputs: Array) -> None:
        self._scaling = learn_scaling(inputs, self.standardize)
        self.notes_: list[str] = list(self._scaling.notes)

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

    @own_device()
    def _predicted(self, inputs: Any) -> Array:
        check_is_fitted(self, "model_")
        points: Any = validate_data(self, inputs, dtype=[np.float64, np.float32], reset=False)
        return self.model_.predict(self._scaling(points))


def seed_of(random_state: Any) -> int:
    """A whole number >= 0 from what scikit-learn users give; raises `EstimatorInputError`."""
    if random_state is None:
        return 0
    if isinstance(random_state, (int, np.integer)):
        if random_state < 0:
            raise EstimatorInputError(
                "parameter random_state",
                found=str(random_state),
                expected="at least 0",
                remedy="give a number of at least 0",
            )
        return int(random_state)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    if not hasattr(random_state, "randint"):
        raise EstimatorInputError(
            "parameter random_state",
            found=repr(random_state),
            expected="None, a whole number, a RandomState or a Generator",
            remedy="give one of these",
        )
    return int(random_state.randint(2**31 - 1))
