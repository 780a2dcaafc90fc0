"""What the training film draws beside its lines: the time axis, phases as shaded spans, onsets as dashed rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from cutaway.pictures.charts import INK, NULL, WARN, inline_rows
from cutaway.training.phases import Phases

COLOURS = (INK, WARN, "#3b8f5c", "#8a4fa3", "#b3435b", NULL, "#5a7d9a", "#c2a12e")
PHASE_COLOURS = {"descent": "#dfe3e8", "ascent": "#f6e3cb", "second descent": "#d5e4f4"}
GREY = "#5b6472"
ZERO = 0.5
"""Where step 0 is drawn on the logarithmic axis."""


def time_axis(last: int, field: str = "start:Q") -> alt.X:
    """Training steps from 0 to `last`, logarithmic."""
    axis = alt.Axis(format="~s", tickCount=6, grid=False)
    scale = alt.Scale(type="log", domain=[ZERO, last], nice=False)
    return alt.X(field, title="training step", scale=scale, axis=axis)


def phase_layers(phases: Phases, last: int) -> list[Any]:
    """Each phase that is there as a shaded span with its name; a darker strip where its bootstrap ends it."""
    layers: list[Any] = []
    for phase in phases.phases:
        if not phase.present:
            continue
        ends = inline_rows(start=[max(phase.start, ZERO)], end=[max(phase.end, ZERO)], name=[phase.name])
        unsure = inline_rows(start=[max(phase.end_low, ZERO)], end=[max(phase.end_high, ZERO)])
        shade = alt.Chart(ends).mark_rect(opacity=0.75, color=PHASE_COLOURS[phase.name])
        layers.append(shade.encode(x=time_axis(last), x2="end:Q"))
        if phase.end_high > phase.end_low:
            strip = alt.Chart(unsure).mark_rect(opacity=0.18, color=GREY)
            layers.append(strip.encode(x="start:Q", x2="end:Q"))
        layers.append(_words(ends, phase.start, last, y=4).encode(x="start:Q"))
    return layers


def mark_layers(marks: Sequence[dict[str, Any]], last: int, height: int) -> list[Any]:
    """Each onset as a dashed rule with its name, shaded over its interval."""
    layers: list[Any] = []
    for k, mark in enumerate(marks):
        data = inline_rows(**{key: [value] for key, value in mark.items()})
        base = alt.Chart(data)
        layers.append(base.mark_rect(opacity=0.1, color=GREY).encode(x=time_axis(last, "low:Q"), x2="high:Q"))
        layers.append(base.mark_rule(strokeDash=[4, 3], color=GREY).encode(x="step:Q"))
        layers.append(_words(data, mark["step"], last, y=height - 16 - 14 * k).encode(x="step:Q"))
    return layers


def _words(data: Any, step: float, last: int, *, y: int) -> Any:
    """A word beside a step, on the side where there is room, `y` pixels from the panel's top."""
    right = math.log(max(step, ZERO) / ZERO) > 0.6 * math.log(last / ZERO)
    mark = alt.Chart(data).mark_text(
        align="right" if right else "left", baseline="top", dx=-4 if right else 4, fontSize=10, color=GREY
    )
    return mark.encode(y=alt.value(y), text="name:N")
