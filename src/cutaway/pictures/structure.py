"""Pictures of how a network is connected, and of classes that fall together from layer to layer."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from cutaway.pictures.charts import INK, LEGEND, NULL, ROW, WARN, WIDTH, Measured, finished, inline_rows


def connections_chart(reading: Measured) -> Any:
    """Per layer the share of its weights that is active, inactive (kept, on no path) and zero."""
    values = reading.values
    layers = [f"{i + 1}. {name}" for i, name in enumerate(values["layer"].values)]
    total = values["weights"].values.astype(float)
    parts = {"active": values["active"].values, "kept, on no path": values["inactive"].values}
    parts["zero"] = total - sum(parts.values())
    rows = inline_rows(
        layer=layers * len(parts),
        what=[what for what in parts for _ in layers],
        order=[k for k in range(len(parts)) for _ in layers],
        share=np.concatenate([part / np.maximum(total, 1) for part in parts.values()]),
        weights=np.concatenate([part.astype(float) for part in parts.values()]),
    )
    chart = (
        alt.Chart(rows)
        .mark_bar(height=13)
        .encode(
            x=alt.X("share:Q", title="share of the layer's weights", scale=alt.Scale(domain=[0, 1]), stack="zero"),
            y=alt.Y("layer:N", sort=layers, title=None, axis=alt.Axis(labelLimit=260)),
            color=alt.Color("what:N", scale=alt.Scale(domain=list(parts), range=[INK, WARN, "#e3e6ea"]), legend=LEGEND),
            order=alt.Order("order:Q"),
            tooltip=["layer:N", "what:N", "weights:Q", alt.Tooltip("share:Q", format=".2%")],
        )
    )
    return finished(chart, height=max(60, ROW * len(layers)))


def growth_chart(reading: Measured) -> Any:
    """Site by site, on a logarithmic axis: the mean square of the signal and of a small change, each over its first."""
    values = reading.values
    names = [f"{i + 1}. {name}" for i, name in enumerate(values["site"].values)]
    parts = {"signal": values["signal"].values, "small change": values["change"].values}
    rows = inline_rows(
        site=names * len(parts),
        what=[what for what in parts for _ in names],
        size=np.concatenate([part / part[0] if part[0] > 0 else np.full(len(part), np.nan) for part in parts.values()]),
    )
    kept = alt.Chart(inline_rows(size=[1.0])).mark_rule(color=NULL, strokeDash=[4, 3]).encode(y="size:Q")
    axis, ticks = alt.Axis(labelAngle=-35, labelLimit=140), alt.Axis(format="~g", tickCount=6)
    scale = alt.Scale(domain=list(parts), range=[INK, WARN])
    line = (
        alt.Chart(rows)
        .mark_line(point=True)
        .encode(
            x=alt.X("site:N", sort=names, title=None, axis=axis),
            y=alt.Y("size:Q", title="mean square, over the first site's", scale=alt.Scale(type="log"), axis=ticks),
            color=alt.Color("what:N", scale=scale, legend=LEGEND),
            tooltip=["site:N", "what:N", alt.Tooltip("size:Q", format=".3~g")],
        )
    )
    return finished(alt.layer(kept, line), height=220)


_GROUPS = {"clean": INK, "noised": NULL, "attacked": WARN, "attacked, by prediction": "#b0413e"}


def layers_chart(reading: Measured) -> Any:
    """Layer by layer: variation within over between classes, and whose clean mean attacked samples lie nearest."""
    values = reading.values
    names = [f"{i + 1}. {name}" for i, name in enumerate(values["layer"].values)]
    groups = [str(g) for g in values["group"].values]
    colours = [_GROUPS.get(g, "#6b4fa0") for g in groups]
    axis = alt.X("layer:N", sort=names, title=None, axis=alt.Axis(labelAngle=-35, labelLimit=140))
    color = alt.Color("group:N", scale=alt.Scale(domain=groups, range=colours), legend=LEGEND)
    rows = inline_rows(
        layer=names * len(groups),
        group=[g for g in groups for _ in names],
        value=values["layer_nc1"].values.ravel(),
        low=values["layer_nc1_low"].values.ravel(),
        high=values["layer_nc1_high"].values.ravel(),
    )
    base = alt.Chart(rows).encode(x=axis, color=color)
    level = alt.Y("value:Q", title="variation within / between classes", scale=alt.Scale(type="log"))
    above = alt.layer(
        base.mark_rule(strokeWidth=3, opacity=0.4).encode(y=alt.Y("low:Q", scale=alt.Scale(type="log")), y2="high:Q"),
        base.mark_line(point=True).encode(y=level, tooltip=["layer:N", "group:N", "value:Q", "low:Q", "high:Q"]),
    ).properties(width=WIDTH, height=190)
    shares = {"their true label": "layer_near_true", "what the network says": "layer_near_predicted"}
    attacked = groups.index("attacked")
    below = alt.Chart(
        inline_rows(
            layer=names * len(shares),
            what=[what for what in shares for _ in names],
            share=np.concatenate([values[column].values[attacked] for column in shares.values()]),
        )
    ).mark_line(point=True)
    dashes = alt.StrokeDash("what:N", sort=list(shares), legend=alt.Legend(title=None, orient="top"))
    title = ["attacked samples nearest", "the clean mean of"]
    below = below.encode(
        x=axis,
        y=alt.Y("share:Q", title=title, scale=alt.Scale(domain=[0, 1])),
        strokeDash=dashes,
        color=alt.value(WARN),
        tooltip=["layer:N", "what:N", "share:Q"],
    ).properties(width=WIDTH, height=130)
    joined = alt.vconcat(above, below).resolve_scale(color="independent", strokeDash="independent")
    return joined.configure_view(strokeWidth=0).configure(font="system-ui, sans-serif", background="white")
