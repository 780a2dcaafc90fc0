"""The training film: what a tracked run's measures did over log time, with phases and onsets marked.

One panel for how often the network is right, one for each other measure, one for the loss; bands are 95 % intervals.
Step 0 is drawn at 0.5, since the axis is logarithmic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from cutaway.pictures.charts import INK, LEGEND, NULL, WARN, finished, rows_of
from cutaway.training.phases import Phases
from cutaway.training.store import Series, TrainingRun
from cutaway.training.story import Story

COLOURS = [INK, WARN, "#3b8f5c", "#8a4fa3", "#b3435b", NULL, "#5a7d9a", "#c2a12e"]
PHASE_COLOURS = {"descent": "#dfe3e8", "ascent": "#f6e3cb", "second descent": "#d5e4f4"}
CLEAN = "clean_accuracy"  # of an attack's reading: the same as `accuracy` up to its rows
RIGHT = ("accuracy", "robust_accuracy", "noise_accuracy", CLEAN)
LEFT_OUT = ("effective_radius", "drop_over_noise", "calibration_error_plug_in", "confidence")
GREY = "#5b6472"
ZERO = 0.5
WIDTH, HEIGHT = 760, 200


def film(run: TrainingRun, story: Story) -> Any:
    """The picture of a run as an Altair chart. A run without any reading yet gives its loss alone."""
    last = max(run.last_step, 1)
    panels = []
    right = _right(run)
    if right:
        panels.append(_panel(right, "share of samples right", last, marks=_onsets(story), domain=(0.0, 1.0)))
    for (instrument, figure), group in _groups(run).items():
        phases = next((story.phases[s.name] for s in group if s.name in story.phases), None)
        unit = "" if group[0].unit == "1" else f" [{group[0].unit}]"
        title = f"{figure.replace('_', ' ')}{unit}"
        panels.append(_panel(group, title, last, phases=phases, name=instrument))
    panels += _scalar_panels(run, last)
    if not panels:
        return finished(alt.Chart(rows_of(text=["nothing recorded yet"])).mark_text(color=NULL).encode(text="text:N"))
    return _styled(alt.vconcat(*panels, spacing=14).resolve_scale(color="independent"))


def _right(run: TrainingRun) -> list[Series]:
    """Shares of samples right; of the clean ones one a data set: `accuracy` where it was measured."""
    found = [s for s in run.series.values() if s.figure in RIGHT]
    told, kept = {s.data for s in found if s.figure == "accuracy"}, []
    for series in found:
        if series.figure == CLEAN and series.data in told:
            continue
        told |= {series.data} if series.figure == CLEAN else set()
        kept.append(series)
    return kept


def _groups(run: TrainingRun) -> dict[tuple[str, str], list[Series]]:
    groups: dict[tuple[str, str], list[Series]] = {}
    for series in run.series.values():
        if series.figure in RIGHT or series.figure in LEFT_OUT:
            continue
        if not np.isfinite(series.value).any():
            continue
        groups.setdefault((series.instrument, series.figure), []).append(series)
    return groups


def _panel(
    group: Sequence[Series],
    title: str,
    last: int,
    *,
    phases: Phases | None = None,
    marks: Sequence[dict[str, Any]] = (),
    domain: tuple[float, float] | None = None,
    name: str = "",
) -> Any:
    labels = [_label(s, group) for s in group]
    data = rows_of(
        step=np.concatenate([np.maximum(s.steps, ZERO) for s in group]),
        value=np.concatenate([s.value for s in group]),
        low=np.concatenate([s.low for s in group]),
        high=np.concatenate([s.high for s in group]),
        what=[label for s, label in zip(group, labels, strict=True) for _ in s.steps],
    )
    x = _time(last, "step:Q")
    scale = alt.Scale(domain=list(domain)) if domain else alt.Scale(zero=False, nice=True)
    colour = alt.Color("what:N", scale=alt.Scale(domain=labels, range=COLOURS[: len(labels)]), legend=LEGEND)
    base = alt.Chart(data).encode(x=x, color=colour)
    y = alt.Y("value:Q", title=title, scale=scale)
    layers: list[Any] = []
    if phases is not None:
        layers += _phase_layers(phases, last)
    if any(np.isfinite(s.low).any() for s in group):
        band = base.mark_area(opacity=0.18, line=False)
        layers.append(band.encode(y=alt.Y("low:Q", title=title, scale=scale), y2="high:Q"))
    layers.append(base.mark_line(strokeWidth=1.8).encode(y=y))
    layers.append(
        base.mark_point(filled=True, size=16).encode(y=y, tooltip=["what:N", "step:Q", "value:Q", "low:Q", "high:Q"])
    )
    layers += _mark_layers(marks, last)
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    heading = alt.TitleParams(text=name.replace("-", " "), anchor="start", fontSize=12)
    return chart.properties(title=heading) if name else chart


def _phase_layers(phases: Phases, last: int) -> list[Any]:
    layers: list[Any] = []
    for phase in phases.phases:
        if not phase.present:
            continue
        ends = rows_of(start=[max(phase.start, ZERO)], end=[max(phase.end, ZERO)], name=[phase.name])
        unsure = rows_of(start=[max(phase.end_low, ZERO)], end=[max(phase.end_high, ZERO)])
        shade = alt.Chart(ends).mark_rect(opacity=0.75, color=PHASE_COLOURS[phase.name])
        layers.append(shade.encode(x=_time(last), x2="end:Q"))
        if phase.end_high > phase.end_low:
            strip = alt.Chart(unsure).mark_rect(opacity=0.18, color=GREY)
            layers.append(strip.encode(x="start:Q", x2="end:Q"))
        layers.append(_words(ends, phase.start, last, y=4).encode(x="start:Q"))
    return layers


def _mark_layers(marks: Sequence[dict[str, Any]], last: int) -> list[Any]:
    layers: list[Any] = []
    for k, mark in enumerate(marks):
        data = rows_of(**{key: [value] for key, value in mark.items()})
        base = alt.Chart(data)
        layers.append(base.mark_rect(opacity=0.1, color=GREY).encode(x=_time(last, "low:Q"), x2="high:Q"))
        layers.append(base.mark_rule(strokeDash=[4, 3], color=GREY).encode(x="step:Q"))
        layers.append(_words(data, mark["step"], last, y=HEIGHT - 16 - 14 * k).encode(x="step:Q"))
    return layers


def _words(data: Any, step: float, last: int, *, y: int) -> Any:
    """A word beside a step, on the side where there is room, `y` pixels from the panel's top."""
    right = math.log(max(step, ZERO) / ZERO) > 0.75 * math.log(last / ZERO)
    mark = alt.Chart(data).mark_text(
        align="right" if right else "left", baseline="top", dx=-4 if right else 4, fontSize=10, color=GREY
    )
    return mark.encode(y=alt.value(y), text="name:N")


