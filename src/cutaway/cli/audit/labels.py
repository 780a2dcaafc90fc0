"""`cutaway audit labels`: may one train on labels that a model made, after this filter."""

from __future__ import annotations

from pathlib import Path

from cutaway.cli.audit._table import audited, check_folder
from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Seed
from cutaway.cli.subject import Engine
from cutaway.errors import InputError

app = new_app("audit labels")


@app.default
def labels(
    table: Path,
    *,
    right: str | None = None,
    kept: str | None = None,
    truth: str | None = None,
    given: str | None = None,
    classes: int | None = None,
    seed: Seed = 0,
    out: Path | None = None,
    engine: Engine = Engine(),
) -> Outcome:
    """Tell from audited rows whether generated labels may be trained on after a filter.

    TABLE has a row for each audited label, drawn at random from all generated ones, with columns label, truth and kept,
    or right and kept, and with these a class where it is known. The verdict is safe where right
    kept labels outnumber wrong ones, in every class where classes are told and even if all wrong labels agree; unsafe
    where they are outnumbered however they lie; unknown where the rows do not tell.

    Parameters
    ----------
    table
        File (.csv, .parquet) with a header and the columns that are told above.
    right
        Column that says whether the label or answer is right.
    kept
        Column that says whether the filter keeps the row.
    truth
        Column of the true class.
    given
        Column of the generated label; with the truth it says which rows are right, and which wrong labels agree.
    classes
        How many classes there are; as many as are seen when not given, else 2.
    out
        Run folder; by default `runs/NAME` in the current folder.
    """
    from cutaway.audits import LabelAudit
    from cutaway.data.frames import column_of, flags, read_frame, words_of
    from cutaway.seeds import check_seed

    check_seed(seed)
    check_folder(out)
    frame = read_frame(table)
    names = {str(c).lower(): str(c) for c in frame.columns}
    right_name = right or names.get("right") or names.get("correct")
    true_name = truth or names.get("truth") or names.get("class")
    given_name = given or names.get("label")
    for name, option in ((truth, "--truth"), (given, "--given"), (right, "--right")):
        if name is not None:
            column_of(frame, table, name, (), option)
    kept_name = column_of(frame, table, kept, ("kept", "keep"), "--kept")
    kept_rows = flags(frame[kept_name], f"column {kept_name!r} of {table}")
    true = None if true_name is None else words_of(frame[true_name], f"column {true_name!r} of {table}")
    labelled = None if given_name is None else words_of(frame[given_name], f"column {given_name!r} of {table}")
    both = None if true is None or labelled is None else [a == b for a, b in zip(true, labelled)]
    if right_name is not None:
        right_rows = flags(frame[right_name], f"column {right_name!r} of {table}").tolist()
    elif both is not None:
        right_rows = both
    else:
        raise InputError(
            f"table {table}",
            found=f"columns {', '.join(names.values())}",
            expected="a column right, or columns label and truth",
            remedy="name them with --right, or --given and --truth",
        )
    if both is not None and both != right_rows:
        row = next(k for k, (a, b) in enumerate(zip(both, right_rows)) if a != b)
        raise InputError(
            f"table {table}, row {row}",
            found=f"{right_name} {'yes' if right_rows[row] else 'no'}, label {labelled[row]!r}, truth {true[row]!r}",  # pyright: ignore[reportOptionalSubscript]
            expected="a label that is right where it is the truth",
            remedy=f"leave out the column {right_name}, or mend the row",
        )
    audit = LabelAudit()
    with engine.at_work():
        reading = audit.measure(
            right_rows, kept_rows, classes=true, labels=labelled, num_classes=classes, data=table.stem, seed=seed
        )
    return audited(audit, reading, out)
