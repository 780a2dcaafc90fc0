"""The picture of a spectrum: the density of eigenvalues on a log scale, and its largest ones as marks."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from cutaway.pictures.charts import INK, LEGEND, WARN, finished, inline_rows

DECADES = 6  # below the largest density the picture ends


def spectrum_chart(reading: Any) -> Any:
    """Density with the range of its probes (blue), largest eigenvalues (orange); without a density the marks alone."""
    values = reading.values
    layers: list[Any] = []
    x = alt.X("place:Q", title="curvature (eigenvalue of the Hessian)")
    if "density" in values:
        height = values["density"].values
        floor = float(height.max()) * 10.0**-DECADES
        low, high = (np.maximum(values[f"density_{end}"].values, floor) for end in ("low", "high"))
        data = inline_rows(place=values["place"].values, height=np.maximum(height, floor), low=low, high=high)
        scale = alt.Scale(type="log", domain=[floor, 3 * float(high.max())])
        axis = alt.Axis(format=".0e", tickCount=6)
        y = alt.Y("height:Q", title="density of eigenvalues", scale=scale, axis=axis)
        base = alt.Chart(data).encode(x=x)
        layers.append(base.mark_area(opacity=0.2, color=INK).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"))
        layers.append(base.mark_line(color=INK, strokeWidth=1.8).encode(y=y))
    top = values["eigenvalue"].values
    marks = inline_rows(place=top, rank=values["rank"].values, what=["largest eigenvalues"] * len(top))
    names = ["density (shaded: probes)", "largest eigenvalues"]
    colour = alt.Color("what:N", scale=alt.Scale(domain=names, range=[INK, WARN]), legend=LEGEND)
    rule = alt.Chart(marks).mark_rule(strokeDash=[4, 3], strokeWidth=1.4)
    layers.append(rule.encode(x=x, color=colour, tooltip=["rank:Q", "place:Q"]))
    return finished(alt.layer(*layers), height=240 if len(layers) > 1 else 60)
