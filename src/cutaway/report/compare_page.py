"""The page of a comparison: what changed between two runs beyond noise, tile by tile, then every figure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from cutaway import registry
from cutaway.comparing import MEANING, told
from cutaway.files import write_text
from cutaway.reading import Figure
from cutaway.report.glossary import marked
from cutaway.report.page import chance, page_environment
from cutaway.report.tiles import MOST, Scale, shown_number
from cutaway.running import Run
from cutaway.wording import title

SAYS = {
    "worse": "worse, by more than noise",
    "better": "better, by more than noise",
    "different": "different, by more than noise",
    "same": "no more than noise",
    "unknown": "no interval to judge by",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A tile: both values, what the change is called, and both intervals drawn on one scale."""

    title: str
    values: str
    word: str
    says: str
    strip: Markup


def write_comparison(a: Run, b: Run, rows: list[dict[str, Any]], notes: list[str], path: str | Path) -> Path:
    """Write the page on `rows` (of `comparing.differences`) to `path`; returns it. It loads nothing from outside."""
    seen: set[str] = set()
    names = _names(a, b)
    environment = page_environment()
    environment.filters.update(chance=chance, marked=lambda text: marked(text, seen), title=title)
    order = {"worse": 0, "better": 1, "different": 2, "unknown": 3, "same": 4}
    html = environment.get_template("compare.html").render(
        a=a,
        b=b,
        names=names,
        verdict=told(rows, notes, *names),
        tiles=_tiles(a, b, rows),
        rows=sorted(rows, key=lambda row: (order[row["change"]], row["p_value"] if row["p_value"] is not None else 2)),
        says=SAYS,
        meaning=MEANING,
        notes=notes,
    )
    return write_text(Path(path), html)


def _names(a: Run, b: Run) -> tuple[str, str]:
    """What the two are called: by their networks, by their folders where these are the same."""
    one, other = a.network["name"], b.network["name"]
    return (one, other) if one != other else (a.folder.name, b.folder.name)


def _tiles(a: Run, b: Run, rows: list[dict[str, Any]]) -> list[Pair]:
    figures = [{(r.instrument, f.name): f for r in run.readings for f in r.figures} for run in (a, b)]
    change = {(row["instrument"], row["name"]): row["change"] for row in rows}
    kinds = [registry.instrument(r.instrument) for r in a.readings if r.instrument in registry.names()]
    wanted = sorted(((t, kind.name) for kind in kinds for t in kind.tiles), key=lambda entry: entry[0].rank)
    found = [(t, name, *(f.get((name, t.figure)) for f in figures)) for t, name in wanted]
    pairs = [
        Pair(
            title=tile.title,
            values=" → ".join(shown_number(f.value, percent=tile.percent) for f in (one, other)),
            word=change[name, tile.figure],
            says=SAYS[change[name, tile.figure]],
            strip=comparison_strip(one, other),
        )
        for tile, name, one, other in found
        if one is not None and other is not None and math.isfinite(one.value + other.value)
    ]
    return pairs[:MOST]


def comparison_strip(one: Figure, other: Figure) -> Markup:
    """Both values with their intervals on one scale, the first above the second."""
    pair = (("A", one), ("B", other))
    places = [v for _, f in pair for v in (f.value, f.low, f.high) if v is not None and math.isfinite(v)]
    scale = Scale.over(places)
    parts = []
    for row, (name, figure) in enumerate(pair):
        y = 8 + 16 * row
        ends = [v for v in (figure.low, figure.high) if v is not None and math.isfinite(v)]
        bar = f'<path class="range" d="M{scale(min(ends))} {y}H{scale(max(ends))}"/>' if len(ends) == 2 else ""
        shape = f'<circle class="mark {name}" cx="{scale(figure.value)}" cy="{y}" r="5"/>'
        parts.append(f"{bar}{shape}")
    label = escape(f"A {one.value:.3g}, B {other.value:.3g}")
    return Markup(
        f'<svg class="strip two" viewBox="0 0 {Scale.width} 32" role="img" aria-label="{label}"><title>{label}</title>'
        + "".join(parts)
        + "</svg>"
    )
