"""The page of a comparison: what changed between runs beyond noise, tile by tile, then every figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from cutaway import registry
from cutaway.comparing import LETTERS, MEANING, told_of_all
from cutaway.files import write_text
from cutaway.instrument import Tile
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


ORDER = ("worse", "better", "different", "same", "unknown")
"""Changes as they are listed, the gravest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A tile: the values, what the gravest change is called, and all intervals drawn on one scale."""

    title: str
    values: str
    word: str
    says: str
    strip: Markup


def write_comparison(runs: Sequence[Run], rows: list[dict[str, Any]], notes: list[str], path: str | Path) -> Path:
    """Write the page on `rows` (of `comparing.against_first`) to `path`; returns it. It loads nothing from outside."""
    seen: set[str] = set()
    names = run_names(runs)
    environment = page_environment()
    environment.filters.update(chance=chance, marked=lambda text: marked(text, seen), title=title)
    html = environment.get_template("compare.html").render(
        runs=list(zip(LETTERS, names, runs, strict=False)),
        verdict=told_of_all(rows, [], names),
        tiles=_tiles(runs, rows),
        lines=_lines(rows, len(runs)),
        says=SAYS,
        meaning=MEANING,
        notes=notes,
    )
    return write_text(Path(path), html)


def run_names(runs: Sequence[Run]) -> list[str]:
    """What runs are called: by their networks, by their folders where some of these are the same."""
    names = [run.network["name"] for run in runs]
    return names if len(set(names)) == len(names) else [run.folder.name for run in runs]


def _lines(rows: list[dict[str, Any]], many: int) -> list[dict[str, Any]]:
    """A line a figure: what all runs give, and the change of each further one; the gravest first."""
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        empty: dict[str, Any] = {"cells": [None] * (many - 1)}
        line = lines.setdefault((row["instrument"], row["name"]), {**row, **empty})
        line["cells"][row["run"] - 1] = row
    return sorted(lines.values(), key=lambda line: min(_gravity(cell) for cell in line["cells"] if cell))


def _gravity(row: dict[str, Any]) -> tuple[int, float]:
    return ORDER.index(row["change"]), 2.0 if row["p_value"] is None else row["p_value"]


def _tiles(runs: Sequence[Run], rows: list[dict[str, Any]]) -> list[Beside]:
    figures = [{(r.instrument, f.name): f for r in run.readings for f in r.figures} for run in runs]
    kinds = [registry.instrument(r.instrument) for r in runs[0].readings if r.instrument in registry.names()]
    wanted = sorted(((t, kind.name) for kind in kinds for t in kind.tiles), key=lambda entry: entry[0].rank)
    tiles = []
    for tile, name in wanted:
        found = [f[name, tile.figure] for f in figures if (name, tile.figure) in f]
        if len(found) == len(runs) and math.isfinite(sum(f.value for f in found)):
            changes = [row["change"] for row in rows if (row["instrument"], row["name"]) == (name, tile.figure)]
            tiles.append(_tile(tile, found, changes))
    return tiles[:MOST]


def _tile(tile: Tile, figures: list[Figure], changes: list[str]) -> Beside:
    word = min(changes, key=ORDER.index)
    whose = [letter for letter, change in zip(LETTERS[1:], changes, strict=False) if change == word]
    says = SAYS[word] if len(changes) == 1 or word == "same" else f"{' and '.join(whose)}: {SAYS[word]}"
    values = (" → " if len(figures) == 2 else " · ").join(shown_number(f.value, percent=tile.percent) for f in figures)
    return Beside(title=tile.title, values=values, word=word, says=says, strip=comparison_strip(figures))


def comparison_strip(figures: Sequence[Figure]) -> Markup:
    """Values with their intervals on one scale, one below the other; the first is a ring."""
    places = [v for f in figures for v in (f.value, f.low, f.high) if v is not None and math.isfinite(v)]
    scale = Scale.over(places)
    parts, height = [], 16 * len(figures)
    for row, figure in enumerate(figures):
        y = 8 + 16 * row
        ends = [v for v in (figure.low, figure.high) if v is not None and math.isfinite(v)]
        bar = f'<path class="range" d="M{scale(min(ends))} {y}H{scale(max(ends))}"/>' if len(ends) == 2 else ""
        shape = f'<circle class="mark {LETTERS[row]}" cx="{scale(figure.value)}" cy="{y}" r="5"/>'
        parts.append(f"{bar}{shape}")
    label = escape(", ".join(f"{letter} {f.value:.3g}" for letter, f in zip(LETTERS, figures, strict=False)))
    return Markup(
        f'<svg class="strip many" style="height: {height}px" viewBox="0 0 {Scale.width} {height}" role="img" '
        f'aria-label="{label}"><title>{label}</title>' + "".join(parts) + "</svg>"
    )
