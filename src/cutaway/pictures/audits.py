"""Pictures of audits: cells of a population, versions of a task, distilled rows."""

from __future__ import annotations

import base64
import io
from typing import Any

import altair as alt
import numpy as np
from PIL import Image

from cutaway.pictures.charts import INK, LEGEND, NULL, ROW, WARN, WIDTH, Measured, finished, inline_rows, styled


def cells_chart(reading: Measured) -> Any:
    """Cell by cell, the worst first: the share of rows classified right with its interval, beside all rows' share."""
    values = reading.values
    rates = values["cell_accuracy"].values
    order = np.argsort(rates, kind="stable")
    names = [f"{values['cell'].values[i]} ({int(values['cell_rows'].values[i])})" for i in order]
    low, high = (values[f"cell_accuracy_{end}"].values[order] for end in ("low", "high"))
    rows = inline_rows(cell=names, share=rates[order], low=low, high=high, worst=[k == 0 for k in range(len(order))])
    axis = alt.Axis(format="~%")
    x = alt.X("share:Q", title="share of rows classified right", scale=alt.Scale(domain=[0, 1]), axis=axis)
    y = alt.Y("cell:N", sort=names, title=None, axis=alt.Axis(labelLimit=260))
    colour = alt.condition("datum.worst", alt.value(WARN), alt.value(INK))
    tips = ["cell:N", *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("share", "low", "high"))]
    points = alt.Chart(rows).mark_point(filled=True, size=70).encode(x=x, y=y, color=colour, tooltip=tips)
    bands = alt.Chart(rows).mark_rule().encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=colour)
    everyone = next(f.value for f in reading.figures if f.name == "accuracy")
    rule = alt.Chart(inline_rows(share=[everyone])).mark_rule(color=NULL, strokeDash=[4, 3]).encode(x="share:Q")
    return finished(alt.layer(rule, bands, points), height=max(60, ROW * len(names)))


def versions_chart(reading: Measured) -> Any:
    """Accuracy version by version beside the task as it is, and below it the first row in some of the versions."""
    values = reading.values
    shares = values["version_accuracy"].values
    order = np.argsort(shares, kind="stable")
    rows = inline_rows(place=np.arange(len(order)), share=shares[order], version=order, own=order == 0)
    axis = alt.Axis(format="~%")
    y = alt.Y("share:Q", title="share of rows right", axis=axis, scale=alt.Scale(domain=[0, 1]))
    colour = alt.condition("datum.own", alt.value(WARN), alt.value(INK))
    ticks = alt.Axis(labels=False, ticks=False, grid=False)
    x = alt.X("place:Q", title="versions of the task, worst first (orange: as it is)", axis=ticks)
    tips = ["version:N", alt.Tooltip("share:Q", format=".1%")]
    points = alt.Chart(rows).mark_point(filled=True, size=45).encode(x=x, y=y, color=colour, tooltip=tips)
    mean = alt.Chart(inline_rows(share=[float(shares.mean())])).mark_rule(color=NULL, strokeDash=[4, 3])
    above = alt.layer(mean.encode(y="share:Q"), points).properties(width=WIDTH, height=180)
    return styled(alt.vconcat(above, _pictures(values, shares)))


def _pictures(values: Any, shares: np.ndarray) -> Any:
    shown, pictures = values["shown"].values, values["picture"].values
    ends = float(pictures.min()), float(pictures.max())
    rows = inline_rows(
        place=np.arange(len(shown)),
        url=[_png(picture, *ends) for picture in pictures],
        share=[f"{shares[v]:.0%}" for v in shown],
    )
    x = alt.X("place:Q", axis=None, scale=alt.Scale(domain=[-0.5, len(shown) - 0.5]))
    images = alt.Chart(rows).mark_image(width=52, height=52).encode(x=x, url="url:N", y=alt.value(28))
    words = alt.Chart(rows).mark_text(fontSize=11, color=INK).encode(x=x, text="share:N", y=alt.value(66))
    title = alt.TitleParams("one row in some of the versions, and the share of all rows right there", fontSize=12)
    return alt.layer(images, words).properties(width=WIDTH, height=74, title=title)


