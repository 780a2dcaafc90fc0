"""Stopping rules: one from geometry alone, which needs no labels, the usual one from validation, to compare, and
one for any loss.

The geometric rule watches a measure of the partition (local complexity on unlabelled points, say) at log-spaced steps
and stops when it has settled: over the last factor `window` of steps it moved by less than `flat` of the range that
it has covered so far. It is ours; the paper (arXiv 2402.15555) suggests that geometry tells when training is done and
gives no rule.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cutaway.errors import InputError
from cutaway.evidence.trend import trend_stop


@dataclass(frozen=True, slots=True, kw_only=True)
class GeometryStop:
    """Stop when the measure has settled.

    `window`: factor of steps looked back over (10: one decade, long enough to see past the turn between two phases).
    `flat`: share of the range that counts as no change. `after`: never before this step. At least three measurements
    must lie in the window.
    Raises `InputError` for a window that is not above 1 and a `flat` outside (0, 1).
    """

    window: float = 10.0
    flat: float = 0.1
    after: int = 50

    def __post_init__(self) -> None:
        if not self.window > 1:
            raise InputError(
                "GeometryStop window",
                found=str(self.window),
                expected="a factor above 1",
                remedy="give a factor such as 1.5",
            )
        if not 0 < self.flat < 1:
            raise InputError(
                "GeometryStop flat",
                found=str(self.flat),
                expected="a share between 0 and 1",
                remedy="give a share such as 0.05",
            )

    def stops(self, steps: np.ndarray, values: np.ndarray) -> bool:
        """Whether to stop now, given all measurements so far. `steps` and `values` (T,)."""
        steps, values = np.asarray(steps, dtype=float), np.asarray(values, dtype=float)
        recent = steps >= steps[-1] / self.window
        if steps[-1] < self.after or recent.sum() < 3 or recent.all():
            return False
        return bool(np.ptp(values[recent]) <= self.flat * np.ptp(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationStop:
    """The usual rule: stop when the validation score has not risen above its best for a factor `patience` of steps."""

    patience: float = 4.0
    least: float = 0.0
    after: int = 50

    def stops(self, steps: np.ndarray, values: np.ndarray) -> bool:
        """Whether to stop now, given all measurements so far: `steps` and `values` (T,)."""
        steps, values = np.asarray(steps, dtype=float), np.asarray(values, dtype=float)
        best = 0
        for k in range(1, len(values)):
            if values[k] > values[best] + self.least:
                best = k
        return bool(steps[-1] >= self.after and steps[-1] >= self.patience * max(steps[best], 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendStop:
    """Stop when a loss has come to rest, by `cutaway.evidence.trend_stop` with these settings. Measurements count
    as evenly spaced."""

    share: float = 0.15
    least: int = 30
    sure: float = 3.5

    def stops(self, steps: np.ndarray, values: np.ndarray) -> bool:
        """Whether to stop now, given all measurements so far: `steps` and `values` (T,)."""
        return trend_stop(values, share=self.share, least=self.least, sure=self.sure) == "resting"


Rule = GeometryStop | ValidationStop | TrendStop


@dataclass(slots=True, kw_only=True)
class Watch:
    """A rule in a loop: `watch.update(step, value)` is true when it is time to stop."""

    rule: Rule
    steps: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def update(self, step: int, value: float) -> bool:
        self.steps.append(float(step))
        self.values.append(float(value))
        return self.rule.stops(np.array(self.steps), np.array(self.values))


def stop_step(rule: Rule, steps: np.ndarray, values: np.ndarray) -> int:
    """At which of `steps` the rule would have stopped (the last one if never). `steps` and `values` (T,)."""
    for k in range(1, len(steps) + 1):
        if rule.stops(np.asarray(steps[:k]), np.asarray(values[:k])):
            return int(steps[k - 1])
    return int(steps[-1])


def regret(steps: np.ndarray, score: np.ndarray, stopped: int) -> float:
    """What stopping at `stopped` gave away: the best score of the whole run minus the score there.

    `steps` and `score` (T,).
    """
    at = int(np.searchsorted(steps, stopped))
    return float(np.max(score) - score[min(at, len(score) - 1)])
