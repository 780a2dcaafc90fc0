"""The picture of heads that write concepts: score, attribution and effect of every head, scaled heads, logit lens."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from cutaway.pictures.charts import INK, LEGEND, NULL, WARN, WIDTH, Measured, inline_rows

_PARTS = {"score": "cosine with its direction", "attribution": "added to its logit", "effect": "fall without the head"}


def heads_chart(reading: Measured) -> Any:
    """Above, heads of the concept that one of them moves most; below, change by scale, and the lens by block."""
    values = reading.values
    effect = values["effect"].values
    which = int(np.nanargmax(np.nanmax(effect.reshape(len(effect), -1), axis=1)))
    layers = [str(x) for x in values["layer"].values]
    maps = []
    for name, words in _PARTS.items():
        grid = values[name].values[which]
        top = float(np.nanmax(np.abs(grid))) or 1.0
        rows = inline_rows(
            layer=[layer for layer in layers for _ in range(grid.shape[1])],
            head=[h for _ in layers for h in range(grid.shape[1])],
            value=grid.ravel(),
        )
        scale = alt.Scale(domain=[-top, 0, top], range=[WARN, "#ffffff", INK])
        first = name == "score"
        maps.append(
            alt.Chart(rows, title=words)
            .mark_rect()
            .encode(
                x=alt.X("head:O", title="head", axis=alt.Axis(labelAngle=0)),
                y=alt.Y("layer:N", sort=layers, title=None, axis=alt.Axis(labels=first, ticks=first, labelLimit=150)),
                color=alt.Color("value:Q", scale=scale, legend=None),
                tooltip=["layer:N", "head:O", alt.Tooltip("value:Q", format=".3g")],
            )
            .properties(width=WIDTH // 3 - 20, height=24 * len(layers))
        )
    title = f"concept {values['concept'].values[which]!s}, where a single head does most"
    above = alt.hconcat(*maps, spacing=10, title=title).resolve_scale(color="independent")
    scales = [float(s) for s in values["scale"].values]
    parts = {"at the concept": values["target_curve"].values, "elsewhere": values["other_curve"].values}
    rows = inline_rows(
        scale=scales * 2, change=np.concatenate(list(parts.values())), where=[p for p in parts for _ in scales]
    )
    unit = " (nat)" if reading.figure("target_effect").unit == "nat" else ""
    what = "log-probability" if unit else "accuracy"
    curve = (
        alt.Chart(rows)
        .mark_line(point=True)
        .encode(
            x=alt.X("scale:Q", title="scale of a concept's heads, mean over concepts"),
            y=alt.Y("change:Q", title=f"change of {what}{unit}"),
            color=alt.Color("where:N", scale=alt.Scale(domain=list(parts), range=[WARN, NULL]), legend=LEGEND),
            tooltip=["where:N", "scale:Q", alt.Tooltip("change:Q", format=".3g")],
        )
        .properties(width=WIDTH // 2 - 30, height=180)
    )
    blocks = [str(b) for b in values["block"].values]
    lens = (
        alt.Chart(inline_rows(block=blocks, quality=values["lens"].values))
        .mark_line(point=True, color=INK)
        .encode(
            x=alt.X("block:N", sort=blocks, title="logit lens after", axis=alt.Axis(labelAngle=-35, labelLimit=110)),
            y=alt.Y("quality:Q", title=f"{what}{unit}"),
            tooltip=["block:N", alt.Tooltip("quality:Q", format=".3g")],
        )
        .properties(width=WIDTH // 2 - 30, height=180)
    )
    joined = alt.vconcat(above, alt.hconcat(curve, lens, spacing=20), spacing=14).resolve_scale(color="independent")
    return joined.configure_view(strokeWidth=0).configure(font="system-ui, sans-serif", background="white")
