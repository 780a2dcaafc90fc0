"""`cutaway guard calibrate FOLDER`: a new threshold for a new source of prompts, from harmless ones of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.guard._options import Labelled, LanguageModel
from cutaway.cli.guard._words import ordinary_words
from cutaway.cli.options import Seed, Several
from cutaway.seeds import check_seed

app = new_app("guard calibrate")


@app.default
def calibrate(
    folder: Path,
    *,
    data: Annotated[list[Path], Several],
    fpr: float | None = None,
    num: int | None = None,
    columns: Labelled = Labelled(),
    harmless: Annotated[list[str] | None, Several] = None,
    seed: Seed = 0,
    language: LanguageModel = LanguageModel(),
) -> Outcome:
    """Set the threshold of the guardrail in FOLDER anew, from harmless prompts of the source that it is to serve.

    The detector stays as it is; without --fpr the rate is the one that it was fitted for. Rows beyond `--num`, which
    are drawn at random, tell the rate seen. The folder is written anew; a certificate, which is for the old threshold,
    becomes certificate.old.json.

    Parameters
    ----------
    folder
        What `cutaway guard fit` wrote.
    data
        Files of prompts: with a column of labels the harmless rows count, without one all rows; .txt has one a line.
    fpr
        The false-positive rate that you can live with.
    num
        How many rows of the data to use.
    harmless
        Labels that count as harmless, in place of positive; other rows are left out.
    """
    from cutaway.guard import certificate_file, save_guardrail
    from cutaway.guard.calibrating import recalibrate
    from cutaway.guard.ordinary import ordinary
    from cutaway.guard.rows import read_harmless

    check_seed(seed)
    named = dataclasses.asdict(columns)
    prompts = [prompt for file in data for prompt in read_harmless(file, harmless=harmless, **named)]
    guard = language.open(folder, certificate=False)
    kept_model = guard.model if language.model is None else language.model
    found = recalibrate(guard, prompts, rate=fpr, num=num, seed=seed)
    guard.model = kept_model
    save_guardrail(guard, folder)
    if (kept := folder / certificate_file.NAME).is_file():
        kept.replace(folder / "certificate.old.json")
    payload = {"folder": str(folder), **found.told(), "ordinary": ordinary(guard), "notes": list(guard.notes_)}
    return Outcome(
        payload=payload, words="\n".join([*found.words(), *guard.notes_, ordinary_words(payload["ordinary"])])
    )
