"""How well two classes of prompts are told apart by a table of features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway.arrays import Floats


def cross_validated_scores(features: Floats, labels: NDArray[np.int64], *, seed: int) -> Floats:
    """Held-out scores (n,) of a balanced logistic regression on standardised `features` (n, p), five folds.

    An estimate. Raises scikit-learn's `ValueError` where a class has fewer than five samples.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=400, class_weight="balanced"))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed % 2**31)
    return np.asarray(cross_val_predict(model, features, labels, cv=folds, method="decision_function"))


def area_under_curve(labels: NDArray[np.int64], scores: Floats, rows: NDArray[Any]) -> float:
    """AUROC of `scores` (n,) for two-class `labels` (n,) on the samples `rows`; NaN where they are of one class."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels[rows], scores[rows])) if len(set(labels[rows])) == 2 else float("nan")
