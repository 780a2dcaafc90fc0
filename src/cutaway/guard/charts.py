"""Pictures of guardrails: slack and containment of certificates, detectors by source."""

from __future__ import annotations

from typing import Any

import altair as alt

from cutaway.guard.certificate import Certificate
from cutaway.pictures.charts import INK, LEGEND, NULL, WARN, inline_rows


def certificate_chart(certificate: Certificate) -> Any:
    """Left: lowest logit in each region (point), the bar from there to the hull's lowest logit (the slack), and the
    threshold; right: share of held-out harmful rows inside, with its interval. The title tells how many construction
    rows are not flagged themselves, where there are some."""
    shown = list(certificate.regions)
    names = [r.name for r in shown]
    hull = next((r.worst for r in shown if r.slack is None), None)
    data = inline_rows(
        region=names,
        worst=[r.worst for r in shown],
        status=[r.status.value for r in shown],
        hull=[r.worst if hull is None else hull for r in shown],
        slack=[r.slack for r in shown],
        inside=[r.containment for r in shown],
        low=[r.containment_low for r in shown],
        high=[r.containment_high for r in shown],
    )
    y = alt.Y("region:N", sort=names, title=None, axis=alt.Axis(labelLimit=260))
    color = alt.Color(
        "status:N",
        legend=LEGEND,
        scale=alt.Scale(domain=["certified", "falsified", "unknown"], range=[INK, WARN, NULL]),
    )
    tips = ["region:N", "status:N", "worst:Q", "slack:Q", "inside:Q", "low:Q", "high:Q"]
    base = alt.Chart(data).encode(y=y, color=color, tooltip=tips)
    height = 24 * len(names)
    title = "lowest logit in the region; bar: slack against the hull"
    axis = alt.X("worst:Q", scale=alt.Scale(padding=10), title=title)
    left = base.mark_bar(height=5, opacity=0.35).encode(x=axis, x2="hull:Q") + base.mark_point(
        filled=True, size=60, opacity=1
    ).encode(x="worst:Q")
    limit = alt.Chart(inline_rows(limit=[certificate.threshold], word=["threshold"])).encode(x="limit:Q")
    left += limit.mark_rule(color="#444", strokeDash=[4, 3])
    left += limit.mark_text(color="#444", dy=-6, baseline="bottom").encode(y=alt.value(0), text="word:N")
    unit = alt.Scale(domain=[0, 1])
    right = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", scale=unit, title="share of held-out harmful rows inside"), x2="high:Q"
    )
    right += base.mark_point(filled=True, size=60, opacity=1).encode(x=alt.X("inside:Q", scale=unit))
    joined = alt.hconcat(left.properties(width=300, height=height), right.properties(width=220, height=height))
    if certificate.unflagged:
        words = f"{certificate.unflagged} of the {certificate.rows} rows that the hull and the box hold are not flagged"
        joined = joined.properties(title=alt.TitleParams(words, fontSize=12, fontWeight="normal", anchor="start"))
    return joined.configure_view(strokeWidth=0).configure(font="system-ui, sans-serif", background="white")
