"""Does a predictor know when it is attacked: the attack that hides its error, and how detection is judged.

With members z_k, p = mean_k softmax z_k, m = max_{j != y} log p_j - log p_y and U an uncertainty (entropy of p, or what
the members disagree on) between 0 and U_max,

    v = m                       where m <= 0 (still right)
    v = U_max - U  (>= 0)       where m > 0 (wrong)

is climbed by one search: it first makes a row wrong, then makes it wrong and sure, and never gives an error up for
sureness, since every wrong point lies above every right one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from cutaway.robustness.attacks.goals import Goal, entropy, mean_log_probabilities, mutual_information
from cutaway.robustness.attacks.losses import margin_loss

MEASURES = ("entropy", "mutual-information")


def uncertainty(members: Tensor, measure: str = "entropy") -> Tensor:
    """Of members' scores (K, n, classes), in nats (n,): entropy of the mean probability, or mutual information.

    Exact up to rounding. Source: Houlsby et al. 2011 for the mutual information.
    """
    return entropy(mean_log_probabilities(members)) if measure == "entropy" else mutual_information(members)


@dataclass(frozen=True, kw_only=True, eq=False)
class ConfidentError(Goal):
    """Wrong, and as sure of it as can be; see the module's text. Won where the row is wrong.

    Source: Feng, Rudner, Tsilivis and Kempe 2024 (arXiv 2404.19640), whose two stages are one goal here.
    """

    measure: str = "entropy"

    name: ClassVar[str] = "confident-error"
    needs_labels: ClassVar[bool] = True

    @property
    def threshold(self) -> float:
        return 0.0

    def value(self, answers: Tensor, labels: Tensor | None) -> Tensor:
        """v (n,) of the file's first lines, of scores (K, n, classes). Exact up to rounding. Source: Feng, Rudner,
        Tsilivis and Kempe 2024 (arXiv 2404.19640).
        """
        assert labels is not None
        margin = margin_loss(mean_log_probabilities(answers), labels)
        most = math.log(answers.shape[2] if self.measure == "entropy" else max(2, len(answers)))
        sure = (most - uncertainty(answers, self.measure)).clamp_min(1e-12)
        return torch.where(margin > 0, sure, margin)


@dataclass(frozen=True, kw_only=True, eq=False)
class JointError(Goal):
    """Any class but the label for the mean of the probabilities, of several networks or of draws of one."""

    name: ClassVar[str] = "joint-error"
    needs_labels: ClassVar[bool] = True

    @property
    def threshold(self) -> float:
        return 0.0

    def value(self, answers: Tensor, labels: Tensor | None) -> Tensor:
        """The mean probability's margin (n,), of scores (K, n, classes). Exact up to rounding. Source: definition."""
        assert labels is not None
        return margin_loss(mean_log_probabilities(answers), labels)


def detection_auroc(attacked: NDArray[np.float64], clean: NDArray[np.float64]) -> float:
    """P(uncertainty of an attacked row > that of a clean one), ties by half: the area under the curve of detection.

    `attacked` (n,), `clean` (m,); NaN where one is empty. Exact for these rows. Source: Mann and Whitney 1947.
    """
    if not len(attacked) or not len(clean):
        return math.nan
    ranks = stats.rankdata(np.concatenate([attacked, clean]))[: len(attacked)].sum()
    return float((ranks - len(attacked) * (len(attacked) + 1) / 2) / (len(attacked) * len(clean)))


def selective_accuracy(correct: NDArray[np.bool_], doubt: NDArray[np.float64], coverage: float = 0.8) -> float:
    """Accuracy among the `coverage` share of rows (n,) with the least `doubt` (n,), rounded up; ties by their order.

    Exact for these rows. Source: Geifman and El-Yaniv 2017.
    """
    kept = np.argsort(doubt, kind="stable")[: math.ceil(coverage * len(doubt) - 1e-9)]
    return float(correct[kept].mean()) if len(kept) else math.nan
