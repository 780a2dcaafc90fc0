"""What a tracked run tells: phases of its geometry, when it had memorised, when it was clean, when robust.

Definitions. Memorised: training accuracy stays at or above 0.99. Clean: accuracy on held-out data stays within one
point, or half its own interval where that is wider, of its late level. Robust: robust accuracy has done half of the
rise that follows the clean plateau, if that rise exceeds both its own interval and 2 points; delayed when this comes
at least `DELAY` times later than clean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from cutaway.errors import CutawayError, FileError
from cutaway.training.phases import Onset, Phases, detect_phases, half_rise, onset, plateau
from cutaway.training.store import Series, TrainingRun
from cutaway.wording import said

DELAY = 3.0
SMALLEST_RISE = 0.02
PHASED = {("local-complexity", "local_complexity"): "per_sample"}  # figure to the variable that holds it by sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at a step: `name`, the series it was read from, the onset, and a sentence."""

    name: str
    series: str
    onset: Onset
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Story:
    """Phases by series, and events in the order in which they are told."""

    phases: dict[str, Phases] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    notes: tuple[str, ...] = ()


def tell(run: TrainingRun, *, seed: int = 0) -> Story:
    """The story of a run as far as its readings allow; what could not be told stands in `notes`."""
    phases, notes = {}, _unread(run)
    kinds = dict(run.record["instruments"])
    for series in run.series.values():
        variable = PHASED.get((kinds.get(series.instrument, series.instrument), series.figure))
        if variable is None:
            continue
        lost: list[FileError] = []
        steps, table = run.per_sample(series.data, series.instrument, variable, lost.append)
        if lost:
            notes.append(f"phases of {series.called} are told without {len(lost)} of its readings: {lost[0]}")
        try:
            phases[series.name] = detect_phases(steps, table, seed=seed)
        except CutawayError as error:
            notes.append(f"no phases of {series.called}: {error}")
    return Story(phases=phases, events=tuple(_events(run, kinds)), notes=tuple(notes))


def _unread(run: TrainingRun) -> list[str]:
    """The readings whose files are missing or cut off: their figures stand in the journal, the rest of them is gone."""
    found = [(taken, trouble) for taken in run.readings if (trouble := taken.trouble)]
    lines = [f"{each.instrument} on {each.data} at step {each.step:,}: {trouble}" for each, trouble in found[:5]]
    return [*lines, *([f"and {len(found) - 5} more readings like these"] if len(found) > 5 else [])]


def _events(run: TrainingRun, kinds: dict[str, str]) -> list[Event]:
    events = []
    known = [_known(series) for series in run.series.values()]
    accuracy = [s for s in known if s.figure in ("accuracy", "clean_accuracy") and len(s.steps) > 3]
    train = next((s for s in accuracy if s.data == "train"), None)
    held_out = next((s for s in accuracy if s.data != "train"), None)
    memorised = clean = None
    if train is not None:
        memorised = onset(train.steps, train.value, level=0.99, low=train.low, high=train.high)
        events.append(_event("memorised", train, memorised, "training accuracy stays above 99 %"))
    if held_out is not None:
        margin = max(0.01, _noise(held_out))
        clean = plateau(held_out.steps, held_out.value, margin=margin)
        events.append(_event("clean accuracy settled", held_out, clean, f"within {margin:.3f} of its late level"))
        if memorised is not None and memorised.seen and clean.seen:
            late = clean.step >= DELAY * max(memorised.step, 1.0)
            gain = held_out.value[-1] - np.interp(memorised.step, held_out.steps, held_out.value)
            told = late and gain > SMALLEST_RISE
            words = "delayed" if told else "not delayed"
            text = f"{said(gain, '+.3f')} on held-out data after memorisation: generalisation was {words}"
            events.append(Event(name="generalisation", series=held_out.name, onset=clean, text=text))
    if clean is not None and clean.seen:
        for series in known:
            if series.figure == "robust_accuracy" and series.data != "train" and len(series.steps) > 3:
                events.append(_robust(series, clean))
    return events


def _known(series: Series) -> Series:
    """The series where its value is a number."""
    keep = np.isfinite(series.value)
    columns = {name: getattr(series, name)[keep] for name in ("steps", "value", "low", "high")}
    return series if keep.all() else replace(series, **columns)


def when(found: Onset) -> str:
    """` at step 10 (8 to 20)`, `(8 or later)`; empty for what was not seen."""
    if not found.seen:
        return ""
    low = found.low if math.isfinite(found.low) else found.step
    late = f"to {found.high:,.0f}" if math.isfinite(found.high) else "or later"
    return f" at step {found.step:,.0f} ({low:,.0f} {late})"


def _recovery(series: Series, clean: Onset) -> str:
    """In words, a fall after the clean plateau that is made good in part later; empty where there is none."""
    later = series.steps >= clean.step
    steps, value = series.steps[later], series.value[later]
    if not len(value):
        return ""
    bottom = int(np.argmin(value))
    top = bottom + int(np.argmax(value[bottom:]))
    if value[top] - value[bottom] <= max(SMALLEST_RISE, 2 * _noise(series)):
        return ""
    return (
        f"; it falls to {said(value[bottom], '.3f')} at step {steps[bottom]:,} "
        f"and comes back to {said(value[top], '.3f')} by step {steps[top]:,}"
    )


def _noise(series: Series) -> float:
    """Half the width of the series' 95 % intervals, 0 where it has none."""
    known = np.isfinite(series.low) & np.isfinite(series.high)
    return float(np.median(series.high[known] - series.low[known])) / 2 if known.any() else 0.0


def _robust(series: Series, clean: Onset) -> Event:
    at = float(np.interp(clean.step, series.steps, series.value))
    later = series.steps >= clean.step
    best = int(np.argmax(np.where(later, series.value, -np.inf)))
    rise = float(series.value[best]) - at
    wide = series.low[best] if math.isfinite(series.low[best]) else series.value[best]
    if rise < SMALLEST_RISE or wide <= at:
        none = Onset(step=math.inf, low=math.inf, high=math.inf, level=math.nan, last_step=int(series.steps[-1]))
        much = f"rises by no more than {said(rise, '.3f')}" if rise > 0 else "does not rise"
        text = f"robust accuracy {much} after the clean plateau: no delayed robustness"
        text += _recovery(series, clean)
        return Event(name="robustness", series=series.name, onset=none, text=text)
    found = half_rise(series.steps, series.value, after=clean.step, low=series.low, high=series.high)
    factor = found.step / max(clean.step, 1.0)
    if not found.seen:
        text = f"{said(rise, '+.3f')} after the clean plateau, but half of it does not stay within "
        text += f"{found.last_step:,} steps"
        return Event(name="robustness", series=series.name, onset=found, text=text)
    words = "delayed" if factor >= DELAY else "not delayed"
    text = f"{said(rise, '+.3f')} after the clean plateau, half of it by {factor:.1f} times its step: "
    text += f"robustness was {words}"
    return Event(name="robustness", series=series.name, onset=found, text=text)


def _event(name: str, series: Series, found: Onset, text: str) -> Event:
    said = text if found.seen else f"not within {found.last_step:,} steps"
    return Event(name=name, series=series.name, onset=found, text=said)
