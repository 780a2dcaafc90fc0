"""Pictures of kernels: the matrix of one reading, and distances between the kernels of a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import torch

from cutaway.kernels.shape import kernel_distance
from cutaway.pictures.charts import INK, LEGEND, NULL, WARN, finished, inline_rows


def kernel_chart(reading: Any) -> Any:
    """The cosine kernel as a heat map, rows class by class, and the eigenvalues over the largest on log axes."""
    kernel, by_class = reading.values["kernel"].values, "label" in reading.values
    if by_class:
        order = np.argsort(reading.values["label"].values, kind="stable")
        kernel = kernel[order][:, order]
    size = np.sqrt(np.maximum(np.diag(kernel), 1e-300))
    cosine = kernel / size[:, None] / size[None]
    count = len(cosine)
    row, column = np.divmod(np.arange(count**2), count)
    data = inline_rows(row=row, column=column, cosine=np.round(cosine.ravel(), 3))
    axis = alt.Axis(labels=False, ticks=False, grid=False)
    title = "row of the data" + (", class by class" if by_class else "")
    colour = alt.Color("cosine:Q", scale=alt.Scale(scheme="blues"), title="cosine of gradients")
    heat = (
        alt.Chart(data)
        .mark_rect()
        .encode(
            x=alt.X("column:O", title=title, axis=axis),
            y=alt.Y("row:O", title=title, axis=axis),
            color=colour,
        )
    )
    values = reading.values["eigenvalue"].values
    kept = values > 1e-12 * values[0]
    spectrum = inline_rows(rank=np.arange(1, len(values) + 1)[kept], share=values[kept] / values[0])
    line = (
        alt.Chart(spectrum)
        .mark_line(color=INK, point=True)
        .encode(
            x=alt.X("rank:Q", scale=alt.Scale(type="log", nice=False), title="rank"),
            y=alt.Y(
                "share:Q", scale=alt.Scale(type="log"), title="eigenvalue over the largest", axis=alt.Axis(format=".0e")
            ),
        )
    )
    both = alt.hconcat(heat.properties(width=300, height=300), line.properties(width=280, height=300))
    return both.configure_view(strokeWidth=0).configure(font="system-ui, sans-serif", background="white")


def distances(kernels: Sequence[Any]) -> np.ndarray:
    """Distance 1 - cos between every two of `kernels` (each (n, n)), (T, T)."""
    matrices = [torch.as_tensor(np.asarray(k)) for k in kernels]
    return np.array([[kernel_distance(a, b) for b in matrices] for a in matrices])


def motion_marks(steps: Sequence[int], found: np.ndarray) -> Any:
    """The marks of a heat map of the distances `found` (T, T) between the kernels of a training at `steps`: squares
    along the diagonal are times in which the kernel stays."""
    names = [f"{s:,}" for s in steps]
    row, column = np.divmod(np.arange(found.size), len(names))
    data = inline_rows(
        one=[names[k] for k in row], other=[names[k] for k in column], distance=np.round(found.ravel(), 5)
    )
    legend = alt.Legend(title="kernel distance", orient="top")  # at the side it would take of the width
    colour = alt.Color("distance:Q", scale=alt.Scale(scheme="blues"), legend=legend)
    axis = alt.Axis(labelOverlap=True, labelAngle=0)
    return (
        alt.Chart(data)
        .mark_rect()
        .encode(
            x=alt.X("other:O", sort=names, title="training step", axis=axis),
            y=alt.Y("one:O", sort=names, title="training step", axis=axis),
            color=colour,
            tooltip=["one:O", "other:O", "distance:Q"],
        )
    )


def eigen_features_chart(reading: Any) -> Any:
    """Usefulness, and what is left of it under noise and under attack, by the rank of the feature; a guess is 1/2."""
    values, names = reading.values, {"useful": "usefulness", "noise": "noise_robustness", "robust": "robustness"}
    told = {"useful": "clean", "noise": "under noise of the same size", "robust": "under attack"}
    count = values.sizes["feature"]

    def ends(end: str) -> Any:
        return np.concatenate([values[f"feature_{n}{end}"].values for n in names.values()])

    beside = alt.Scale(domain=[0.5, count + 0.5], nice=False)

    data = inline_rows(
        feature=list(values["feature"].values) * 3,
        share=ends(""),
        low=ends("_low"),
        high=ends("_high"),
        view=[told[v] for v in names for _ in range(count)],
    )
    scale = alt.Scale(domain=list(told.values()), range=[INK, NULL, WARN])
    base = alt.Chart(data).encode(
        x=alt.X(
            "feature:Q",
            title="feature of the kernel, by eigenvalue",
            scale=beside,
            axis=alt.Axis(tickMinStep=1, format="d"),
        ),
        color=alt.Color("view:N", scale=scale, legend=LEGEND),
    )
    title = "share of rows on the right side"
    y = alt.Y("share:Q", title=title, scale=alt.Scale(domain=[0, 1]))
    guess = alt.Chart(inline_rows(share=[0.5])).mark_rule(strokeDash=[4, 3], color=NULL).encode(y="share:Q")
    bars = base.mark_rule(opacity=0.5).encode(y=alt.Y("low:Q", title=title), y2="high:Q")
    line = base.mark_line(point=alt.OverlayMarkDef(size=40), strokeWidth=1.5).encode(y=y)
    return finished(alt.layer(guess, bars, line), height=260)


def eigenvalue_figure(series: dict[str, list[list[float]]]) -> Any:
    """Eigenvalues over the largest by rank, a line a kernel, on log axes (matplotlib)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for (name, pairs), colour in zip(series.items(), (NULL, INK)):
        rank, value = np.array(pairs).T
        kept = value > 1e-12 * value[0]
        axes.loglog(rank[kept], value[kept] / value[0], color=colour, label=name.upper())
    axes.set_xlabel("rank")
    axes.set_ylabel("eigenvalue over the largest")
    axes.legend(frameon=False)
    return figure
