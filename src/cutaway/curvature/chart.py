"""Pictures: of a spectrum, its density on a log scale with the largest eigenvalues as marks; of margins, how near each
norm's is to stationary, and each beside what memory grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np

from cutaway.pictures.charts import INK, LEGEND, NULL, ROW, WARN, finished, inline_rows, styled
from cutaway.wording import null_words

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


def margins_chart(reading: Any, norms: Mapping[str, str]) -> Any:
    """Above, by norm (name to words), the distance from stationarity; below the smallest margin over the null's median,
    with the null's draws as ticks, or without a null the margins of the rows, each over the largest."""
    words = list(norms.values())
    y = alt.Y("norm:N", sort=words, title=None)
    residual = inline_rows(norm=words, value=[reading.figure(f"residual_{n}").value for n in norms])
    title = "distance from a stationary margin (0: stationary)"
    x = alt.X("value:Q", title=title, scale=alt.Scale(domain=[0, 1]))
    tips = ["norm:N", "value:Q"]
    above = alt.Chart(residual).mark_bar(color=INK, opacity=0.75, height=13).encode(x=x, y=y, tooltip=tips)
    figures = {norms[n]: reading.figure(f"margin_{n}") for n in norms}
    if all(f.null_median and f.null_median > 0 for f in figures.values()):
        below = _over_null(figures, reading.null, y)
    else:
        below = _row_margins(reading.values["margin"].values)
    size = {"width": 420}
    return styled(alt.vconcat(above.properties(height=(ROW + 4) * len(words), **size), below.properties(**size)))


def _over_null(figures: Mapping[str, Any], null: str, y: Any) -> Any:
    drawn = [(norm, draw / f.null_median) for norm, f in figures.items() for draw in f.null_draws if draw > 0]
    short = null_words(null).short
    colour = alt.Color("what:N", scale=alt.Scale(domain=["this network", short], range=[INK, NULL]), legend=LEGEND)
    x = alt.X("value:Q", scale=alt.Scale(type="log"), title="smallest margin over the median of the null")
    draws = inline_rows(norm=[d[0] for d in drawn], value=[d[1] for d in drawn], what=[short] * len(drawn))
    own = [f.value / f.null_median for f in figures.values()]
    here = inline_rows(norm=list(figures), value=own, what=["this network"] * len(own))
    ticks = alt.Chart(draws).mark_tick(thickness=1.5, opacity=0.7).encode(x=x, y=y, color=colour)
    point = alt.Chart(here).mark_point(filled=True, size=80).encode(x=x, y=y, color=colour, tooltip=["value:Q"])
    return alt.layer(ticks, point).properties(height=(ROW + 4) * len(figures))


def _row_margins(margin: Any) -> Any:
    share = np.sort(np.asarray(margin, dtype=float)) / float(np.max(margin))
    kept = np.unique(np.linspace(0, len(share) - 1, 200).astype(int))
    data = inline_rows(place=share[kept], rows=(kept + 1) / len(share))
    x = alt.X("place:Q", title="margin of a row over the largest", scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("rows:Q", title="share of rows at or below", scale=alt.Scale(domain=[0, 1]))
    return alt.Chart(data).mark_line(color=INK, interpolate="step-after").encode(x=x, y=y).properties(height=120)
