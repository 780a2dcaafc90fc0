"""Calibration of a classifier's confidence: reliability with exact bands, and an error estimate without the usual bias.

Notation: sample i has confidence c_i = max_k p_k and correctness a_i in {0, 1}; bins of equal mass b hold n_b samples
with mean confidence c_b and accuracy a_b.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from cutaway.reading.intervals import proportion_interval
from cutaway.reading.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Per bin, in order of confidence: mean confidence, accuracy, its Clopper-Pearson band, and the number of
    samples."""

    confidence: np.ndarray
    accuracy: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: np.ndarray


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = 15, level: float = 0.95) -> Reliability:
    """The reliability diagram with bins of equal mass (ties in confidence are split by order).

    `confidence` and `correct` (n,). An estimate, with intervals of that `level`. Source: DeGroot and Fienberg 1983;
    bins of equal mass and exact bands are ours.
    """
    parts = _equal_mass(confidence, bins)
    bands = [proportion_interval(int(correct[p].sum()), len(p), level) for p in parts]
    return Reliability(
        confidence=np.array([confidence[p].mean() for p in parts]),
        accuracy=np.array([correct[p].mean() for p in parts]),
        low=np.array([low for low, _ in bands]),
        high=np.array([high for _, high in bands]),
        count=np.array([len(p) for p in parts]),
    )


def keep_reliability(table: Table, confidence: np.ndarray, correct: np.ndarray, bins: int) -> None:
    """Put the reliability diagram into `table`, as variables over `bin` that `reliability_chart` draws. Arguments as
    `reliability`."""
    found = reliability(confidence, correct, bins)
    table.keep("bin_confidence", found.confidence, ["bin"], long_name="mean confidence of the bin")
    table.keep("bin_accuracy", found.accuracy, ["bin"], long_name="accuracy of the bin")
    table.keep("bin_low", found.low, ["bin"], long_name="lower end of the bin's band", kind="lower_bound")
    table.keep("bin_high", found.high, ["bin"], long_name="upper end of the bin's band", kind="upper_bound")
    table.keep("bin_count", found.count, ["bin"], unit="samples", long_name="samples in the bin", kind="exact")


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """The plug-in ECE, sum_b (n_b / n) |c_b - a_b|; biased upwards (Kumar et al. 2019, arXiv 1909.10155).

    `confidence` and `correct` (n,). An estimate.
    """
    parts = _equal_mass(confidence, bins)
    n = len(confidence)
    return float(sum(len(p) / n * abs(confidence[p].mean() - correct[p].mean()) for p in parts))


def debiased_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """The ECE less its bias: each bin's |gap| is replaced by 2 |gap| - E|N(gap, a_b (1 - a_b) / n_b)|, at least 0 in
    sum.

    Kumar et al. (2019), section 5, estimate the expectation by simulation; the mean of a folded normal has a closed
    form, used here: E|N(m, s^2)| = s sqrt(2/pi) exp(-m^2 / 2 s^2) + m (1 - 2 Phi(-m/s)). An estimate, in [0, 1]; 0 is
    perfect.
    """
    n = len(confidence)
    total = 0.0
    for p in _equal_mass(confidence, bins):
        gap = abs(float(confidence[p].mean() - correct[p].mean()))
        accuracy = float(correct[p].mean())
        spread = np.sqrt(accuracy * (1 - accuracy) / len(p))
        expected = gap if spread == 0 else _folded_normal_mean(gap, spread)
        total += len(p) / n * (2 * gap - expected)
    return max(0.0, float(total))


def _folded_normal_mean(mean: float, spread: float) -> float:
    ratio = mean / spread
    return float(spread * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2) + mean * (1 - 2 * stats.norm.cdf(-ratio)))


def _equal_mass(confidence: np.ndarray, bins: int) -> list[np.ndarray]:
    order = np.argsort(confidence, kind="stable")
    return [part for part in np.array_split(order, min(bins, len(order))) if len(part)]
