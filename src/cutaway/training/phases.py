"""Phases of a training run: descent, ascent and second descent of a measure over log time, and onsets of behaviours.

The shape. Over steps t_1 < ... < t_T a curve y is fitted by the least-squares curve that falls up to a first turn,
rises up to a second, and falls again; each piece is an isotonic regression (Robertson, Wright, Dykstra 1988), the
two turns are found by trying all pairs. A phase counts as present when its change is larger than `smallest` of the
curve's range and than what the same fit finds in pure noise of the curve's own step-to-step size (99 % quantile).
Without an ascent there is one descent. Intervals are bootstrap percentiles over the samples. The paper (arXiv
2402.15555) tells the phases by eye; this is our definition.

The onset of a behaviour is the first step from which on its measure stays at or above a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One phase: `start` and `end` in steps, each with the interval that its bootstrap gives; `change` of the measure
    over it relative to the curve's range (negative: fall) with its interval; `present` whether it is there at all."""

    name: str
    start: float
    end: float
    end_low: float
    end_high: float
    change: float
    change_low: float
    change_high: float
    present: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phases:
    """Descent, ascent, second descent; `steps`, `mean`, `low`, `high` `(T,)` the curve with its band, `fit` the fitted
    one."""

    phases: tuple[Phase, ...]
    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    fit: np.ndarray

    def phase(self, name: str) -> Phase:
        return next(p for p in self.phases if p.name == name)

    def told(self) -> str:
        """The phases in words."""
        present = [p for p in self.phases if p.present]
        if not present:
            return "no phase: the measure does not change by more than its noise"
        return "; ".join(f"{p.name} from step {p.start:,.0f} to {p.end:,.0f}" for p in present)


@dataclass(frozen=True, slots=True, kw_only=True)
class Onset:
    """First step from which a measure stays at or above `level`, with an interval; infinite when it never does (the
    run is then too short to tell: censored at its last step)."""

    step: float
    low: float
    high: float
    level: float
    last_step: int

    @property
    def seen(self) -> bool:
        return np.isfinite(self.step)


def detect_phases(
    steps: Sequence[int] | np.ndarray,
    samples: np.ndarray,
    *,
    resamples: int = 200,
    smallest: float = 0.05,
    seed: int = 0,
) -> Phases:
    """Descent, ascent and second descent of the mean of `samples` over `steps`.

    `steps` `(T,)` increasing, T >= 4. `samples` `(T, n)`: the measure at every step on the same n points, resampled
    over points (paired over steps); or `(T,)` for a curve without samples, which gets no intervals. `smallest`: what
    change, relative to the curve's range, is worth being called a phase. Estimate. Cost O(T^2) a resample: under a
    second for 50 steps and 200 resamples. Raises `InputError` for fewer than four steps, NaN, or steps that do not
    increase.
    """
    steps, samples = np.asarray(steps, dtype=float), np.asarray(samples, dtype=float)
    table = samples[:, None] if samples.ndim == 1 else samples
    _check(steps, table)
    mean = table.mean(axis=1)
    fit, *turns = down_up_down(mean)
    changes = _changes(fit, *turns)
    rng = np.random.default_rng(seed)
    n = table.shape[1]
    drawn_turns, drawn_changes, curves = [tuple(turns)], [changes], [mean]
    for _ in range(resamples if n > 1 else 0):
        curve = table[:, rng.integers(0, n, n)].mean(axis=1)
        again, *found = down_up_down(curve)
        drawn_turns.append(tuple(found))
        drawn_changes.append(_changes(again, *found))
        curves.append(curve)
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    span = float(fit.max() - fit.min()) or 1.0
    least = np.maximum(smallest * span, step_noise(mean) * noise_changes(len(steps))[:3])
    bounds = np.quantile(drawn_changes, [0.025, 0.975], axis=0)
    present = [abs(change) > enough for change, enough in zip(changes, least, strict=True)]
    if not present[1]:  # nothing rises: one descent, or nothing at all
        fit = -_isotonic(-mean)
        bounds[:, 0] = np.quantile([_fall(curve) for curve in curves], [0.025, 0.975])
        bounds[:, 1:], changes, turns = 0.0, (fit[-1] - fit[0], 0.0, 0.0), [-1, -1]
        least[0] = max(smallest * span, step_noise(mean) * noise_changes(len(steps))[3])
        drawn_turns, present = [(-1, -1)], [abs(changes[0]) > least[0], False, False]
    ends = np.array([[steps[i], steps[j], steps[-1]] for i, j in drawn_turns])
    starts = (steps[0], steps[turns[0]], steps[turns[1]])
    phases = [
        Phase(
            name=name,
            start=float(starts[k]),
            end=float((steps[turns[0]], steps[turns[1]], steps[-1])[k]),
            end_low=float(np.quantile(ends[:, k], 0.025)),
            end_high=float(np.quantile(ends[:, k], 0.975)),
            change=float(changes[k]) / span,
            change_low=float(bounds[0, k]) / span,
            change_high=float(bounds[1, k]) / span,
            present=bool(present[k]),
        )
        for k, name in enumerate(("descent", "ascent", "second descent"))
    ]
    return Phases(phases=tuple(phases), steps=steps, mean=mean, low=low, high=high, fit=fit)


