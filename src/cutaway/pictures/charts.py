"""The pictures of readings as Vega-Lite charts (through Altair): one look for all of them.

Blue is what was measured, grey what the null gives, orange what warns. Every chart takes a reading and returns a
chart that `Reading.plot` saves and the report embeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import altair as alt
import numpy as np

from cutaway.wording import null_words

INK, NULL, WARN = "#2563a8", "#8a8f98", "#d9822b"
LEGEND = alt.Legend(title=None, orient="top", symbolOpacity=1.0)
WIDTH, ROW = 520, 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A picture of an instrument's readings over a training: its `title`, a sentence, and an Altair chart without
    configuration, which the page of the training puts among its own."""

    title: str
    words: str
    chart: Any


class Measured(Protocol):
    """What a chart draws: of a reading its values, its figures and the name of its null."""

    @property
    def values(self) -> Any: ...

    @property
    def figures(self) -> Sequence[Any]: ...

    @property
    def null(self) -> str: ...

    def figure(self, name: str) -> Any: ...


def finished(chart: Any, *, height: int | None = None) -> Any:
    """The house look: fonts, grid, sizes."""
    return styled(chart.properties(width=WIDTH, **({"height": height} if height else {})))


def styled(chart: Any) -> Any:
    """Fonts and grid of a chart that has its sizes."""
    return (
        chart.configure_view(strokeWidth=0)
        .configure_axis(
            labelFontSize=11, titleFontSize=12, titleFontWeight="normal", gridColor="#e8eaee", domainColor="#b8bcc4"
        )
        .configure_legend(labelFontSize=11)
        .configure(font="system-ui, sans-serif", background="white")
    )


def inline_rows(**columns: Any) -> alt.InlineData:
    """Columns as inline rows; what is not finite becomes null, which Vega leaves out."""
    names = list(columns)
    rows = [{n: _plain(v) for n, v in zip(names, row, strict=True)} for row in zip(*columns.values(), strict=True)]
    return alt.InlineData(values=rows)


def _plain(value: Any) -> Any:
    if isinstance(value, str) or value is None:
        return value
    number = value.item() if hasattr(value, "item") else value
    if isinstance(number, float) and not math.isfinite(number):
        return None
    return number


def figures_chart(reading: Measured) -> Any:
    """Every figure with its interval and its null, each on an axis of its own."""
    charts, null = [], null_words(reading.null).short
    for figure in reading.figures:
        if not math.isfinite(figure.value):
            continue
        marks = [("measured", figure.value, figure.low, figure.high)]
        if figure.null_median is not None and math.isfinite(figure.null_median):
            marks.append((null, figure.null_median, None, None))
        charts.append(_marks(marks, figure.called, figure.unit))
    if not charts:
        return alt.Chart(inline_rows(text=["nothing to draw"])).mark_text(color=NULL).encode(text="text:N")
    joined = alt.vconcat(*charts, spacing=6)
    return joined.configure_view(strokeWidth=0).configure(font="system-ui, sans-serif", background="white")


def _marks(marks: list[tuple[str, float, float | None, float | None]], title: str, unit: str) -> Any:
    data = inline_rows(
        what=[m[0] for m in marks], value=[m[1] for m in marks], low=[m[2] for m in marks], high=[m[3] for m in marks]
    )
    names = ["measured", *(m[0] for m in marks[1:])]
    color = alt.Color("what:N", scale=alt.Scale(domain=names, range=[INK, NULL]), legend=None)
    label = title if unit == "1" else f"{title} [{unit}]"
    base = alt.Chart(data).encode(y=alt.Y("what:N", title=None, sort=None), color=color)
    places = [x for m in marks for x in m[1:] if x is not None and math.isfinite(x)]
    scale = alt.Scale(zero=False)
    if places and min(places) == max(places):  # one place has no range of its own
        around = abs(places[0]) / 10 or 1.0
        scale = alt.Scale(domain=[places[0] - around, places[0] + around])
    bar = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=label, scale=scale), x2="high:Q")
    point = base.mark_point(filled=True, size=70).encode(x=alt.X("value:Q", title=label, scale=scale))
    with_interval = any(m[2] is not None and math.isfinite(m[2]) for m in marks)
    return (bar + point if with_interval else point).properties(width=WIDTH, height=ROW * len(marks))


