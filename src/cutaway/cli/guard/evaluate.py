"""`cutaway guard evaluate FOLDER`: a guardrail's errors on labelled prompts, by source and group."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.guard._options import Columns, LanguageModel
from cutaway.cli.guard._rows import read_columns
from cutaway.cli.guard._words import evaluation, score_table
from cutaway.cli.options import Seed, Several
from cutaway.errors import InputError
from cutaway.seeds import check_seed

app = new_app("guard evaluate")


@app.default
def evaluate(
    folder: Path,
    *,
    data: Annotated[list[Path], Several],
    baselines: Path | None = None,
    columns: Columns = Columns(),
    group: str | None = None,
    num: int | None = None,
    disguised: int = 60,
    seed: Seed = 0,
    language: LanguageModel = LanguageModel(),
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
    group
        A second column to tell the figures by, such as the category.
    num
        How many rows of the data to use.
    disguised
        Prompts of either class, at most, that are disguised (spaced, leetspeak, base64, ...) to see what is flagged.
    """
    from cutaway.guard import evaluate_guardrail as run

    check_seed(seed)
    if disguised < 0:
        raise InputError("option --disguised", found=str(disguised), expected="0 or more", remedy="give 0 for none")
    names = asdict(columns)
    rows = read_columns(data, names | {"group": group}, num, seed)
    guard = language.open(folder)
    found = run(guard, rows, seed=seed, disguised=disguised)
    payload = evaluation(found, list(found.notes))
    if baselines is not None:
        from cutaway.guard.baselines import compare

        others = compare(guard, read_columns([baselines], names, None, seed), rows, seed=seed)
        payload["baselines"] = {k: evaluation(v, list(v.notes)) for k, v in others.evaluations.items()}
    return Outcome(payload=payload, words=score_table(payload))
