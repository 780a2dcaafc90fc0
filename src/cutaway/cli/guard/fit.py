"""`cutaway guard fit MODEL`: a guardrail on labelled prompts, saved and evaluated on rows held out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.guard._rows import held_rows, read_columns
from cutaway.cli.guard._words import evaluation, ordinary_words, score_table
from cutaway.errors import InputError
from cutaway.seeds import check_seed

app = new_app("guard fit")


@app.default
def fit(
    model: str,
    *,
    data: Annotated[list[Path], Parameter(consume_multiple=True)],
    out: Path,
    test: Path | None = None,
    text: str = "text",
    label: str = "label",
    source: str = "source",
    positive: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    features: str = "both",
    layers: int | None = None,
    head: str = "logistic",
    fpr: float = 0.05,
    max_length: int | None = None,
    num: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Outcome:
    """Fit a guardrail for MODEL on labelled prompts, save it, and evaluate it on rows held out.

    Parameters
    ----------
    model
        A Hugging Face folder or id with its tokenizer.
    data
        One or more .csv, .jsonl or .parquet files.
    out
        Folder to write.
    test
        File to evaluate on; without it, a fifth of the rows is held out.
    text, label, source
        Names of the columns.
    positive
        Labels that count as harmful.
    features
        geometry, hidden or both.
    layers
        Use the first K blocks only.
    head
        logistic or mlp.
    fpr
        The false-positive rate that you can live with.
    max_length
        Tokens read of a prompt.
    num
        Use at most so many rows.
    seed
        Seed of everything random.
    device
        cpu, cuda, ...
    """
    from cutaway.guard import Guardrail, evaluate_guardrail, save_guardrail
    from cutaway.guard.ordinary import ordinary
    from cutaway.guard.rows import prompt_fingerprint

    check_seed(seed)
    if out.exists() and not out.is_dir():
        raise InputError(
            f"option --out {out}", found="a file", expected="a folder, or a name that is free", remedy="name another"
        )
    columns = {"text": text, "label": label, "source": source, "positive": positive}
    rows = read_columns(data, columns, num, seed)
    if test is None:
        train, held = held_rows(rows.both_classes().deduplicated(), seed)
    else:
        train = rows
        held = read_columns([test], columns, None, seed).without(
            {prompt_fingerprint(t) for t in rows.texts}, "in the training data"
        )
    guard = Guardrail(
        model, features=features, layers=layers, head=head, rate=fpr, max_length=max_length, seed=seed, device=device
    ).fit(train)
    folder = save_guardrail(guard, out)
    found = evaluate_guardrail(guard, held, seed=seed)
    notes = list(dict.fromkeys((*guard.notes_, *found.notes)))
    payload = {"folder": str(folder), "train_rows": guard.train_rows_, "calibration_rows": guard.calibration_rows_}
    payload |= {**evaluation(found, notes), "ordinary": ordinary(guard)}
    lines = [f"guardrail: {folder}", score_table(payload), ordinary_words(payload["ordinary"])]
    return Outcome(payload=payload, words="\n".join(lines))
