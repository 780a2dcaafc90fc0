"""The one error of the LoFi estimators: Cutaway's message, and a `ValueError` for scikit-learn's contract."""

from __future__ import annotations

from cutaway.errors import InputError


class EstimatorInputError(InputError, ValueError):
    """Data or parameter that an estimator cannot use; scikit-learn's own checks expect a `ValueError`."""