def sites_chart(
    reading: Measured,
    columns: Mapping[str, str],
    *,
    band: tuple[str, str] | None = None,
    title: str,
    null_of: Mapping[str, str] | None = None,
) -> Any:
    """A quantity per site, in the order of the network; the first of `columns` may carry a band."""
    values = reading.values
    sites = [str(s) for s in values["site"].values]
    names = {s: f"{i + 1}. {s}" for i, s in enumerate(sites)}
    order = [names[s] for s in sites]
    layers = []
    for k, (column, label) in enumerate(columns.items()):
        low, high = (
            (values[b].values for b in band) if band and k == 0 else (values[column].values, values[column].values)
        )
        data = inline_rows(site=order, value=values[column].values, low=low, high=high, what=[label] * len(sites))
        y = alt.Y("site:N", sort=order, title=None, axis=alt.Axis(labelLimit=260))
        color = alt.Color(
            "what:N",
            scale=alt.Scale(domain=list(columns.values()), range=[INK, WARN, NULL][: len(columns)]),
            legend=LEGEND,
        )
        base = alt.Chart(data).encode(y=y, color=color if len(columns) > 1 else alt.value(INK))
        layers.append(base.mark_rule(strokeWidth=3, opacity=0.45).encode(x=alt.X("low:Q", title=title), x2="high:Q"))
        layers.append(
            base.mark_point(filled=True, size=55).encode(
                x=alt.X("value:Q", title=title), tooltip=["site:N", "what:N", "value:Q", "low:Q", "high:Q"]
            )
        )
    for figure_name in (null_of or {}).values():
        figure = reading.figure(figure_name)
        if figure.null_median is not None and math.isfinite(figure.null_median):
            line = alt.Chart(inline_rows(value=[figure.null_median], text=[null_words(reading.null).short]))
            layers.append(line.mark_rule(color=NULL, strokeDash=[4, 3]).encode(x="value:Q", tooltip="text:N"))
    return finished(alt.layer(*layers), height=max(60, ROW * len(sites)))


def reliability_chart(reading: Measured, said: str = "confidence", came: str = "accuracy") -> Any:
    """What came (accuracy) against what was said (confidence) with exact bands; the diagonal is perfect calibration."""
    v = reading.values
    data = inline_rows(
        confidence=v["bin_confidence"].values,
        accuracy=v["bin_accuracy"].values,
        low=v["bin_low"].values,
        high=v["bin_high"].values,
        samples=v["bin_count"].values,
    )
    axis = alt.Scale(domain=[0, 1])
    diagonal = alt.Chart(inline_rows(x=[0.0, 1.0], y=[0.0, 1.0])).mark_line(color=NULL, strokeDash=[4, 3])
    base = alt.Chart(data).encode(x=alt.X("confidence:Q", title=said, scale=axis))
    bar = base.mark_rule(strokeWidth=2, opacity=0.5, color=INK).encode(
        y=alt.Y("low:Q", title=came, scale=axis), y2="high:Q"
    )
    point = base.mark_point(filled=True, size=60, color=INK).encode(
        y=alt.Y("accuracy:Q", title=came, scale=axis),
        tooltip=["confidence:Q", "accuracy:Q", "low:Q", "high:Q", "samples:Q"],
    )
    chart = alt.layer(diagonal.encode(x=alt.X("x:Q", title=said), y=alt.Y("y:Q", title=came)), bar, point)
    return finished(chart, height=300).properties(width=360)


def claims_chart(reading: Measured) -> Any:
    """Squared error with its sure interval against claimed variance, bin by bin; on the diagonal claims are right."""
    v = reading.values
    ends = {end: v[f"bin_{end}"].values for end in ("low", "high")}
    rows = inline_rows(
        claimed=v["bin_claimed"].values, error=v["bin_error"].values, samples=v["bin_count"].values, **ends
    )
    high = max(float(v["bin_claimed"].values.max()), float(v["bin_error"].values.max())) * 1.1
    x = alt.X("claimed:Q", title="claimed variance, mean of the bin")
    y = alt.Y("error:Q", title="squared error against the true probabilities")
    diagonal = alt.Chart(inline_rows(claimed=[0.0, high], error=[0.0, high]))
    line = diagonal.mark_line(color=NULL, strokeDash=[4, 3]).encode(x=x, y=y)
    base = alt.Chart(rows).encode(x=x)
    bar = base.mark_rule(strokeWidth=2, opacity=0.5, color=INK).encode(y=alt.Y("low:Q"), y2="high:Q")
    tips = [f"{name}:Q" for name in ("claimed", "error", "low", "high", "samples")]
    point = base.mark_point(filled=True, size=60, color=INK).encode(y=y, tooltip=tips)
    return finished(alt.layer(line, bar, point), height=300).properties(width=360)


