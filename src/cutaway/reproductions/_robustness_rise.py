"""What one run of the delayed-robustness study shows: the turns of the count and the rise of robust accuracy.

The definitions stand in `delayed_robustness`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

RADIUS, LC_RADIUS = 2, 0  # positions of the attack radius 0.1 and of the local-complexity radius 0.05 in a plan


Run = dict[str, np.ndarray]


def cut(run: Run, last: int) -> Run:
    """The part of a run up to step `last`."""
    keep = run["steps"] <= last
    return {name: value[keep] if len(value) == len(keep) else value for name, value in run.items()}


def turns(run: Run) -> tuple[int, int]:
    """Positions of the count's low and of the peak after it, near training points."""
    from cutaway.training.phases import down_up_down

    _, low, top = down_up_down(run["crossed_train"][:, LC_RADIUS].mean(axis=1))
    return low, top


def standing(run: Run) -> np.ndarray:
    """`(marks, radii, n)` bool: right and broken by none of the attacks."""
    return np.asarray(run["judged"].all(axis=1))


def rise(run: Run, radius: int = RADIUS) -> dict[str, float]:
    """What robust accuracy (at one of the plan's radii) and clean accuracy do after the clean plateau, for one run."""
    from cutaway.training.phases import onset

    steps, clean = run["steps"].astype(float), run["clean_test"].mean(axis=1)
    robust = run["pgd_test"][:, radius].mean(axis=1)
    at = int(np.argmax(clean >= clean.max() - 0.01))
    top = min(max(turns(run)[1], at + 2), len(steps) - 1)
    level = float(np.median(robust[at : top + 1]))
    late = float(np.median(robust[steps >= steps[-1] / 10**0.5]))
    half = onset(steps[top:], robust[top:], level=(level + late) / 2).step if late > level else np.inf
    fitted = onset(steps, run["clean_train"].mean(axis=1), level=0.99).step
    known = int(min(np.searchsorted(steps, fitted), len(steps) - 1))
    return {
        "plateau": float(steps[at]),
        "plateau_level": level,
        "late": late,
        "rise": late - level,
        "end_rise": float(robust[-1]) - level,
        "half": half,
        "delay": half / max(float(steps[at]), 1.0),
        "peak": float(steps[turns(run)[1]]),
        "early": float(robust[: at + 1].max()),
        "clean_change": float(clean[-1] - clean.max()),
        "late_gain": float(clean[-1] - clean[known]),
        "noise": float(run["noise_test"][-1, radius].mean()),
    }


def left_of_peak(run: Run) -> float:
    counts = run["crossed_train"][:, LC_RADIUS].mean(axis=1)
    return float(counts[-1] / counts[turns(run)[1]])


def over_seeds(values: list[float]) -> tuple[float, float | None, float | None]:
    """Mean and its 95 % t interval over seeds, cut to [-1, 1], where all these figures live (none for one seed)."""
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None, None
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, max(mean - half, -1.0), min(mean + half, 1.0)


def rank_agreement(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """Spearman's rank correlation."""
    from scipy.stats import spearmanr

    found: Any = spearmanr(a, b)
    return float(found.statistic)
