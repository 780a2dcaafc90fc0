"""Pictures of audits of tables."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np

from cutaway.pictures.charts import INK, LEGEND, NULL, ROW, WARN, WIDTH, Measured, finished, inline_rows, styled


def break_even_chart(reading: Measured) -> Any:
    """Wrong labels at hand (orange) and the share at which the filter breaks even (blue), of all rows and class by
    class; grey, where a filter that keeps at random does."""
    values, rows = reading.values, []
    for name, what in (("wrong_share", "wrong"), ("break_even", "worst"), ("break_even_spread", "spread")):
        figure = next((f for f in reading.figures if f.name == name), None)
        if figure is not None:
            rows.append(("all rows", what, figure.value, figure.low, figure.high))
    for k, cell in enumerate(values["class"].values if "class" in values.coords else ()):
        called = f"class {cell} ({int(values['class_rows'].values[k])})"
        for name, what in (("wrong_share", "wrong"), ("break_even", "worst"), ("break_even_spread", "spread")):
            if f"class_{name}" in values:
                rows.append((called, what, float(values[f"class_{name}"].values[k]), None, None))
    words = {
        "wrong": "labels that are wrong",
        "worst": "even, if wrong agree",
        "spread": "even, if spread",
    }
    there = [w for key, w in words.items() if any(r[1] == key for r in rows)]
    data = inline_rows(
        cell=[r[0] for r in rows],
        what=[words[r[1]] for r in rows],
        value=[r[2] for r in rows],
        low=[r[3] for r in rows],
        high=[r[4] for r in rows],
    )
    order = list(dict.fromkeys(r[0] for r in rows))
    x = alt.X("value:Q", title="share of labels", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="~%"))
    y = alt.Y("cell:N", sort=order, title=None, axis=alt.Axis(labelLimit=260))
    colour = alt.Color("what:N", sort=there, scale=alt.Scale(domain=there, range=[WARN, INK, "#8fb8e0"]), legend=LEGEND)
    tips = ["cell:N", "what:N", *(alt.Tooltip(f"{n}:Q", format=".1%") for n in ("value", "low", "high"))]
    base = alt.Chart(data).encode(y=y, color=colour)
    bands = base.mark_rule(strokeWidth=3, opacity=0.45).encode(x=alt.X("low:Q"), x2="high:Q")
    points = base.mark_point(filled=True, size=60, opacity=1).encode(x=x, tooltip=tips)
    chance = alt.Chart(inline_rows(value=[0.5])).mark_rule(color=NULL, strokeDash=[4, 3]).encode(x="value:Q")
    return finished(alt.layer(chance, bands, points), height=max(90, ROW * len(order) + 20))


MOST_PROMPTS = 40


def prompts_chart(reading: Measured) -> Any:
    """Prompt by prompt, the most scattered first: isotropy with its jackknife interval; grey, where 95 % of shuffled
    answers lie."""
    values = reading.values
    scores = values["prompt_isotropy"].values
    order = np.argsort(-scores, kind="stable")
    if len(order) > MOST_PROMPTS:  # both ends
        order = np.r_[order[: MOST_PROMPTS // 2], order[-MOST_PROMPTS // 2 :]]
    names = [f"{k + 1}. {str(values['prompt'].values[i])[:40]}" for k, i in enumerate(order)]
    columns = {
        name: values[f"prompt_{column}"].values[order] if f"prompt_{column}" in values else [None] * len(order)
        for name, column in (
            ("score", "isotropy"),
            ("low", "isotropy_low"),
            ("high", "isotropy_high"),
            ("start", "null_low"),
            ("end", "null_high"),
            ("percentile", "percentile"),
            ("cosine", "cosine"),
        )
    }
    rows = inline_rows(prompt=names, **columns)
    y = alt.Y("prompt:N", sort=names, title=None, axis=alt.Axis(labelLimit=300))
    tips = [
        "prompt:N",
        *(alt.Tooltip(f"{n}:Q", format=".3g") for n in ("score", "low", "high", "percentile", "cosine")),
    ]
    base = alt.Chart(rows).encode(y=y)
    title = "isotropy of the answers [nats]; grey: 95 % of shuffled answers"
    band = base.mark_rule(color=NULL, strokeWidth=9, opacity=0.3).encode(
        x=alt.X("start:Q", title=title, scale=alt.Scale(zero=False)), x2="end:Q"
    )
    bars = base.mark_rule(color=INK, strokeWidth=2, opacity=0.6).encode(x=alt.X("low:Q"), x2="high:Q")
    points = base.mark_point(color=INK, filled=True, size=60).encode(
        x=alt.X("score:Q", title=title, scale=alt.Scale(zero=False)), tooltip=tips
    )
    return finished(alt.layer(band, bars, points), height=max(60, ROW * len(names)))


def tuning_chart(reading: Measured) -> Any:
    """The bound by the number of comparisons, with those that were made; where candidates are known, their scores in
    order with the best so far, and how far the best may be from fresh rows."""
    values, found = reading.values, {figure.name: figure for figure in reading.figures}
    x = alt.X("rounds:Q", title="comparisons on these rows", scale=alt.Scale(type="log"))
    y = alt.Y("bound:Q", title="largest gap to fresh rows", scale=alt.Scale(domain=[0, 1], clamp=True))
    curve = inline_rows(rounds=values["comparisons"].values, bound=values["bound_by_rounds"].values)
    made = inline_rows(rounds=[max(1.0, found["rounds"].value)], bound=[found["bound"].value])
    line = alt.Chart(curve).mark_line(color=INK).encode(x=x, y=y)
    point = (
        alt.Chart(made).mark_point(filled=True, size=90, color=WARN).encode(x=x, y=y, tooltip=["rounds:Q", "bound:Q"])
    )
    below = alt.layer(line, point).properties(width=WIDTH, height=150)
    if "candidate_score" not in values:
        return styled(below)
    scores, bound = values["candidate_score"].values, found["bound"].value
    best = np.maximum.accumulate(scores)
    names = [str(c) for c in values["candidate"].values]
    low, high = np.clip(best - bound, 0, 1), np.clip(best + bound, 0, 1)
    rows = inline_rows(place=np.arange(len(scores)), score=scores, best=best, low=low, high=high, candidate=names)
    base = alt.Chart(rows).encode(x=alt.X("place:Q", title="candidates in order", axis=alt.Axis(format="d")))
    scale = alt.Scale(zero=False)
    band = base.mark_area(color=INK, opacity=0.12).encode(
        y=alt.Y("low:Q", title="share right", scale=scale), y2="high:Q"
    )
    so_far = base.mark_line(color=INK, interpolate="step-after").encode(y=alt.Y("best:Q", scale=scale))
    each = base.mark_point(color=NULL, filled=True, size=45).encode(y="score:Q", tooltip=["candidate:N", "score:Q"])
    above = alt.layer(band, so_far, each).properties(width=WIDTH, height=170)
    return styled(alt.vconcat(above, below))


def generations_chart(reading: Measured) -> Any:
    """Measured errors by generation (or rows, both axes by logs), and the forms that were fitted, the best one blue."""
    values = reading.values
    logs = bool(int(values["by_rows"]))
    place, errors = values["place"].values, values["error"].values
    order = np.argsort(place, kind="stable")
    forms = [str(f) for f in values["form"].values]
    x = alt.X("place:Q", title="rows" if logs else "generation", scale=alt.Scale(type="log" if logs else "linear"))
    y = alt.Y("error:Q", title="error", scale=alt.Scale(type="log" if logs else "linear", zero=False))
    lines = [
        (form, float(place[i]), float(values["fitted"].values[k][i])) for k, form in enumerate(forms) for i in order
    ]
    rows = inline_rows(form=[r[0] for r in lines], place=[r[1] for r in lines], error=[r[2] for r in lines])
    shades = [INK, "#8fb8e0", NULL, "#c9ced6"][: len(forms)]
    colour = alt.Color("form:N", sort=forms, scale=alt.Scale(domain=forms, range=shades), legend=LEGEND)
    curves = alt.Chart(rows).mark_line(strokeWidth=2).encode(x=x, y=y, color=colour)
    measured = alt.Chart(inline_rows(place=place, error=errors)).mark_point(filled=True, size=55, color=WARN)
    return finished(alt.layer(curves, measured.encode(x=x, y=y, tooltip=["place:Q", "error:Q"])), height=260)
