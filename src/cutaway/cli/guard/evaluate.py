"""`cutaway guard evaluate FOLDER`: a guardrail's errors on labelled prompts, by source and group."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.guard._rows import read_columns
from cutaway.cli.guard._words import evaluation, score_table
from cutaway.errors import InputError
from cutaway.seeds import check_seed

app = new_app("guard evaluate")


@app.default
def evaluate(
    folder: Path,
    *,
    data: Annotated[list[Path], Parameter(consume_multiple=True)],
    baselines: Path | None = None,
    text: str = "text",
    label: str = "label",
    source: str = "source",
    group: str | None = None,
    positive: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    num: int | None = None,
    disguised: int = 60,
    seed: int = 0,
    model: str | None = None,
    device: str = "cpu",
) -> Outcome:
    """Evaluate the guardrail in FOLDER on labelled prompts, by source and group; rows seen in fitting are left out.

    Parameters
    ----------
    folder
        What `cutaway guard fit` wrote.
    data
        One or more files of labelled prompts.
    baselines
        The file that the guardrail was fitted on: TF-IDF, mean hidden state and an untrained network are fitted on
        it too and evaluated beside.
    text, label, source
        Names of the columns.
    group
        A second column to tell the figures by, such as the category.
    positive
        Labels that count as harmful.
    num
        Use at most so many rows.
    disguised
        Prompts of either class, at most, that are disguised (spaced, leetspeak, base64, ...) to see what is flagged.
    seed
        Seed of everything random.
    model
        Where the language model is now, if it has moved.
    device
        cpu, cuda, ...
    """
    from cutaway.guard import evaluate_guardrail as run
    from cutaway.guard import load_guardrail

    check_seed(seed)
    if disguised < 0:
        raise InputError("option --disguised", found=str(disguised), expected="0 or more", remedy="give 0 for none")
    columns = {"text": text, "label": label, "source": source, "positive": positive}
    rows = read_columns(data, {**columns, "group": group}, num, seed)
    guard = load_guardrail(folder, model=model, device=device)
    found = run(guard, rows, seed=seed, disguised=disguised)
    payload = evaluation(found, list(found.notes))
    if baselines is not None:
        from cutaway.guard.baselines import compare

        others = compare(guard, read_columns([baselines], columns, None, seed), rows, seed=seed)
        payload["baselines"] = {k: evaluation(v, list(v.notes)) for k, v in others.evaluations.items()}
    return Outcome(payload=payload, words=score_table(payload))
