"""The training film: what a tracked run's measures did over log time, one chart an idea, with phases and onsets marked.

First the share of right answers, clean and under attack; then what every instrument shows first; then the rest. Bands
are 95 % intervals over samples. Step 0 is drawn at 0.5, since the axis is logarithmic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt
import numpy as np

from cutaway.instrument import Tile
from cutaway.pictures.charts import INK, LEGEND, NULL, finished, inline_rows
from cutaway.report.film_beside import beside_layers, courses, instrument_of, lines_beside
from cutaway.report.film_marks import COLOURS, ZERO, mark_layers, phase_layers, time_axis
from cutaway.training.phases import Phases
from cutaway.training.store import Series, TrainingRun
from cutaway.training.story import Story
from cutaway.wording import said, title

CLEAN = "clean_accuracy"  # of an attack's reading: the same as `accuracy` up to its rows
RIGHT = {"accuracy": "clean", CLEAN: "clean", "robust_accuracy": "under attack"}
ALIKE = ("calibration_error_plug_in",)  # a second estimate of a figure that is drawn: in the table alone
WIDTH, HEIGHT = 760, 190

Width = int | Literal["container"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One chart of the film. title: what is drawn, in words. ends: how its lines end, in a sentence. first: whether it
    is among those that are shown before the reader asks for more."""

    title: str
    ends: str
    chart: Any
    first: bool


def film(run: TrainingRun, story: Story) -> Any:
    """The picture of a run as one Altair chart. A run without any reading yet gives its loss alone."""
    found = panels(run, story)
    if not found:
        return finished(
            alt.Chart(inline_rows(text=["nothing recorded yet"])).mark_text(color=NULL).encode(text="text:N")
        )
    charts = [p.chart.properties(title=alt.TitleParams(text=p.title, anchor="start", fontSize=13)) for p in found]
    return _styled(alt.vconcat(*charts, spacing=14).resolve_scale(color="independent", strokeDash="independent"))


def page_panels(run: TrainingRun, story: Story) -> list[tuple[Panel, dict[str, Any]]]:
    """The panels for a page, each with a specification as wide as the place it is put in."""
    return [(p, _styled(p.chart).to_dict()) for p in panels(run, story, width="container")]


def panels(run: TrainingRun, story: Story, *, width: Width = WIDTH) -> list[Panel]:
    """The panels of a run: right answers, the training loss, what each instrument shows first, the rest."""
    last = max(run.last_step, 1)
    found: list[Panel] = []
    right = right_answers(run)
    if right:
        words = "Right answers, clean and under attack" if len({RIGHT[s.figure] for s in right}) > 1 else "Accuracy"
        chart = _chart(right, last, width, marks=_onsets(story), share=True)
        found.append(Panel(title=words, ends=_ends(right), chart=chart, first=True))
    found += _scalar_panels(run, last, width)
    for group in _groups(run, right):
        phases = next((story.phases[s.name] for s in group if s.name in story.phases), None)
        shown = tile_of(run, group[0])
        words = shown.title if shown else group[0].words[:1].upper() + group[0].words[1:]
        lines = lines_beside(run, group[0])
        chart = _chart(group, last, width, phases=phases, beside=lines)
        found.append(Panel(title=words, ends=_ends(group) + _told(lines), chart=chart, first=shown is not None))
    for number, (data, course) in enumerate(courses(run)):
        chart = course.chart.properties(width=width, height=2 * HEIGHT, description=f"{course.title}. {course.words}")
        found.append(Panel(title=f"{course.title} on {data}", ends=course.words, chart=chart, first=number == 0))
    return sorted(found, key=lambda panel: not panel.first)


def right_answers(run: TrainingRun) -> list[Series]:
    """Shares of samples right; of the clean ones one a data set: `accuracy` where it was measured."""
    found = [s for s in run.series.values() if s.figure in RIGHT]
    told, kept = {s.data for s in found if s.figure == "accuracy"}, []
    for series in found:
        if series.figure == CLEAN and series.data in told:
            continue
        told |= {series.data} if series.figure == CLEAN else set()
        kept.append(series)
    return kept


def tile_of(run: TrainingRun, series: Series) -> Tile | None:
    """How the instrument shows this figure on a first screen; None where it does not."""
    instrument = instrument_of(run, series.instrument)
    return next((tile for tile in instrument.tiles if tile.figure == series.figure), None) if instrument else None


def _groups(run: TrainingRun, right: Sequence[Series]) -> list[list[Series]]:
    """The other figures that are numbers somewhere, one group an instrument and figure."""
    groups: dict[tuple[str, str], list[Series]] = {}
    for series in run.series.values():
        known = np.isfinite(series.value)
        drawn = series in right or series.figure in (*RIGHT, *ALIKE)
        if not drawn and known.any():
            groups.setdefault((series.instrument, series.figure), []).append(series)
    return list(groups.values())


