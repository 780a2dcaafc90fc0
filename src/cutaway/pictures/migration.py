"""Pictures of region boundaries against the decision boundary: by distance, site, class and unit."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from cutaway.pictures.charts import INK, LEGEND, NULL, WARN, WIDTH, Measured, inline_rows


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


def pruning_chart(reading: Measured) -> Any:
    """Above, accuracy without a share of the units, by three orders; below, every unit: density of its boundary around
    data and at the decision boundary, units that may go by geometry marked."""
    values, names = reading.values, ("geometry", "magnitude", "random")
    shares = [float(s) for s in values["share"].values]
    rows = inline_rows(
        share=shares * len(names),
        accuracy=np.concatenate([values[f"accuracy_{name}"].values for name in names]),
        order=[name for name in names for _ in shares],
    )
    colour = alt.Color("order:N", scale=alt.Scale(domain=list(names), range=[INK, WARN, NULL]), legend=LEGEND)
    tips = ["order:N", alt.Tooltip("share:Q", format=".0%"), alt.Tooltip("accuracy:Q", format=".3f")]
    above = (
        alt.Chart(rows)
        .mark_line(point=True)
        .encode(
            x=alt.X("share:Q", title="share of each layer's units set to 0", axis=alt.Axis(format="%")),
            y=alt.Y("accuracy:Q", title="accuracy without them"),
            color=colour,
            tooltip=tips,
        )
        .properties(width=WIDTH, height=200)
    )
    around, decisive, idle = (values[n].values for n in ("around", "decisive", "active"))
    words = np.where(idle == 0, "0 on every sample", np.where(values["gone"].values, "may go", "stays"))
    kinds = {"stays": INK, "may go": WARN, "0 on every sample": NULL}
    top = float(max(around.max(), decisive.max(), 1e-12))
    units = inline_rows(unit=[str(u) for u in values["unit"].values], around=around, decisive=decisive, what=words)
    points = (
        alt.Chart(units)
        .mark_point(filled=True, size=32, opacity=0.7)
        .encode(
            x=alt.X("around:Q", title="density of its boundary around data", scale=alt.Scale(domain=[0, top])),
            y=alt.Y("decisive:Q", title="density at the decision boundary", scale=alt.Scale(domain=[0, top])),
            color=alt.Color("what:N", scale=alt.Scale(domain=list(kinds), range=list(kinds.values())), legend=LEGEND),
            tooltip=[
                "unit:N",
                "what:N",
                alt.Tooltip("around:Q", format=".3g"),
                alt.Tooltip("decisive:Q", format=".3g"),
            ],
        )
    )
    even = alt.Chart(inline_rows(a=[0.0, top], d=[0.0, top])).mark_line(color=NULL, strokeDash=[4, 3])
    below = alt.layer(even.encode(x="a:Q", y="d:Q"), points).properties(width=WIDTH, height=300)
    joined = alt.vconcat(above, below, spacing=14).resolve_scale(color="independent")
    return joined.configure_view(strokeWidth=0).configure(font="system-ui, sans-serif", background="white")
