"""`cutaway theory collapse tails`: scaling laws of a memory whose data have lost their tail."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Several, check_picture
from cutaway.cli.theory._series import PICTURES, save

app = new_app("theory collapse tails")


@app.default
def tails(
    *,
    counts: Annotated[list[int] | None, Several] = None,
    beta: Annotated[
        float, Parameter(help="Exponent of the power law: of a spectrum, or of probabilities (above 1).")
    ] = 2.0,
    cut: int | None = None,
    narrowed: float | None = None,
    real_share: float = 0.0,
    past: int = 0,
    generator_rows: int = 1000,
    out: Path | None = None,
) -> Outcome:
    """Error of a memory by the rows it saw: real data, and data that were cut, narrowed or made by a model. Exact.

    Parameters
    ----------
    counts
        Rows, one or several (powers of 10 up to 10^7 when not given).
    cut
        Items that generated data hold; all when not given.
    narrowed
        Exponent of the generated data, at least beta.
    real_share
        Share of real data beside the generated ones, 0 to 1.
    past
        Generations of models that labelled the data before.
    generator_rows
        Rows of each fit before the last one.
    out
        File (.png, .pdf, .svg) for the picture.
    """
    from cutaway.dynamics.collapse_tails import TailModel

    check_picture("--out", out, PICTURES)
    rows = sorted(set(counts or [10**k for k in range(1, 8)]))
    made = TailModel(
        beta=beta,
        cut=cut,
        narrowed=narrowed,
        real_share=real_share,
        generations=past,
        generator_rows=generator_rows,
    )
    real = TailModel(beta=beta)
    series = {
        "real": [[t, float(v)] for t, v in zip(rows, real.error(rows))],
        "generated": [[t, float(v)] for t, v in zip(rows, made.error(rows))],
    }
    needed = made.real_share_needed(rows[-1])
    figures = [
        {"name": "exponent_real", "value": real.exponent},
        {"name": "exponent_generated", "value": made.exponent},
        {"name": "real_share_needed", "value": needed},
    ]
    if len(rows) > 1:
        figures.append({"name": "slope_real", "value": real.slope(rows)})
        figures.append({"name": "slope_generated", "value": made.slope(rows)})
    lines = [
        f"{t:>12,} rows: real {a:.4g}, generated {b:.4g}" for (t, a), (_, b) in zip(series["real"], series["generated"])
    ]
    if needed is not None:
        lines.append(f"a real share of {needed:.3g} lets {rows[-1]:,} rows reach past the cut")
    if out is not None:
        from cutaway.dynamics.pictures import collapse_figure

        save(collapse_figure(series, "rows", logs=True), out)
    words = "probability that a real item is not known\n" + "\n".join(lines)
    return Outcome(payload={"series": series, "figures": figures}, words=words)
