"""Pictures of what a language model says of texts."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from cutaway.pictures.charts import INK, NULL, WARN, Measured, finished, inline_rows


def evidence_chart(reading: Measured, limit: float) -> Any:
    """Evidence against the author, token by token: the median of log E over rows, and the rows' ends; above the dashed
    line one text alone is rejected."""
    grown, ends = reading.values["growth"].values, np.sort(reading.values["log_e"].values)
    tokens = len(grown)
    shown = ends[np.unique(np.linspace(0, len(ends) - 1, 60).round().astype(int))]
    x = alt.X("token:Q", title="tokens read", scale=alt.Scale(domain=[0, tokens]))
    y = alt.Y("log_e:Q", title="log E, evidence that another wrote it [nats]", scale=alt.Scale(type="symlog"))
    line = alt.Chart(inline_rows(token=np.arange(1, tokens + 1), log_e=grown)).mark_line(color=INK).encode(x=x, y=y)
    ticks = alt.Chart(inline_rows(token=[tokens] * len(shown), log_e=shown))
    rows = ticks.mark_tick(color=NULL, thickness=1.5, size=14, orient="horizontal").encode(x=x, y=y)
    rule = alt.Chart(inline_rows(log_e=[limit])).mark_rule(color=WARN, strokeDash=[4, 3]).encode(y="log_e:Q")
    return finished(alt.layer(rule, rows, line), height=260)