def _png(picture: np.ndarray, low: float, high: float) -> str:
    """An image (channels, height, width) as a data address; `low` is black, `high` white."""
    grey = (picture - low) / (high - low) if high > low else np.zeros_like(picture)
    if picture.shape[0] not in (1, 3):
        grey = grey.mean(axis=0, keepdims=True)
    pixels = (255 * np.repeat(grey, 3, axis=0) if grey.shape[0] == 1 else 255 * grey).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.moveaxis(pixels, 0, 2)).save(file, format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def views_chart(reading: Measured) -> Any:
    """How rows lie on the axis of uncertainty: as they are, under noise, under attack, under the aware attack."""
    values = reading.values
    views = {"clean": "as they are", "noise": "noise", "attacked": "attacked", "aware": "attacked, and made sure"}
    top = max(float(values[f"{view}_uncertainty"].max()) for view in views) or 1.0
    edges = np.linspace(0, top, 41)
    parts = []
    for view, words in views.items():
        right = values[f"{view}_right"].values.astype(bool)
        share = f"{words}: {right.mean():.0%} right"
        for which, rows in (("right", right), ("wrong", ~right)):
            counts, _ = np.histogram(values[f"{view}_uncertainty"].values[rows], bins=edges)
            parts += [(share, which, a, b, c / len(right)) for a, b, c in zip(edges, edges[1:], counts) if c]
    order = list(dict.fromkeys(p[0] for p in parts))
    names = ("view", "answer", "start", "end", "share")
    rows = inline_rows(**{name: [p[k] for p in parts] for k, name in enumerate(names)})
    unit = values["clean_uncertainty"].attrs.get("unit", "nat")
    chart = (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            x=alt.X("start:Q", bin="binned", title=f"uncertainty ({unit})"),
            x2="end:Q",
            y=alt.Y("share:Q", title=None, axis=alt.Axis(format="~%", tickCount=3), stack="zero"),
            color=alt.Color("answer:N", scale=alt.Scale(domain=["right", "wrong"], range=[INK, WARN]), legend=LEGEND),
            tooltip=["view:N", "answer:N", alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(width=WIDTH, height=58)
        .facet(row=alt.Row("view:N", sort=order, title=None, header=_HEAD), spacing=6)
        .resolve_scale(y="independent")
    )
    return styled(chart)


_HEAD = alt.Header(
    labelAngle=0, labelAlign="left", labelAnchor="start", labelOrient="top", labelFontSize=12, labelPadding=2
)


def distilled_chart(reading: Measured) -> Any:
    """By kind of rows, how much each training on them taught (a point a training), and below it the distilled rows as
    images where they are some."""
    values = reading.values
    kinds = (
        ("distilled", "distilled rows"),
        ("means", "class means"),
        ("real", "random real rows"),
        ("every", "all rows"),
    )
    points = [(words, float(v), name) for name, words in kinds for v in values[f"right_{name}"].values]
    rows = inline_rows(kind=[p[0] for p in points], share=[p[1] for p in points], own=[p[2] for p in points])
    x = alt.X("share:Q", title="share of test rows right", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="~%"))
    y = alt.Y("kind:N", sort=[words for _, words in kinds], title=None)
    colour = alt.condition("datum.own == 'distilled'", alt.value(INK), alt.value(NULL))
    tips = ["kind:N", alt.Tooltip("share:Q", format=".1%")]
    above = alt.Chart(rows).mark_point(filled=True, size=55, opacity=0.7).encode(x=x, y=y, color=colour, tooltip=tips)
    above = above.properties(width=WIDTH, height=4 * ROW + 10)
    images = values["distilled"].values
    if images.ndim != 4 or images.shape[1] not in (1, 3) or min(images.shape[2:]) < 4:
        return styled(above)
    return styled(alt.vconcat(above, _grid(images, [str(n) for n in values["row"].values])))


def _grid(images: np.ndarray, names: list[str], columns: int = 10, most: int = 50) -> Any:
    """Rows as images, ten a line, with the names of their classes."""
    images, names = images[:most], names[:most]
    ends = float(images.min()), float(images.max())
    place = np.arange(len(images))
    rows = inline_rows(x=place % columns, y=place // columns, url=[_png(i, *ends) for i in images], name=names)
    lines = int(place[-1]) // columns + 1
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-0.5, columns - 0.5]))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[lines - 0.5, -0.5]))
    shown = alt.Chart(rows).mark_image(width=44, height=44).encode(x=x, y=y, url="url:N", tooltip=["name:N"])
    words = alt.Chart(rows).mark_text(fontSize=10, color=INK, dy=29).encode(x=x, y=y, text="name:N")
    title = alt.TitleParams("the distilled rows", fontSize=12)
    return alt.layer(shown, words).properties(width=WIDTH, height=66 * lines, title=title)


def draws_chart(reading: Measured, bars: Any) -> Any:
    """Below `bars`, of a network that answers at random: the share of rows that stand, attack by attack."""
    values = reading.values
    names = [str(n) for n in values["against"].values]
    rows = inline_rows(attack=names, share=values["stands"].values)
    x = alt.X("share:Q", title="share right when attacked", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="~%"))
    y = alt.Y("attack:N", sort=names, title=None, axis=alt.Axis(labelLimit=220))
    tips = ["attack:N", alt.Tooltip("share:Q", format=".1%")]
    points = alt.Chart(rows).mark_point(filled=True, size=70, color=INK).encode(x=x, y=y, tooltip=tips)
    return styled(alt.vconcat(bars, points.properties(width=WIDTH, height=ROW * len(names))))


def confidences_chart(reading: Measured) -> Any:
    """Share of a network's labels that are right, and, in grey, that are kept, by the probability from which a label is
    kept; the intervals hold for all probabilities at once."""
    values, scale = reading.values, alt.Scale(domain=[0, 1])
    columns = {k: values[f"right_by_confidence{k}"].values for k in ("", "_low", "_high")}
    kinds = ("right among kept", "kept")
    colour = alt.Color("kind:N", title=None, scale=alt.Scale(domain=list(kinds), range=[INK, NULL]), legend=LEGEND)
    x = alt.X("confidence:Q", title="probability from which a label is kept", scale=scale)
    y = alt.Y("share:Q", title="share of labels", axis=alt.Axis(format="~%"), scale=scale)
    at = values["confidence"].values
    rows = inline_rows(confidence=at, low=columns["_low"], high=columns["_high"])
    band = alt.Chart(rows).mark_area(opacity=0.2, color=INK).encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q")
    layers: list[Any] = [band]
    for kind, share in zip(kinds, (columns[""], values["kept_by_confidence"].values)):
        own = alt.Chart(inline_rows(confidence=at, share=share, kind=[kind] * len(at)))
        layers.append(own.mark_line(point=True).encode(x=x, y=y, color=colour))
    return finished(alt.layer(*layers), height=260)