def bars_chart(reading: Measured, names: Sequence[str], *, title: str) -> Any:
    """Figures side by side with intervals, and the null's median as a grey mark."""
    figures = [reading.figure(n) for n in names]
    labels = [f.called for f in figures]
    data = inline_rows(
        name=labels,
        value=[f.value for f in figures],
        low=[f.low for f in figures],
        high=[f.high for f in figures],
        null=[f.null_median for f in figures],
    )
    y = alt.Y("name:N", sort=labels, title=None, axis=alt.Axis(labelLimit=260))
    base = alt.Chart(data).encode(y=y)
    x = alt.X("value:Q", title=title, scale=alt.Scale(domain=[0, 1]))
    bar = base.mark_bar(color=INK, opacity=0.75, height=13).encode(
        x=x, tooltip=["name:N", "value:Q", "low:Q", "high:Q"]
    )
    rule = base.mark_rule(color="#173f6e", strokeWidth=2).encode(x=alt.X("low:Q", title=title), x2="high:Q")
    null = base.mark_tick(color=NULL, thickness=3, size=20).encode(x=alt.X("null:Q", title=title))
    layers = [bar, rule, null] if any(f.null_median is not None for f in figures) else [bar, rule]
    return finished(alt.layer(*layers), height=(ROW + 12) * len(figures))


def distances_chart(reading: Measured, columns: Sequence[str]) -> Any:
    """Share of samples with a boundary within a distance, one curve a column, log distance."""
    xs, ys, what = [], [], []
    for column in columns:
        numbers = np.sort(np.asarray(reading.values[column].values, dtype=float))
        keep = np.isfinite(numbers) & (numbers > 0)
        xs += list(numbers[keep])
        ys += list((np.arange(len(numbers))[keep] + 1) / len(numbers))
        what += [column.replace("_", " ")] * int(keep.sum())
    labels = [c.replace("_", " ") for c in columns]
    chart = (
        alt.Chart(inline_rows(distance=xs, share=ys, what=what))
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X(
                "distance:Q",
                scale=alt.Scale(type="log"),
                title="distance to the first boundary [input units]",
                axis=alt.Axis(format="~e", tickCount=6),
            ),
            y=alt.Y("share:Q", title="share of samples", scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("what:N", scale=alt.Scale(domain=labels, range=[INK, WARN, NULL]), legend=LEGEND),
        )
    )
    return finished(chart, height=260)


def collapse_chart(reading: Measured) -> Any:
    """Each collapse measure, clean, under attack and under noise."""
    values, words = reading.values, {"clean": "clean", "attacked": "under attack", "noised": "under noise"}
    views = [words[str(v)] for v in values["view"].values]
    names, view, number = [], [], []
    for name in ("nc1", "nc2_norm", "nc2_angle", "nc3", "nc4"):
        names += [name.upper().replace("_", " ")] * len(views)
        view += views
        number += list(values[name].values)
    chart = (
        alt.Chart(inline_rows(measure=names, view=view, value=number))
        .mark_point(filled=True, size=70)
        .encode(
            x=alt.X(
                "value:Q",
                title="value (0 is full collapse)",
                scale=alt.Scale(type="symlog", constant=0.1),
                axis=alt.Axis(values=[0, 0.1, 0.2, 0.5, 1, 2, 5, 10, 50]),
            ),
            y=alt.Y("measure:N", sort=None, title=None),
            color=alt.Color(
                "view:N",
                scale=alt.Scale(domain=list(words.values()), range=[INK, WARN, NULL]),
                legend=LEGEND,
            ),
            tooltip=["measure:N", "view:N", "value:Q"],
        )
    )
    return finished(chart, height=170)