def _onsets(story: Story) -> list[dict[str, Any]]:
    marks, seen = [], set()
    for event in story.events:
        if not event.onset.seen or event.name in seen or event.name == "generalisation":
            continue
        seen.add(event.name)
        high = min(event.onset.high, event.onset.last_step)
        step, low = max(event.onset.step, ZERO), max(event.onset.low, ZERO)
        marks.append({"step": step, "low": low, "high": max(high, ZERO), "name": event.name})
    return marks


def _scalar_panels(run: TrainingRun, last: int) -> list[Any]:
    panels = []
    for name, (steps, values) in run.scalars.items():
        if len(steps) < 2 or (name == "learning_rate" and np.ptp(values) == 0):
            continue
        keep = thinned(steps)
        shown = np.where(np.isfinite(values), values, np.nan)[keep]
        positive = bool((shown[np.isfinite(shown)] > 0).all()) and name != "learning_rate"
        scale = alt.Scale(type="log") if positive else alt.Scale(zero=False)
        data = rows_of(step=np.maximum(steps[keep], ZERO), value=shown)
        y = alt.Y("value:Q", title=name.replace("_", " "), scale=scale)
        line = alt.Chart(data).mark_line(color=INK, strokeWidth=1).encode(x=_time(last, "step:Q"), y=y)
        panels.append(line.properties(width=WIDTH, height=110))
    return panels


def thinned(steps: np.ndarray, points: int = 600) -> np.ndarray:
    """Indices of at most about `points` steps, evenly spaced over log time."""
    if len(steps) <= points:
        return np.arange(len(steps))
    wanted = np.geomspace(1, len(steps), points).astype(int) - 1
    return np.unique(wanted)


def _time(last: int, field: str = "start:Q") -> Any:
    axis = alt.Axis(format="~s", tickCount=6, grid=False)
    scale = alt.Scale(type="log", domain=[ZERO, last], nice=False)
    return alt.X(field, title="training step", scale=scale, axis=axis)


def _label(series: Series, group: Sequence[Series]) -> str:
    figures = len({s.figure for s in group}) > 1
    instruments = len({s.instrument for s in group}) > 1
    parts = [series.data]
    if figures and series.figure != series.instrument:
        parts.append(series.figure.replace("_", " ").replace(" accuracy", ""))
    if instruments and series.instrument.replace("-", "_") != series.figure:
        parts.append(f"({series.instrument})")
    return " ".join(parts)


def _styled(chart: Any) -> Any:
    return (
        chart.configure_view(strokeWidth=0)
        .configure_axis(
            labelFontSize=11, titleFontSize=12, titleFontWeight="normal", gridColor="#e8eaee", domainColor="#b8bcc4"
        )
        .configure_legend(labelFontSize=11, labelLimit=260, columns=4)
        .configure(font="system-ui, sans-serif", background="white")
    )
