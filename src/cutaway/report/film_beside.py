"""What instruments add to the film of a training: a line beside a figure, and a picture of all their readings."""

from __future__ import annotations

import contextlib
from typing import Any

import altair as alt
import numpy as np

from cutaway import registry
from cutaway.errors import FileError
from cutaway.instrument import Instrument
from cutaway.pictures.charts import WARN, Course, inline_rows
from cutaway.reading import Reading
from cutaway.report.film_marks import ZERO, time_axis
from cutaway.training.store import Series, TrainingRun

MOST = 40  # readings opened for one picture


def instrument_of(run: TrainingRun, label: str) -> type[Instrument] | None:
    """The instrument that a run calls `label`; None where it is not known here."""
    kind = dict(run.record["instruments"]).get(label, label)
    return registry.instrument(kind) if kind in registry.names() else None


def lines_beside(run: TrainingRun, series: Series) -> dict[str, np.ndarray]:
    """By words, values (T,) that belong beside a series, from the scalars that held at its steps."""
    instrument = instrument_of(run, series.instrument)
    if instrument is None:
        return {}
    held = {name: _held(*scalar, series.steps) for name, scalar in run.scalars.items() if len(scalar[0])}
    found = instrument().beside(series.figure, held)
    return {words: values for words, values in found.items() if np.isfinite(values).any()}


def beside_layers(lines: dict[str, np.ndarray], steps: np.ndarray, last: int, y: Any) -> list[Any]:
    """Each of `lines` as a dashed line over `steps` (T,) with its words at its end."""
    layers: list[Any] = []
    for words, values in lines.items():
        base = alt.Chart(inline_rows(step=np.maximum(steps, ZERO), value=values)).encode(x=time_axis(last, "step:Q"))
        layers.append(base.mark_line(strokeDash=[5, 3], color=WARN, strokeWidth=1.5).encode(y=y))
        end = int(np.flatnonzero(np.isfinite(values))[-1])
        told = alt.Chart(inline_rows(step=[max(float(steps[end]), ZERO)], value=[values[end]], words=[words]))
        text = told.mark_text(align="right", baseline="bottom", dy=-3, fontSize=10, color=WARN)
        layers.append(text.encode(x="step:Q", y=y, text="words:N"))
    return layers


def courses(run: TrainingRun) -> list[tuple[str, Course]]:
    """The data set and the picture of every instrument that draws its readings together."""
    found = []
    for label, data in dict.fromkeys((t.instrument, t.data) for t in run.readings):
        instrument = instrument_of(run, label)
        if instrument is None or instrument.over_training is Instrument.over_training:
            continue
        taken = [t for t in run.readings if (t.instrument, t.data) == (label, data)]
        chosen = [taken[k] for k in np.unique(np.linspace(0, len(taken) - 1, MOST).round().astype(int))]
        readings: list[tuple[int, Reading]] = []
        for one in chosen:
            with contextlib.suppress(FileError):  # a reading that was moved or cut off
                readings.append((one.step, one.load()))
        course = instrument().over_training([s for s, _ in readings], [r for _, r in readings])
        if course is not None:
            found.append((data, course))
    return found


def _held(steps: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The last of `values` told at or before each of `at`; the first one before any was."""
    return values[np.clip(np.searchsorted(steps, at, side="right") - 1, 0, None)]
