"""The picture of region boundaries against the decision boundary: their density by distance, and by site and class."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from cutaway.pictures.charts import INK, NULL, WARN, WIDTH, Measured, inline_rows


def migration_chart(reading: Measured) -> Any:
    """Above, density over the distance to the change of class; below, concentration by site and by class; 1 is even."""
    values = reading.values
    rows = inline_rows(distance=values["distance"].values, density=values["profile"].values)
    even = alt.Chart(inline_rows(level=[1.0])).mark_rule(color=NULL, strokeDash=[4, 3])
    line = (
        alt.Chart(rows)
        .mark_line(point=True, color=INK)
        .encode(
            x=alt.X("distance:Q", title="distance to the decision boundary, in segment lengths"),
            y=alt.Y("density:Q", title=["density of region boundaries", "over that of the whole way"]),
            tooltip=[alt.Tooltip("distance:Q", format=".3f"), alt.Tooltip("density:Q", format=".3g")],
        )
    )
    above = alt.layer(even.encode(y="level:Q"), line).properties(width=WIDTH, height=180)
    parts = [above]
    for dim, colour, words in (("site", INK, "site"), ("class", WARN, "class at an end")):
        found = values[f"{dim}_concentration"].values
        rows = inline_rows(what=[str(n) for n in values[dim].values], value=np.asarray(found, dtype=float))
        bars = (
            alt.Chart(rows)
            .mark_bar(color=colour, height=11)
            .encode(
                x=alt.X("value:Q", title="concentration at the decision boundary (1: even)"),
                y=alt.Y("what:N", sort=None, title=words),
                tooltip=["what:N", alt.Tooltip("value:Q", format=".3g")],
            )
        )
        parts.append(alt.layer(bars, even.encode(x="level:Q")).properties(width=WIDTH, height=16 * max(len(found), 2)))
    joined = alt.vconcat(*parts, spacing=14)
    return joined.configure_view(strokeWidth=0).configure(font="system-ui, sans-serif", background="white")
