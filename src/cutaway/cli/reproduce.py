"""`cutaway reproduce NAME`: run a published result and compare; `--list` names them."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Seed
from cutaway.errors import InputError

app = new_app("reproduce")


@app.default
def reproduce(
    name: str | None = None, *, list: bool = False, short: bool = False, seed: Seed = 0, out: Path | None = None
) -> Outcome:
    """Run a published result and compare it with the paper.

    Parameters
    ----------
    name
        Which one; `--list` names them.
    list
        List the reproductions.
    short
        A form that takes about a minute; its tolerances are wider and it says so.
    out
        File for the table as JSON.
    """
    import dataclasses
    import json

    from cutaway import reproductions
    from cutaway.files import write_text
    from cutaway.jsonable import clean
    from cutaway.reproductions.row import outcome

    if list:
        rows = []
        for each in reproductions.reproduction_names():
            module = reproductions.get(each)
            rows.append(
                {
                    "name": each,
                    "title": module.TITLE,
                    "source": module.SOURCE,
                    "references": reproductions.references(each),
                }
            )
        return Outcome(
            payload={"reproductions": rows},
            words="\n".join(
                f"{r['name']:<28} {r['title']} ({r['source']}); held against: {', '.join(r['references'])}"
                for r in rows
            ),
        )
    if name is None:
        raise InputError(
            "command reproduce",
            found="no name",
            expected="one of " + ", ".join(reproductions.reproduction_names()),
            remedy="give one of these names",
        )
    module = reproductions.get(name)
    began = time.perf_counter()
    rows = module.reproduce(short=short, seed=seed, progress=lambda text: print(text, file=sys.stderr, flush=True))
    table = [dataclasses.asdict(r) for r in rows]
    told = outcome(rows)
    payload = {
        "name": name,
        "title": module.TITLE,
        "source": module.SOURCE,
        "passed": told == "passed",
        "outcome": told,
        "short": short,
        "rows": table,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": sum(os.times()[:4]),
    }
    if out is not None:
        write_text(out, json.dumps(clean(payload), indent=1))
    return Outcome(payload=payload, words=_words(payload, table), code=1 if told == "failed" else 0)


def _words(payload: dict, table: list) -> str:
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=f"{payload['title']} ({payload['source']})")
    for column in ("quantity", "held against", "kind", "ours", "interval", "tolerance", "verdict"):
        grid.add_column(column)
    for row in table:
        span = "" if row["low"] is None else f"{row['low']:.4g} to {row['high']:.4g}"
        grid.add_row(
            row["quantity"],
            _cell(row["paper"]),
            row["reference"],
            _cell(row["ours"]),
            span,
            _cell(row["tolerance"]),
            row["verdict"],
        )
    console = Console(width=165)
    with console.capture() as captured:
        console.print(grid)
    verdict = {
        "failed": "NOT passed",
        "nothing judged": "nothing judged (no row of it can fail)",
        "not run": "not run (its data are missing)",
    }
    told = verdict.get(payload["outcome"], payload["outcome"])
    return f"{captured.get()}{payload['name']}: {told} in {payload['seconds']:.0f} s" + (
        " (short form)" if payload["short"] else ""
    )


def _cell(value) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
