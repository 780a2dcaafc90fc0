"""`cutaway compare RUN_A RUN_B ...`: two or more checkpoints side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from cutaway.cli.command import Outcome, new_app
from cutaway.errors import FileError, InputError

app = new_app("compare")

REGRESSION = 3
"""Exit code where a later run is worse than the first and `--fail-on regression` was given."""


@app.default
def compare(
    run_a: Path, run_b: Path, *more: Path, out: Path | None = None, fail_on: Literal["regression"] | None = None
) -> Outcome:
    """Runs side by side: every figure, the difference, and whether it is more than noise.

    Every further run is compared with the first.

    Parameters
    ----------
    run_a
        First run folder: what was there before.
    run_b
        Second run folder: what is there now.
    more
        Further run folders, each compared with the first.
    out
        Write a page to this file.
    fail_on
        `regression`: exit code 3 where some figure is worse than in the first run by more than noise (for continuous
        integration).
    """
    from cutaway.comparing import LETTERS, MEANING, against_first, told_of_all
    from cutaway.running import open_run

    folders = [run_a, run_b, *more]
    if len(folders) > len(LETTERS):
        raise InputError(
            "cutaway compare",
            found=f"{len(folders)} runs",
            expected=f"at most {len(LETTERS)}",
            remedy="compare them in groups, each with the same first run",
        )
    runs = [open_run(folder) for folder in folders]
    lost = [each for run in runs for each in run.unread] if fail_on else []
    if lost:
        raise FileError(
            f"reading of {lost[0].what}",
            found=lost[0].reason,
            expected="every reading of every run where --fail-on decides",
            remedy="make it again with cutaway scan --resume, or compare without --fail-on",
        )
    rows, notes = against_first(runs)
    worse = [_called(row, len(runs)) for row in rows if row["change"] == "worse"]
    lines = [told_of_all(rows, notes, [str(folder) for folder in folders]), ""]
    shown = _table(rows, len(runs))
    wide = [max(len(row[k]) for row in shown) for k in range(len(shown[0]))]
    lines += ["  ".join(f"{cell:{_aligned(k)}{wide[k]}}" for k, cell in enumerate(row)).rstrip() for row in shown]
    lines += ["", MEANING]
    payload: dict[str, Any] = {"runs": [str(folder) for folder in folders], "differences": rows}
    payload |= {"notes": notes, "worse": worse}
    if out is not None:
        from cutaway.report.compare_page import write_comparison

        payload["page"] = str(write_comparison(runs, rows, notes, out))
        lines.append(f"page: {out}")
    code = REGRESSION if fail_on and worse else 0
    return Outcome(payload=payload, words="\n".join(lines), code=code)


def _called(row: dict, many: int) -> str:
    """A figure that is worse, with the letter of its run where there are several."""
    from cutaway.comparing import LETTERS

    return f"{row['instrument']}/{row['name']}" + (f" ({LETTERS[row['run']]})" if many > 2 else "")


def _aligned(column: int) -> str:
    """Words to the left, numbers to the right: A, then value, p and change of each further run."""
    return "<" if column < 2 or (column % 3 == 2 and column > 2) else ">"


def _table(rows: list[dict], many: int) -> list[tuple[str, ...]]:
    """The head and a line a figure: A, then value, p and change of each further run."""
    from cutaway.comparing import LETTERS
    from cutaway.wording import said, title

    lines: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        empty = [title(row["instrument"]), row["long_name"], said(row["a"], ".4g"), *["–"] * 3 * (many - 1)]
        line = lines.setdefault((row["instrument"], row["name"]), empty)
        p = "–" if row["p_value"] is None else f"{row['p_value']:.2g}"
        line[3 * row["run"] : 3 * row["run"] + 3] = [said(row["b"], ".4g"), p, row["change"]]
    heads = [head for place in range(1, many) for head in (LETTERS[place], "p", "change")]
    return [("instrument", "figure", "A", *heads), *map(tuple, lines.values())]
