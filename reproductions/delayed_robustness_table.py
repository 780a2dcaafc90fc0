"""The table and the figure of docs/delayed_robustness.md, from the runs that are finished.

    python reproductions/delayed_robustness_table.py [FOLDER]     (runs/delayed-robustness)

`cutaway reproduce delayed-robustness` makes the runs, hours of one core in all, and keeps each as it ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from cutaway.reproductions import delayed_robustness as study
from cutaway.reproductions._robustness_runs import Plan

COLUMNS = ("quantity", "held against", "ours", "95 %", "judged by", "verdict")


def main() -> int:
    """Print the table in Markdown and write the figure beside the runs."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/delayed-robustness")
    found = {plan: run for plan in study.plans(0) if (run := finished(folder, plan)) is not None}
    if not found:
        print(f"no finished run in {folder}: cutaway reproduce delayed-robustness makes them", file=sys.stderr)
        return 2
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for row in study.report(found, folder):
        paper = "–" if row.paper is None else f"{cell(row.paper)} ({row.reference})"
        span = "" if row.low is None or row.high is None else f"{row.low:.3f} to {row.high:.3f}"
        told = (row.quantity, paper, cell(row.ours), span, cell(row.tolerance), row.verdict)
        print("| " + " | ".join(text.replace(" | ", " <br> ") for text in told) + " |")
    return 0


def finished(folder: Path, plan: Plan) -> dict[str, np.ndarray] | None:
    """A run as it was kept, or None where it is not there or was made by another plan."""
    file = folder / f"{plan.name}.npz"
    if not file.exists():
        return None
    with np.load(file) as archive:
        return {n: archive[n] for n in archive.files if n != "plan"} if str(archive["plan"]) == repr(plan) else None


def cell(value: float | str) -> str:
    """A number to three places, words as they are."""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
