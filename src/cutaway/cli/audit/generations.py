"""`cutaway audit generations`: how the error grows where a model is trained on its own outputs."""

from __future__ import annotations

from pathlib import Path

from cutaway.cli.audit._table import audited, check_folder
from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Seed
from cutaway.cli.subject import Engine

app = new_app("audit generations")


@app.default
def generations(
    table: Path,
    *,
    error: str | None = None,
    seed: Seed = 0,
    out: Path | None = None,
    engine: Engine = Engine(),
) -> Outcome:
    """Fit the error of generations trained on generated data, and say which form it follows.

    TABLE has a row for each measurement, with columns generation (0 learned from real data) and error, and fresh where
    the error of a refit on fresh labels is known; with a column rows in place of generation, a learning curve. The
    verdict is the form that wins: flat, linear, power, saturating or floor; unknown where none can be told.

    Parameters
    ----------
    table
        File (.csv, .parquet) with a header and the columns that are told above.
    error
        Column of the errors.
    out
        Run folder; by default `runs/NAME` in the current folder.
    """
    from cutaway.audits import GenerationAudit
    from cutaway.data.frames import column_of, finite_numbers, read_frame
    from cutaway.seeds import check_seed

    check_seed(seed)
    check_folder(out)
    frame = read_frame(table)
    place = column_of(frame, table, None, ("generation", "n", "rows", "samples"), "generation or rows")
    name = column_of(frame, table, error, ("error", "loss", "mse"), "--error")
    known = next((str(c) for c in frame.columns if str(c).lower() == "fresh"), None)
    wanted = [place, name] if known is None else [place, name, known]
    columns = [finite_numbers(frame[each], f"column {each!r} of {table}") for each in wanted]
    audit = GenerationAudit()
    with engine.at_work():
        reading = audit.measure(
            columns[0],
            columns[1],
            rows=place.lower() in ("rows", "samples"),
            fresh=None if known is None else columns[2],
            data=table.stem,
            seed=seed,
        )
    return audited(audit, reading, out)
