"""The first screen of a training page: how the main measures ended, with their course; the table of last values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from cutaway.report.film import RIGHT, right_answers, tile_of
from cutaway.report.film_marks import ZERO
from cutaway.report.tiles import MOST, shown_number
from cutaway.training.store import Series, TrainingRun
from cutaway.wording import said, title

_WIDTH, _HEIGHT, _PAD = 200, 34, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A measure at its last step on one data set: its name, value and interval in words, and its course as SVG."""

    title: str
    value: str
    interval: str
    course: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRow:
    """A figure in the table of last values: its words, and a cell (value, interval; empty) a data set."""

    words: str
    unit: str
    cells: tuple[tuple[str, str], ...]


def ended(run: TrainingRun) -> list[Ended]:
    """At most `MOST` tiles: what the instruments show first, on held-out data where there is any, by their rank."""
    held_out = next((s.data for s in run.series.values() if s.data != "train"), "train")
    right, found = right_answers(run), []
    for series in run.series.values():
        tile = tile_of(run, series)
        doubled = series.figure in RIGHT and series not in right
        if tile is None or series.data != held_out or doubled or not np.isfinite(series.value).any():
            continue
        k = int(np.flatnonzero(np.isfinite(series.value))[-1])
        value = shown_number(float(series.value[k]), percent=tile.percent)
        unit = "" if tile.percent or series.unit == "1" else f" {series.unit}"
        ends = (float(series.low[k]), float(series.high[k]))
        low, high = (shown_number(v, percent=tile.percent) for v in ends) if all(map(math.isfinite, ends)) else ("", "")
        interval = f"{low} to {high}" if low else ""
        name = f"{tile.title} on {series.data}"
        found.append((tile.rank, Ended(title=name, value=value + unit, interval=interval, course=course(series, name))))
    found.sort(key=lambda pair: pair[0])
    return [tile for _, tile in found][:MOST]


def course(series: Series, name: str) -> Markup:
    """The series over log time as a line with its last value marked, SVG; empty for fewer than two values."""
    known = np.isfinite(series.value)
    if known.sum() < 2:
        return Markup("")
    steps, value = np.log(np.maximum(series.steps[known], ZERO)), series.value[known]
    x = _PAD + (steps - steps[0]) / max(float(np.ptp(steps)), 1e-12) * (_WIDTH - 2 * _PAD)
    y = _HEIGHT - _PAD - (value - value.min()) / (float(np.ptp(value)) or 1.0) * (_HEIGHT - 2 * _PAD)
    line = "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
    label = escape(f"{name}: from {said(value[0])} at the first measurement to {said(value[-1])} at the last")
    return Markup(
        f'<svg class="course" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}"><title>{label}</title>'
        f'<path d="M{line}"/><circle class="mark" cx="{x[-1]:.1f}" cy="{y[-1]:.1f}" r="4"/></svg>'
    )


def last_values(run: TrainingRun) -> tuple[list[str], list[tuple[str, list[LastRow]]]]:
    """The data sets, and for each instrument its figures with a cell a data set."""
    sets = list(dict.fromkeys(s.data for s in run.series.values()))
    groups: dict[str, dict[str, dict[str, Series]]] = {}
    for s in run.series.values():
        groups.setdefault(s.instrument, {}).setdefault(s.figure, {})[s.data] = s
    return sets, [
        (
            title(instrument),
            [_row(list(by_set.values()), [by_set.get(name) for name in sets]) for by_set in figures.values()],
        )
        for instrument, figures in groups.items()
    ]


def _row(known: Sequence[Series], cells: Sequence[Series | None]) -> LastRow:
    unit = "" if known[0].unit == "1" else known[0].unit
    return LastRow(words=known[0].words, unit=unit, cells=tuple(_cell(s) for s in cells))


def _cell(series: Series | None) -> tuple[str, str]:
    if series is None:
        return ("not measured", "")
    low, high = float(series.low[-1]), float(series.high[-1])
    return said(series.value[-1]), f"{said(low)} to {said(high)}" if math.isfinite(low) and math.isfinite(high) else ""
