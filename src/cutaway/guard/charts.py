"""Pictures of guardrails: slack and containment of certificates, detectors by source."""

from __future__ import annotations

from typing import Any

import altair as alt

from cutaway.guard.certificate import Certificate
from cutaway.guard.evaluate import Evaluation
from cutaway.reading.charts import INK, LEGEND, NULL, WARN, WIDTH, rows_of


def certificate_chart(certificate: Certificate) -> Any:
    """Left: lowest logit in each region against the threshold; right: share of held-out harmful rows inside."""
    shown = list(certificate.regions)
    names = [r.name for r in shown]
    data = rows_of(
        region=names, worst=[r.worst for r in shown], status=[r.status.value for r in shown],
        inside=[r.containment for r in shown], low=[r.containment_low for r in shown],
        high=[r.containment_high for r in shown],
    )  # fmt: skip
    y = alt.Y("region:N", sort=names, title=None)
    color = alt.Color(
        "status:N", legend=LEGEND,
        scale=alt.Scale(domain=["certified", "falsified", "unknown"], range=[INK, WARN, NULL]),
    )  # fmt: skip
    base = alt.Chart(data).encode(y=y, color=color)
    scale = alt.Scale(type="symlog")
    left = base.mark_bar(height=11).encode(x=alt.X("worst:Q", scale=scale, title="lowest logit in the region"))
    line = alt.Chart(rows_of(limit=[certificate.threshold])).mark_rule(color="#444", strokeDash=[4, 3])
    left = (left + line.encode(x=alt.X("limit:Q", scale=scale))).properties(width=260, height=24 * len(names))
    unit = alt.Scale(domain=[0, 1])
    right = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", scale=unit, title="held-out harmful rows inside"), x2="high:Q"
    )
    right += base.mark_point(filled=True, size=60).encode(x=alt.X("inside:Q", scale=unit))
    joined = alt.hconcat(left, right.properties(width=220, height=24 * len(names)))
    return joined.configure_view(strokeWidth=0).configure(font="system-ui, sans-serif", background="white")


def detectors_chart(evaluations: dict[str, Evaluation]) -> Any:
    """AUROC of every detector on every source, with intervals."""
    rows: dict[str, list] = {"detector": [], "source": [], "auroc": [], "low": [], "high": []}
    for name, evaluation in evaluations.items():
        for source, rates in {"all": evaluation.overall, **evaluation.by_source}.items():
            for key, value in zip(rows, (name, source, rates.auroc, rates.auroc_low, rates.auroc_high), strict=True):
                rows[key].append(value)
    base = alt.Chart(rows_of(**rows)).encode(
        y=alt.Y("detector:N", title=None, sort=list(evaluations)), color=alt.Color("detector:N", legend=None)
    )
    x = alt.X("low:Q", title="AUROC", scale=alt.Scale(zero=False))
    layers = base.mark_rule(strokeWidth=2).encode(x=x, x2="high:Q") + base.mark_point(filled=True).encode(x="auroc:Q")
    drawn = layers.properties(width=WIDTH, height=20 * len(evaluations)).facet(row=alt.Row("source:N", title=None))
    return drawn.configure_view(strokeWidth=0).configure(font="system-ui, sans-serif", background="white")
