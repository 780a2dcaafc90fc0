"""`cutaway compare RUN_A RUN_B`: two checkpoints side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cutaway.cli.command import Outcome, new_app

app = new_app("compare", "Two runs side by side: every figure, the difference, and whether it is more than noise.")

REGRESSION = 3
"""Exit code where B is worse and `--fail-on regression` was given."""


@app.default
def compare(
    run_a: Path, run_b: Path, *, out: Path | None = None, fail_on: Literal["regression"] | None = None
) -> Outcome:
    """Compare the figures of two run folders.

    Parameters
    ----------
    run_a
        First run folder: what was there before.
    run_b
        Second run folder: what is there now.
    out
        Write a page to this file.
    fail_on
        `regression`: exit code 3 where some figure of B is worse by more than noise (for continuous integration).
    """
    from cutaway.comparing import MEANING, differences, told
    from cutaway.running import open_run

    a, b = open_run(run_a), open_run(run_b)
    rows, notes = differences(a, b)
    worse = [f"{row['instrument']}/{row['name']}" for row in rows if row["change"] == "worse"]
    lines = [told(rows, notes, str(run_a), str(run_b)), ""]
    shown = [("instrument", "figure", "a", "b", "p", "change"), *map(_shown, rows)]
    wide = [max(len(row[k]) for row in shown) for k in range(6)]
    lines += ["  ".join(f"{cell:{_ALIGNED[k]}{wide[k]}}" for k, cell in enumerate(row)).rstrip() for row in shown]
    lines += ["", MEANING]
    payload = {"differences": rows, "notes": notes, "worse": worse}
    if out is not None:
        from cutaway.report.compare_page import write_comparison

        payload["page"] = str(write_comparison(a, b, rows, notes, out))
        lines.append(f"page: {out}")
    code = REGRESSION if fail_on and worse else 0
    return Outcome(payload=payload, words="\n".join(lines), code=code)


_ALIGNED = "<<>>><"


def _shown(row: dict) -> tuple[str, ...]:
    from cutaway.wording import said, title

    p = "–" if row["p_value"] is None else f"{row['p_value']:.2g}"
    return title(row["instrument"]), row["long_name"], said(row["a"], ".4g"), said(row["b"], ".4g"), p, row["change"]