def _chart(
    group: Sequence[Series],
    last: int,
    width: Width,
    *,
    phases: Phases | None = None,
    marks: Sequence[dict[str, Any]] = (),
    share: bool = False,
    beside: Mapping[str, np.ndarray] | None = None,
) -> Any:
    """Lines with their bands: a colour a data set, a dash a kind of figure; `beside`, what is drawn with them."""
    kinds = [_kind(s, group) for s in group]
    columns = {
        "step": np.concatenate([np.maximum(s.steps, ZERO) for s in group]),
        "value": np.concatenate([s.value for s in group]),
        "low": np.concatenate([s.low for s in group]),
        "high": np.concatenate([s.high for s in group]),
        "data": [s.data for s in group for _ in s.steps],
        "kind": [kind for s, kind in zip(group, kinds, strict=True) for _ in s.steps],
    }
    scale = alt.Scale(domain=[0.0, 1.0]) if share else alt.Scale(zero=False, nice=True)
    if beside and all(bool((s.value[np.isfinite(s.value)] > 0).all()) for s in group):
        scale = alt.Scale(type="log")  # what stands beside may be far off
    unit = "share of samples" if share else "" if group[0].unit == "1" else group[0].unit
    y = alt.Y("value:Q", title=unit or None, scale=scale)
    sets, dashes = list(dict.fromkeys(s.data for s in group)), list(dict.fromkeys(kinds))
    colours = [COLOURS[k % len(COLOURS)] for k in range(len(sets))]
    colour = alt.Color("data:N", scale=alt.Scale(domain=sets, range=colours), legend=LEGEND if len(sets) > 1 else None)
    dash = alt.StrokeDash("kind:N", scale=alt.Scale(domain=dashes), legend=LEGEND if len(dashes) > 1 else None)
    base = alt.Chart(inline_rows(**columns)).encode(x=time_axis(last, "step:Q"), color=colour)
    layers = phase_layers(phases, last) if phases is not None else []
    if any(np.isfinite(s.low).any() for s in group):
        band = base.mark_area(opacity=0.14, line=False)
        layers.append(band.encode(y=alt.Y("low:Q", title=unit or None, scale=scale), y2="high:Q", detail="kind:N"))
    layers.append(base.mark_line(strokeWidth=1.8).encode(y=y, strokeDash=dash))
    hover = [alt.Tooltip(f"{c}:Q", format=".4~g") for c in ("step", "value", "low", "high")]
    points = base.mark_point(filled=True, size=16)
    layers.append(points.encode(y=y, detail="kind:N", tooltip=["data:N", "kind:N", *hover]))
    layers += mark_layers(marks, last, HEIGHT) + beside_layers(dict(beside or {}), group[0].steps, last, y)
    text = f"{group[0].words} over the training steps. {_ends(group)}"
    return alt.layer(*layers).properties(width=width, height=HEIGHT, description=text)


def _kind(series: Series, group: Sequence[Series]) -> str:
    """Which kind of figure a line is: `clean`, `under attack`, with its instrument where two measured the same."""
    kind = RIGHT.get(series.figure, series.words)
    same = {s.instrument for s in group if RIGHT.get(s.figure, s.words) == kind}
    return f"{kind} ({series.instrument})" if len(same) > 1 else kind


def _ends(group: Sequence[Series]) -> str:
    """The last values of the lines, in a sentence: one part a kind."""
    parts: dict[str, list[str]] = {}
    for series in group:
        known = np.flatnonzero(np.isfinite(series.value))
        if len(known):
            last = float(series.value[known[-1]])
            parts.setdefault(_kind(series, group), []).append(f"{said(last)} on {series.data}")
    told = [f"{kind} {', '.join(ends)}" if len(parts) > 1 else ", ".join(ends) for kind, ends in parts.items()]
    return f"At the end {'; '.join(told)}." if told else ""


def _told(lines: Mapping[str, np.ndarray]) -> str:
    """How the lines beside a figure end."""
    return "".join(f" {words}: {said(float(v[np.isfinite(v)][-1]))}." for words, v in lines.items())


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


def _scalar_panels(run: TrainingRun, last: int, width: Width) -> list[Panel]:
    found = []
    for name, (steps, values) in run.scalars.items():
        if len(steps) < 2 or (name == "learning_rate" and np.ptp(values) == 0):
            continue
        keep = thinned(steps)
        shown = np.where(np.isfinite(values), values, np.nan)[keep]
        positive = bool((shown[np.isfinite(shown)] > 0).all()) and name != "learning_rate"
        scale = alt.Scale(type="log") if positive else alt.Scale(zero=False)
        words = "Training loss, batch by batch" if name == "loss" else title(name)
        y = alt.Y("value:Q", title=None, scale=scale)
        line = alt.Chart(inline_rows(step=np.maximum(steps[keep], ZERO), value=shown)).mark_line(
            color=INK, strokeWidth=1
        )
        chart = line.encode(x=time_axis(last, "step:Q"), y=y)
        chart = chart.properties(width=width, height=HEIGHT, description=f"{words} over the training steps.")
        known = shown[np.isfinite(shown)]
        ends = f"At the end {said(float(known[-1]))}." if len(known) else ""
        found.append(Panel(title=words, ends=ends, chart=chart, first=name == "loss"))
    return found


def thinned(steps: np.ndarray, points: int = 600) -> np.ndarray:
    """Indices of at most about `points` steps, evenly spaced over log time."""
    if len(steps) <= points:
        return np.arange(len(steps))
    wanted = np.geomspace(1, len(steps), points).astype(int) - 1
    return np.unique(wanted)


def _styled(chart: Any) -> Any:
    return (
        chart.configure_view(strokeWidth=0)
        .configure_axis(
            labelFontSize=11, titleFontSize=12, titleFontWeight="normal", gridColor="#e8eaee", domainColor="#b8bcc4"
        )
        .configure_legend(labelFontSize=11, labelLimit=260, columns=4)
        .configure(font="system-ui, sans-serif", background="white")
    )