def onset(
    steps: Sequence[int] | np.ndarray,
    value: np.ndarray,
    *,
    level: float,
    low: np.ndarray | None = None,
    high: np.ndarray | None = None,
) -> Onset:
    """First step from which `value` stays at or above `level`, for two measurements at least; its interval is where the
    measure's upper and lower bounds `high` and `low` `(T,)` do so."""
    steps = np.asarray(steps, dtype=float)

    def first(curve: np.ndarray) -> float:
        below = np.flatnonzero(~(np.asarray(curve) >= level))
        if len(below) == 0:
            return float(steps[0])
        return float(steps[below[-1] + 1]) if below[-1] + 2 < len(steps) else float("inf")

    step = first(value)
    return Onset(
        step=step,
        low=min(step, first(high)) if high is not None else step,
        high=max(step, first(low)) if low is not None else step,
        level=level,
        last_step=int(steps[-1]),
    )


def plateau(steps: Sequence[int] | np.ndarray, value: np.ndarray, *, margin: float = 0.01, **bounds) -> Onset:
    """When a measure has settled: the first step from which it stays within `margin` of the median of its last third
    (over log time). For clean accuracy, margin 0.01 is one point.

    `steps` and `value` (T,).
    """
    value, steps = np.asarray(value, dtype=float), np.asarray(steps, dtype=float)
    late = steps >= max(steps[-1], 1.0) ** (2 / 3)
    return onset(steps, value, level=float(np.median(value[late])) - margin, **bounds)


def half_rise(steps: Sequence[int] | np.ndarray, value: np.ndarray, *, after: float, **bounds) -> Onset:
    """When a measure that rises after step `after` has done half of that rise: halfway from its value there to the
    highest it reaches later. For behaviours that come after another one has settled.

    `steps` and `value` (T,).
    """
    value, steps = np.asarray(value, dtype=float), np.asarray(steps, dtype=float)
    at = int(np.searchsorted(steps, after))
    if at >= len(steps) - 1:
        return Onset(step=np.inf, low=np.inf, high=np.inf, level=np.nan, last_step=int(steps[-1]))
    level = 0.5 * (value[at] + value[at:].max())
    return onset(steps, value, level=float(level), **bounds)


