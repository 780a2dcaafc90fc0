"""`cutaway audit tuning`: may one trust the score of what was tuned on these rows."""

from __future__ import annotations

from pathlib import Path

from cutaway.cli.audit._table import audited, check_folder
from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Seed
from cutaway.cli.subject import Engine
from cutaway.errors import InputError

app = new_app("audit tuning")


@app.default
def tuning(
    table: Path | None = None,
    *,
    rounds: int | None = None,
    rows: int | None = None,
    score: float | None = None,
    truth: str | None = None,
    ways: int = 2,
    delta: float = 0.05,
    seed: Seed = 0,
    out: Path | None = None,
    engine: Engine = Engine(),
) -> Outcome:
    """Tell how far the score of what was tuned by comparisons may be from fresh rows.

    TABLE has a row for each row that was compared on, with a column label (or truth) and a column of answers for each
    candidate, the first one first; without it --rounds and --rows give the bound alone. The verdict is improved where
    what was chosen is better than the first candidate on fresh rows too, unknown where that is open, bounded for
    numbers alone, vacuous where the bound allows any score.

    Parameters
    ----------
    table
        File (.csv, .parquet) with a header and the columns that are told above.
    rounds
        Comparisons ever made on these rows, all tunings, thresholds and restarts counted; one less than the candidates
        of the table when not given.
    rows
        How many rows were compared on, where there is no table.
    score
        Score in [0, 1] that came out, where there is no table.
    truth
        Column of the true class.
    ways
        Outcomes of a comparison: 3 where a tie is one of its own.
    delta
        Chance that the bound does not hold.
    out
        Run folder; by default `runs/NAME` in the current folder.
    """
    from cutaway.audits import TuningAudit
    from cutaway.data.frames import column_of, read_frame, words_of
    from cutaway.seeds import check_seed

    check_seed(seed)
    check_folder(out)
    audit = TuningAudit(ways=ways, delta=delta)
    if table is None:
        with engine.at_work():
            reading = audit.measure(rounds=rounds, rows=rows, score=score, seed=seed)
        return audited(audit, reading, out)
    for option, value in (("--rows", rows), ("--score", score)):
        if value is not None:
            raise InputError(
                f"option {option}",
                found=f"{value} beside a table",
                expected="the table alone, which says it",
                remedy="leave the option out",
            )
    frame = read_frame(table)
    label = column_of(frame, table, truth, ("label", "truth", "y", "class"), "--truth")
    others = [str(c) for c in frame.columns if str(c) != label]
    labels = words_of(frame[label], f"column {label!r} of {table}")
    answers = [words_of(frame[name], f"column {name!r} of {table}") for name in others]
    if len(answers) < 2:
        raise InputError(
            f"table {table}",
            found=f"columns {', '.join(map(str, frame.columns))}",
            expected="a column label and at least two of candidates' answers",
            remedy="add a column of answers for each candidate, the first one first",
        )
    given = list(zip(*answers))
    with engine.at_work():
        reading = audit.measure(given, labels, rounds=rounds, names=others, data=table.stem, seed=seed)
    return audited(audit, reading, out)
