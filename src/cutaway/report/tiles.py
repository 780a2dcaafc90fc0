"""The tiles of a report's first screen: a number, its interval, and where it stands among its null, at a glance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup, escape

from cutaway import registry
from cutaway.instrument import Tile
from cutaway.reading import Figure, Reading
from cutaway.report.words import Decisions
from cutaway.wording import counted, null_words

MOST = 6
"""Tiles on a page: what is read in twenty seconds."""

_HEIGHT = 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A tile ready for the page. word: `apart`, `alike`, `open` or `none` (no null), the colour; says: the same in
    words; strip: the null's draws with the network's mark, SVG."""

    title: str
    value: str
    interval: str
    word: str
    says: str
    strip: Markup
    instrument: str


def tiles(readings: tuple[Reading, ...], decisions: Decisions) -> list[Shown]:
    """The first `MOST` tiles of the instruments that were run, by their rank."""
    found: list[tuple[Tile, Reading, Figure]] = []
    for reading in readings:
        kind = registry.instrument(reading.instrument) if reading.instrument in registry.names() else None
        by_name = {f.name: f for f in reading.figures}
        found += [(t, reading, by_name[t.figure]) for t in (kind.tiles if kind else ()) if t.figure in by_name]
    found.sort(key=lambda entry: entry[0].rank)
    return [_shown(*entry, decisions) for entry in found if math.isfinite(entry[2].value)][:MOST]


def _shown(tile: Tile, reading: Reading, figure: Figure, decisions: Decisions) -> Shown:
    decision = decisions.get((reading.instrument, figure.name))
    words = null_words(reading.null)
    says = {
        None: "no null was drawn",
        "apart": f"told apart from {words.long}",
        "alike": f"not told apart from {words.long}",
        "open": "too few nulls to tell",
    }[decision.word if decision else None]
    return Shown(
        title=tile.title,
        value=shown_number(figure.value, percent=tile.percent) + ("" if tile.percent else _unit(figure.unit)),
        interval=_interval(figure, tile),
        word=decision.word if decision else "none",
        says=says,
        strip=strip(figure, words.short),
        instrument=reading.instrument,
    )


def shown_number(value: float, *, percent: bool) -> str:
    """97.3%, 0.021 or 1,204."""
    if percent:
        return f"{100 * value:.3g}%"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _unit(unit: str) -> str:
    return "" if unit == "1" else f" {unit}"


def _interval(figure: Figure, tile: Tile) -> str:
    if figure.low is None or figure.high is None or not math.isfinite(figure.low + figure.high):
        return ""
    if figure.sure:
        return f"± {figure.error:.1g} (bound)"
    low, high = (shown_number(v, percent=tile.percent) for v in (figure.low, figure.high))
    return f"{low.removesuffix(' %')} to {high}"


@dataclass(frozen=True, slots=True)
class Scale:
    """Places on a strip: `low` to `low + span` over its width."""

    low: float
    span: float
    width: ClassVar[int] = 200
    pad: ClassVar[int] = 6

    @classmethod
    def over(cls, places: list[float]) -> Scale:
        return cls(min(places), (max(places) - min(places)) or 1.0)

    def __call__(self, value: float) -> str:
        return f"{self.pad + (value - self.low) / self.span * (self.width - 2 * self.pad):.1f}"


def strip(figure: Figure, null: str) -> Markup:
    """The null's draws as ticks and the network's value as a dot on one scale, with its interval; empty without
    draws."""
    if not figure.null_draws:
        return Markup("")
    ends = [v for v in (figure.low, figure.high) if v is not None and math.isfinite(v)]
    x = Scale.over([*figure.null_draws, figure.value, *ends])
    middle = _HEIGHT // 2
    ticks = "".join(f'<path class="draw" d="M{x(v)} {middle - 7}v14"/>' for v in figure.null_draws)
    bar = f'<path class="range" d="M{x(min(ends))} {middle}H{x(max(ends))}"/>' if len(ends) == 2 else ""
    drawn = figure.null_draws
    told = f"{counted(len(drawn), 'null')} ({null}) from {min(drawn):.3g} to {max(drawn):.3g}"
    label = escape(f"This network: {figure.value:.3g}; {told}")
    return Markup(
        f'<svg class="strip" viewBox="0 0 {Scale.width} {_HEIGHT}" role="img" aria-label="{label}">'
        f"<title>{label}</title>"
        f'{ticks}{bar}<circle class="mark" cx="{x(figure.value)}" cy="{middle}" r="5"/></svg>'
    )
