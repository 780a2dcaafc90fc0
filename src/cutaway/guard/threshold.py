"""A threshold from a false-positive rate that the user names, with what it guarantees.

With n harmless calibration scores and rate a, the threshold is the k-th smallest, k = ceil((n + 1)(1 - a)); a prompt is
flagged when its score is strictly above it. If a new harmless prompt is exchangeable with the calibration rows, it is
flagged with probability at most a (split conformal; Vovk et al. 2005). That holds on average over calibration sets: for
the set at hand the rate is Beta(n + 1 - k, k) distributed when scores have no ties (Vovk 2012), which is wide for few
rows. The Clopper-Pearson interval of the share flagged among *other* harmless rows is what evaluation adds.
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

    @property
    def highest_rate(self) -> float:
        """The rate that this very threshold keeps with probability .95 over calibration sets of its size."""
        return _highest(self.harmless, self.rate)

    def warning(self) -> str | None:
        """A sentence when that is over twice the rate asked for, with the rows that would do; else None."""
        if self.highest_rate <= 2 * self.rate:
            return None
        enough = self.harmless + 1
        while _highest(enough, self.rate) > 2 * self.rate:
            enough += max(1, enough // 50)
        return (
            f"the threshold rests on {self.harmless} harmless calibration rows: with so few the false-positive rate "
            f"may be {self.highest_rate:.3f} where {self.rate:g} was asked for; {enough} rows would keep it below "
            f"{2 * self.rate:g} (both with probability .95)"
        )


def _highest(rows: int, rate: float) -> float:
    from scipy.stats import beta

    k = math.ceil((rows + 1) * (1 - rate) - 1e-9)
    return float(beta.ppf(0.95, rows + 1 - k, k))


def calibrate(harmless_logits: np.ndarray, rate: float) -> Threshold:
    """The threshold for `rate` in (0, 1); InputError when there are too few rows for that rate (fewer than 1/rate - 1).

    >>> calibrate(np.arange(99.0), 0.05).logit
    94.0
    """
    scores = np.sort(np.asarray(harmless_logits, dtype=float))
    if not 0 < rate < 1:
        raise InputError(
            "false-positive rate", found=str(rate), expected="above 0 and below 1", remedy="give a rate such as 0.01"
        )
    k = math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)
    if k > len(scores):
        raise InputError(
            "the calibration rows",
            found=f"{len(scores)} harmless rows",
            expected=f"at least {math.ceil(1 / rate - 1 - 1e-9)} for a false-positive rate of {rate:g}",
            remedy="give more harmless rows, or name a larger rate",
        )
    return Threshold(logit=float(scores[k - 1]), rate=rate, harmless=len(scores))
