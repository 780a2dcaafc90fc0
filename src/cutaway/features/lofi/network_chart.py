"""The picture of a reading of `lofi-features`: site by site, directions against their noise edge, and their use."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from cutaway.pictures.charts import INK, LEGEND, NULL, inline_rows

FOUND, LOST = "told from noise", "not told from noise"


def features_chart(reading: Any) -> Any:
    """Left: strength of every direction over the site's noise edge (p up to 0.05 filled blue). Right: mean squared
    cosine with the network's own directions, and the same for permuted labels."""
    values = reading.values
    sites = [f"{i + 1}. {name}" for i, name in enumerate(values["site"].values.tolist())]
    edge = np.maximum(values["noise_edge"].values, 1e-300)
    ratio, rank = values["strength"].values / edge[:, None], values["p_value"].values
    row, column = np.nonzero(np.isfinite(ratio))
    told = [FOUND if rank[r, c] <= 0.05 else LOST for r, c in zip(row, column, strict=True)]
    data = inline_rows(site=[sites[r] for r in row], over=ratio[row, column].tolist(), what=told)
    y = alt.Y("site:N", sort=sites, title=None, axis=alt.Axis(labelLimit=220))
    color = alt.Color(
        "what:N",
        legend=LEGEND,
        scale=alt.Scale(domain=[FOUND, LOST, "alignment", "permuted labels"], range=[INK, "#c9cdd4", INK, NULL]),
    )
    axis = alt.X("over:Q", title="strength over the noise edge", scale=alt.Scale(zero=False, padding=12))
    height = 26 * len(sites)
    left = alt.Chart(data).mark_point(filled=True, size=45, opacity=0.8).encode(x=axis, y=y, color=color)
    one = alt.Chart(inline_rows(edge=[1.0])).mark_rule(color="#444", strokeDash=[4, 3]).encode(x="edge:Q")
    pair = inline_rows(
        site=sites * 2,
        cosine=[*values["alignment"].values, *values["alignment_null"].values],
        what=["alignment"] * len(sites) + ["permuted labels"] * len(sites),
    )
    beside = alt.Chart(pair).encode(y=alt.Y("site:N", sort=sites, title=None, axis=alt.Axis(labels=False)))
    right = beside.mark_point(filled=True, size=60, opacity=1.0).encode(
        x=alt.X("cosine:Q", title="squared cosine with what the network uses", scale=alt.Scale(domain=[0, 1])),
        color=color,
        shape=alt.Shape("what:N", legend=None),
    )
    joined = alt.hconcat((left + one).properties(width=300, height=height), right.properties(width=220, height=height))
    return joined.configure_view(strokeWidth=0).configure(font="system-ui, sans-serif", background="white")
