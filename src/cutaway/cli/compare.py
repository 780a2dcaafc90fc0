"""`cutaway compare RUN_A RUN_B`: two checkpoints side by side."""

from __future__ import annotations

from pathlib import Path

from cutaway.cli.command import Outcome, new_app

app = new_app("compare", "Two runs side by side: every figure, the difference, and whether it is more than noise.")


@app.default
def compare(run_a: Path, run_b: Path) -> Outcome:
    """Compare the figures of two run folders.

    Parameters
    ----------
    run_a
        First run folder.
    run_b
        Second run folder.
    """
    from cutaway.comparing import differences
    from cutaway.running import open_run

    rows, notes = differences(open_run(run_a), open_run(run_b))
    lines = [f"{'instrument':<20} {'figure':<28} {'a':>10} {'b':>10} {'p':>8}"]
    for row in rows:
        p = "–" if row["p_value"] is None else f"{row['p_value']:.2g}"
        lines.append(f"{row['instrument']:<20} {row['name']:<28} {row['a']:>10.4g} {row['b']:>10.4g} {p:>8}")
    return Outcome(payload={"differences": rows, "notes": notes}, words="\n".join([*lines, *notes]))