def down_up_down(curve: np.ndarray) -> tuple[np.ndarray, int, int]:
    """The least-squares fit of `curve` `(T,)` that falls to index i, rises to index j and falls again, with (i, j).

    Exact for pieces that share no point (the turn belongs to the piece before it); all pairs i <= j are tried.
    """
    size = len(curve)
    falls_to = _prefix_errors(-curve)
    falls_from = _prefix_errors(curve[::-1])[::-1]
    best, turns = np.inf, (size - 1, size - 1)
    for i in range(size):
        rises_to = _prefix_errors(curve[i + 1 :])
        for j in range(i, size):
            rise = rises_to[j - i - 1] if j > i else 0.0
            fall = falls_from[j + 1] if j + 1 < size else 0.0
            error = falls_to[i] + rise + fall
            if error < best - 1e-12 * (1.0 + abs(best) if np.isfinite(best) else 1.0):
                best, turns = error, (i, j)
    i, j = turns
    fit = np.concatenate([-_isotonic(-curve[: i + 1]), _isotonic(curve[i + 1 : j + 1]), -_isotonic(-curve[j + 1 :])])
    # the turns proper: the lowest point of the fit before the rise, the highest after it
    low = int(np.argmin(fit[: j + 1])) if j > i else i
    top = low + int(np.argmax(fit[low:])) if j > i else i
    return fit, low if j > i else i, top


def step_noise(curve: np.ndarray) -> float:
    """Standard deviation of what changes from step to step without a trend, from second differences (robust)."""
    bends = np.abs(np.diff(curve, 2))
    return float(np.median(bends) / (0.6745 * np.sqrt(6.0)))


@cache
def noise_changes(size: int, draws: int = 400) -> np.ndarray:
    """What the fits find in `size` values of pure noise: 99 % quantiles of each phase's absolute change in units of the
    curve's `step_noise`, `(4,)`; the last is that of a single descent."""
    rng = np.random.default_rng(size)
    noise = rng.standard_normal((draws, size))
    found = [np.array([*_changes(*down_up_down(curve)), _fall(curve)]) / step_noise(curve) for curve in noise]
    return np.quantile(np.abs(found), 0.99, axis=0)


def _fall(curve: np.ndarray) -> float:
    fit = -_isotonic(-curve)
    return float(fit[-1] - fit[0])


def _changes(fit: np.ndarray, first: int, second: int) -> tuple[float, float, float]:
    return (float(fit[first] - fit[0]), float(fit[second] - fit[first]), float(fit[-1] - fit[second]))


def _prefix_errors(values: np.ndarray) -> np.ndarray:
    """Squared errors of the increasing isotonic regressions of all prefixes (pool adjacent violators)."""
    errors = np.empty(len(values))
    blocks: list[tuple[float, int, float]] = []  # mean, size, squared error
    for k, value in enumerate(values):
        mean, size, error = float(value), 1, 0.0
        while blocks and blocks[-1][0] > mean:
            before, count, old = blocks.pop()
            error += old + (before - mean) ** 2 * size * count / (size + count)
            mean, size = (before * count + mean * size) / (size + count), size + count
        blocks.append((mean, size, error))
        errors[k] = errors[k - 1] if k and len(blocks) > 1 and size == 1 else sum(b[2] for b in blocks)
    return errors


def _isotonic(values: np.ndarray) -> np.ndarray:
    from scipy.optimize import isotonic_regression

    return isotonic_regression(values).x if len(values) else values


def _check(steps: np.ndarray, table: np.ndarray) -> None:
    if len(steps) != len(table):
        raise InputError(
            "phases",
            found=f"{len(table)} curves for {len(steps)} steps",
            expected="one a step",
            remedy="give curves and steps of the same length",
        )
    if len(steps) < 4:
        raise InputError("phases", found=f"{len(steps)} steps", expected="at least 4", remedy="measure more often")
    if not np.isfinite(table).all():
        raise InputError(
            "phases",
            found="NaN or infinite values",
            expected="finite ones",
            remedy="leave out the steps without a value",
        )
    if not (np.diff(steps) > 0).all():
        raise InputError(
            "phases",
            found="steps that do not increase",
            expected="increasing steps",
            remedy="sort the steps and give each once",
        )
