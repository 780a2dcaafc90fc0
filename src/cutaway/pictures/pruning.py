"""Picture of an audit of pruning: the worst class and the mean over classes, by how the rows were kept."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from cutaway.pictures.charts import INK, LEGEND, NULL, ROW, WARN, WIDTH, Measured, inline_rows, styled

WORST, MEAN = "worst class", "mean over classes"


def arms_chart(reading: Measured) -> Any:
    """Way by way to keep rows: recall of the worst class and the mean over classes, each with the range over seeds; the
    dashed line is the worst class of random rows. One block a share of rows kept, all rows at the end of each."""
    values = reading.values
    recall, shares = values["recall"].values, values["kept_share"].values
    names = [str(n) for n in values["kept_by"].values]
    blocks = []
    for share in sorted({float(s) for s in shares if s < 1}) or [1.0]:
        arms = [k for k, s in enumerate(shares) if s == share] + ([0] if share < 1 else [])
        blocks.append(_block(share, [names[k] for k in arms], recall[arms]))
    return styled(alt.vconcat(*blocks, spacing=10))


def _block(share: float, names: list[str], recall: np.ndarray) -> Any:
    parts = []
    for name, rows in zip(names, recall, strict=True):
        for what, found in ((WORST, rows.min(axis=1)), (MEAN, rows.mean(axis=1))):
            parts.append((name, what, float(found.mean()), float(found.min()), float(found.max())))
    columns = ("name", "what", "share", "low", "high")
    data = inline_rows(**{c: [p[k] for p in parts] for k, c in enumerate(columns)})
    x = alt.X(
        "share:Q", title="share of a class's rows right", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="~%")
    )
    y = alt.Y("name:N", sort=names, title=None, axis=alt.Axis(labelLimit=240))
    colour = alt.Color("what:N", scale=alt.Scale(domain=[WORST, MEAN], range=[WARN, INK]), legend=LEGEND)
    tips = ["name:N", "what:N", *(alt.Tooltip(f"{c}:Q", format=".1%") for c in ("share", "low", "high"))]
    points = alt.Chart(data).mark_point(filled=True, size=70).encode(x=x, y=y, color=colour, tooltip=tips)
    ranges = alt.Chart(data).mark_rule().encode(x="low:Q", x2="high:Q", y=y, color=colour)
    chance = next((p[2] for p in parts if p[0] == "random rows" and p[1] == WORST), parts[0][2])
    line = alt.Chart(inline_rows(share=[chance])).mark_rule(color=NULL, strokeDash=[4, 3]).encode(x="share:Q")
    title = alt.TitleParams(f"{share:.0%} of the rows kept", fontSize=12)
    return alt.layer(line, ranges, points).properties(width=WIDTH, height=max(60, ROW * len(names)), title=title)
