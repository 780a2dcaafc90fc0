"""Pictures of what a language model says of texts."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from cutaway.pictures.charts import INK, LEGEND, NULL, WARN, Measured, finished, inline_rows


def evidence_chart(reading: Measured, limit: float) -> Any:
    """Evidence against the author, token by token: the median of log E over rows, and the rows' ends; above the dashed
    line one text alone is rejected."""
    grown, ends = reading.values["growth"].values, np.sort(reading.values["log_e"].values)
    tokens = len(grown)
    shown = ends[np.unique(np.linspace(0, len(ends) - 1, 60).round().astype(int))]
    x = alt.X("token:Q", title="tokens read", scale=alt.Scale(domain=[0, tokens]))
    y = alt.Y(
        "log_e:Q", title="log E, evidence that another wrote it [nats]", scale=alt.Scale(type="symlog", nice=False)
    )
    line = alt.Chart(inline_rows(token=np.arange(1, tokens + 1), log_e=grown)).mark_line(color=INK).encode(x=x, y=y)
    ticks = alt.Chart(inline_rows(token=[tokens] * len(shown), log_e=shown))
    rows = ticks.mark_tick(color=NULL, thickness=1.5, size=14, orient="horizontal").encode(x=x, y=y)
    rule = alt.Chart(inline_rows(log_e=[limit])).mark_rule(color=WARN, strokeDash=[4, 3]).encode(y="log_e:Q")
    return finished(alt.layer(rule, rows, line), height=260)


def recall_chart(reading: Measured) -> Any:
    """Mean recall of the rest by the share shown, with intervals: suspect rows, and the others in grey."""
    values, layers = reading.values, []
    x = alt.X("shown:Q", title="share of a row that is shown", axis=alt.Axis(format="~%", values=[0.4, 0.6, 0.8]))
    x = x.scale(domain=[0.35, 0.85])
    kinds = ("suspect rows", "others")
    colour = alt.Color("kind:N", title=None, scale=alt.Scale(domain=list(kinds), range=[INK, NULL]), legend=LEGEND)
    for kind, group, shift in zip(kinds, ("suspect", "others"), (-0.004, 0.004)):
        name = f"recall_{group}_by_share"
        ends = {end: values[f"{name}_{end}"].values for end in ("low", "high")}
        rows = inline_rows(shown=values["shown"].values + shift, recall=values[name].values, kind=[kind] * 3, **ends)
        base = alt.Chart(rows).encode(x=x, color=colour)
        y = alt.Y("recall:Q", title="share of the rest that is recalled", scale=alt.Scale(domain=[0, 1]))
        layers += [base.mark_line(point=True).encode(y=y), base.mark_rule().encode(y=alt.Y("low:Q"), y2="high:Q")]
    return finished(alt.layer(*layers), height=260)


def temperature_chart(reading: Measured) -> Any:
    """Chance that a drawn answer is right by temperature, with its interval; the greedy accuracy dashed."""
    values = reading.values
    names = {"low": "accuracy_low", "high": "accuracy_high", "right": "accuracy"}
    columns = {name: values[source].values for name, source in names.items()}
    rows = inline_rows(temperature=values["temperature"].values, **columns)
    base = alt.Chart(rows).encode(x=alt.X("temperature:Q", title="temperature"))
    scale = alt.Scale(domain=[0, 1])
    band = base.mark_area(opacity=0.2, color=INK).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
    y = alt.Y("right:Q", title="chance that an answer is right", scale=scale)
    line = base.mark_line(color=INK, point=alt.OverlayMarkDef(color=INK)).encode(y=y)
    greedy = alt.Chart(inline_rows(right=[columns["right"][0]]))
    rule = greedy.mark_rule(color=NULL, strokeDash=[4, 3]).encode(y="right:Q")
    return finished(alt.layer(rule, band, line), height=260)
