"""Pictures of how a network is connected, and of classes that fall together from layer to layer."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from cutaway.pictures.charts import INK, LEGEND, ROW, WARN, Measured, finished, rows_of


def connections_chart(reading: Measured) -> Any:
    """Per layer the share of its weights that is active, inactive (kept, on no path) and zero."""
    values = reading.values
    layers = [f"{i + 1}. {name}" for i, name in enumerate(values["layer"].values)]
    total = values["weights"].values.astype(float)
    parts = {"active": values["active"].values, "kept, on no path": values["inactive"].values}
    parts["zero"] = total - sum(parts.values())
    rows = rows_of(
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
