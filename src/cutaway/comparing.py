"""Two runs side by side: which figures differ by more than their own uncertainty."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import stats

from cutaway.reading import Figure, Reading
from cutaway.running import Run


def differences(a: Run, b: Run) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows `{instrument, name, a, b, p_value, paired}` and notes on what does not compare.

    Where both readings hold the quantity per sample for the same samples, p is that of a paired permutation test
    (sign flips, scipy.stats); otherwise of a z-test on the two intervals, taken as normal and independent, which is
    conservative for equal samples. None where a figure carries no interval.
    """
    notes = []
    if a.record["data"]["fingerprint"] != b.record["data"]["fingerprint"]:
        notes.append("the runs used different data: differences mix model and data")
    ours, theirs = ({r.instrument: r for r in run.readings} for run in (a, b))
    for name in sorted(set(ours) ^ set(theirs)):
        notes.append(f"only one run has {name}")
    rows = []
    for name in [n for n in ours if n in theirs]:
        mine, other = ours[name], theirs[name]
        if mine.provenance.parameters != other.provenance.parameters:
            notes.append(f"{name}: settings differ")
        by_name = {f.name: f for f in other.figures}
        for figure in mine.figures:
            if figure.name in by_name:
                p, paired = _chance(mine, other, figure, by_name[figure.name])
                rows.append(
                    {
                        "instrument": name,
                        "name": figure.name,
                        "a": figure.value,
                        "b": by_name[figure.name].value,
                        "p_value": p,
                        "paired": paired,
                    }
                )
    return rows, notes


_PER_SAMPLE = {
    "local_complexity": "per_sample",
    "clean_accuracy": "clean",
    "robust_accuracy": "robust",
    "noise_accuracy": "noised",
}


def _chance(mine: Reading, other: Reading, a: Figure, b: Figure) -> tuple[float | None, bool]:
    column = _PER_SAMPLE.get(a.name)
    same = mine.provenance.data_fingerprint == other.provenance.data_fingerprint
    if (
        column in mine.values
        and column in other.values
        and same
        and mine.values["sample"].equals(other.values["sample"])
    ):
        gap = mine.values[column].values.astype(float) - other.values[column].values.astype(float)
        if not gap.any():
            return 1.0, True
        result = stats.permutation_test(
            (gap,), np.mean, permutation_type="samples", n_resamples=4999, vectorized=True, rng=np.random.default_rng(0)
        )
        return float(result.pvalue), True
    if None in (a.low, a.high, b.low, b.high):
        return None, False
    spread = math.hypot(_deviation(a), _deviation(b))
    if spread == 0 or not math.isfinite(spread):
        return (1.0 if a.value == b.value else None), False
    return float(2 * stats.norm.sf(abs(a.value - b.value) / spread)), False


def _deviation(figure: Figure) -> float:
    assert figure.low is not None and figure.high is not None
    return float((figure.high - figure.low) / (2 * stats.norm.ppf((1 + figure.level) / 2)))
