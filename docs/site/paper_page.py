"""The page "What the papers say and what came out here", from the rows of the short forms of all reproductions.

The rows are those of `make reproduce-short` (docs/_build/short_rows.json) where it has run, else the ones that
`python reproductions/run_all.py --short --out reproductions/short_rows.json` wrote last.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from kept import BUILD, ROOT
from tables import table

from cutaway import reproductions
from cutaway.reproductions.row import REFERENCES

WORDS = {"pass": "yes", "fail": "**no**", "report": "not judged", "not run": "not run"}


@cache
def results() -> dict[str, dict[str, Any]]:
    """Name -> title, source, outcome, seconds and rows of each reproduction."""
    fresh, last = BUILD / "short_rows.json", ROOT / "reproductions" / "short_rows.json"
    return json.loads((fresh if fresh.exists() else last).read_text(encoding="utf-8"))["reproductions"]


def outcome_words(result: dict[str, Any]) -> str:
    """`3 of 4 rows came out`."""
    judged = [r for r in result["rows"] if r["verdict"] in ("pass", "fail")]
    good = sum(r["verdict"] == "pass" for r in judged)
    return f"{good} of {len(judged)} rows that can fail came out" if judged else "nothing in it can be judged"


def write(source: Path) -> None:
    """`papers.md`."""
    found = results()
    kinds = [r["reference"] for result in found.values() for r in result["rows"]]
    judged = [r for result in found.values() for r in result["rows"] if r["verdict"] in ("pass", "fail")]
    good = sum(r["verdict"] == "pass" for r in judged)
    legend = table(
        ("kind", "what ours is held against", "rows"), [(k, w, kinds.count(k)) for k, w in REFERENCES.items()]
    )
    parts = [
        "# What the papers say and what came out here",
        f"{len(found)} reproductions in their short forms (`make reproduce-short`), {len(kinds)} rows; of the "
        f"{len(judged)} that can fail, {good} came out. Short forms have smaller networks and wider tolerances; what "
        "the long ones gave stands in the guides: [slices](geometry.md), [certification](certification.md), "
        "[delayed robustness](delayed_robustness.md), [robustness sooner](robust_training.md), "
        "[feature learning](feature_learning.md), [guardrails](guard.md).",
        legend,
        _summary(found),
    ]
    if absent := sorted(set(reproductions.reproduction_names()) - set(found)):
        parts.append("Without rows here, since they have not run in their short form: " + ", ".join(absent) + ".")
    parts += [_section(name, result) for name, result in found.items()]
    (source / "papers.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _summary(found: dict[str, dict[str, Any]]) -> str:
    rows = [(f"[{r['title']}](#{n})", r["source"], outcome_words(r)) for n, r in found.items()]
    return table(("reproduction", "source", "what came out"), rows)


def _section(name: str, result: dict[str, Any]) -> str:
    rows = [
        (r["quantity"], r["paper"], r["reference"], r["ours"], _span(r), r["tolerance"], WORDS[r["verdict"]])
        for r in result["rows"]
    ]
    heads = ("quantity", "held against", "kind", "ours", "interval", "agree when", "agrees")
    return (
        f"({name})=\n## {result['title']}\n\n{result['source']}. `cutaway reproduce {name} --short`: "
        f"{outcome_words(result)}, {result['seconds']:.0f} s.\n\n{table(heads, rows)}"
    )


def _span(row: dict[str, Any]) -> str:
    return "" if row["low"] is None else f"{row['low']:.4g} to {row['high']:.4g}"
