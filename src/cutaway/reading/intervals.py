"""Intervals: exact ones for proportions, the percentile bootstrap over samples for everything else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special  # not scipy.stats, which every command would load: half a second

from cutaway import seeds


def proportion_interval(successes: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a proportion; covers at least `level` for every n. `(nan, nan)` for `total = 0`."""
    low, high = proportion_intervals(np.array([successes]), np.array([total]), level)[0]
    return float(low), float(high)


def proportion_intervals(successes: NDArray[Any], totals: NDArray[Any], level: float = 0.95) -> NDArray[np.float64]:
    """Clopper-Pearson intervals (k, 2) of `successes` of `totals` (k,), each for itself; NaN where a total is 0.

    Ends by the inverse incomplete beta function: quantile (1 - level) / 2 of Beta(s, n - s + 1), 0 for s = 0, and
    (1 + level) / 2 of Beta(s + 1, n - s), 1 for s = n. Exact.
    """
    hits, counts = np.asarray(successes, dtype=float), np.asarray(totals, dtype=float)
    tail, there = (1 - level) / 2, counts > 0
    low = special.betaincinv(np.where(hits > 0, hits, 1), counts - hits + 1, tail)
    high = special.betaincinv(hits + 1, np.where(hits < counts, counts - hits, 1), 1 - tail)
    ends = np.stack([np.where(hits > 0, low, 0.0), np.where(hits < counts, high, 1.0)], axis=1)
    return np.where(there[:, None], ends, np.nan)


def bootstrap_interval(
    statistic: Callable[[np.ndarray], float],
    rows: int,
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 400,
    about: float | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap over samples of `statistic(indices)`, where `indices` (shape `(rows,)`) picks samples with
    replacement.

    An estimate; its coverage falls short of `level` for very few rows or very skewed statistics. NaN resamples are
    left out. `resamples=0` skips the work and gives NaN, which is what null replicates ask for. `about`: for a positive
    statistic that repeated rows make smaller or larger by a factor (a variance within small groups), the value on the
    rows themselves; the interval is then scaled so that the median resample is `about`.
    """
    if rows < 2 or resamples == 0:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seeds.stream(seed, "bootstrap"))
    draws = np.array([statistic(rng.integers(0, rows, rows)) for _ in range(resamples)], dtype=float)
    draws = draws[np.isfinite(draws)]
    if draws.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    middle = float(np.median(draws))
    factor = about / middle if about is not None and about > 0 and middle > 0 else 1.0
    return float(low) * factor, float(high) * factor


def mean_interval(values: np.ndarray, *, seed: int, level: float = 0.95, resamples: int = 400) -> tuple[float, float]:
    """Percentile bootstrap of the mean of `values` (shape `(n,)`)."""
    values = np.asarray(values, dtype=float)
    return bootstrap_interval(
        lambda i: float(values[i].mean()), len(values), seed=seed, level=level, resamples=resamples
    )


def median_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Distribution-free interval of the median from order statistics (binomial); covers at least `level` where n >=
    6.

    `values` (n,).
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    n = len(ordered)
    if n == 0:
        return float("nan"), float("nan")
    k = math.ceil(special.bdtrik((1 - level) / 2, n, 0.5))
    while k > 0 and 2 * special.bdtr(k - 1, n, 0.5) > 1 - level:
        k -= 1
    return float(ordered[max(k - 1, 0)]), float(ordered[min(n - k, n - 1)])


def normal_interval(values: np.ndarray) -> tuple[float, float]:
    """Mean of `values` (n,) plus and minus 1.96 standard errors; NaN for fewer than two. An estimate, for large n."""
    values = np.asarray(values, dtype=float)
    half = 1.96 * float(values.std(ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return float(values.mean()) - half, float(values.mean()) + half


def student_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Mean of `values` (n,) plus and minus Student's quantile times the standard error, for few draws that are about
    normal (averages over many coordinates); NaN for fewer than two."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return float("nan"), float("nan")
    half = float(special.stdtrit(len(values) - 1, (1 + level) / 2)) * float(values.std(ddof=1)) / np.sqrt(len(values))
    return float(values.mean()) - half, float(values.mean()) + half
