"""The picture of a small slice: its affine pieces in the colours of their classes, the decision boundary on top."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from cutaway.pictures.charts import WIDTH, Measured, finished, inline_rows
from cutaway.pictures.colours import BOUNDARY, class_colour


def slice_chart(reading: Measured) -> Any:
    """Every piece filled and outlined; axes in units of the input."""
    values = reading.values
    x, y = values["corner_x"].values, values["corner_y"].values
    piece = values["corner_piece"].values.astype(int)
    own = values["piece_class"].values.astype(int)
    names = [f"class {c}" for c in range(int(own.max()) + 1)]
    present = sorted(set(own.tolist()))
    fill = alt.Fill(
        "class:N",
        legend=alt.Legend(title=None, orient="top", symbolType="square", symbolStrokeWidth=0, symbolSize=120),
        scale=alt.Scale(domain=[names[c] for c in present], range=[class_colour(c) for c in present]),
    )
    ends = [(float(v.min()), float(v.max())) for v in (x, y)]
    scales: list[Any] = [alt.Scale(domain=list(pair), nice=False, zero=False) for pair in ends]
    across = alt.X("x:Q", title="first direction of the plane (units of the input)", scale=scales[0])
    up = alt.Y("y:Q", title="second direction", scale=scales[1])
    rows = inline_rows(
        x=x,
        y=y,
        piece=piece,
        order=np.arange(len(x)),
        **{"class": [names[own[p]] for p in piece]},
    )
    pieces = (
        alt.Chart(rows)
        .mark_line(filled=True, interpolate="linear-closed", stroke="#444444", strokeWidth=0.5, fillOpacity=1)
        .encode(x=across, y=up, detail="piece:Q", order="order:Q", fill=fill)
    )
    segments = values["boundary"].values
    cut = inline_rows(x=segments[:, 0], y=segments[:, 1], x2=segments[:, 2], y2=segments[:, 3])
    boundary = alt.Chart(cut).mark_rule(color=BOUNDARY, strokeWidth=2).encode(x=across, y=up, x2="x2:Q", y2="y2:Q")
    layers = [pieces, boundary] if len(segments) else [pieces]
    return finished(alt.layer(*layers), height=WIDTH)
