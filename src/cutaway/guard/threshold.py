"""A threshold from a false-positive rate that the user names, with what it guarantees.

With n harmless calibration scores and rate a, the threshold is the k-th smallest, k = ceil((n + 1)(1 - a)); a prompt is
flagged when its score is strictly above it. If a new harmless prompt is exchangeable with the calibration rows, it is
flagged with probability at most a (split conformal; Vovk et al. 2005). The Clopper-Pearson interval of the share
flagged among *other* harmless rows is what evaluation adds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """`logit`: flagged when strictly above; `rate`: the rate asked for; `harmless`: calibration rows it rests on."""

    logit: float
    rate: float
    harmless: int

    @property
    def probability(self) -> float:
        """The same as a probability, 1 / (1 + exp(-logit))."""
        return 1 / (1 + math.exp(-self.logit)) if self.logit > -700 else 0.0


def calibrate(harmless_logits: np.ndarray, rate: float) -> Threshold:
    """The threshold for `rate` in (0, 1); InputError when there are too few rows for that rate (fewer than 1/rate - 1).

    >>> calibrate(np.arange(99.0), 0.05).logit
    94.0
    """
    scores = np.sort(np.asarray(harmless_logits, dtype=float))
    if not 0 < rate < 1:
        raise InputError("false-positive rate", found=str(rate), expected="above 0 and below 1")
    k = math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)
    if k > len(scores):
        raise InputError(
            "the calibration rows", found=f"{len(scores)} harmless rows",
            expected=f"at least {math.ceil(1 / rate - 1 - 1e-9)} for a false-positive rate of {rate:g}",
            remedy="give more harmless rows, or name a larger rate",
        )  # fmt: skip
    return Threshold(logit=float(scores[k - 1]), rate=rate, harmless=len(scores))
