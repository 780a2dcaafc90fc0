"""`cutaway guard calibrate FOLDER`: a new threshold for a new source of prompts, from harmless ones of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.guard._words import ordinary_words
from cutaway.seeds import check_seed

app = new_app("guard calibrate")


@app.default
def calibrate(
    folder: Path,
    *,
    data: Annotated[list[Path], Parameter(consume_multiple=True)],
    fpr: float | None = None,
    num: int | None = None,
    text: str = "text",
    label: str = "label",
    positive: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    harmless: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    seed: int = 0,
    model: str | None = None,
    device: str = "cpu",
) -> Outcome:
    """Set the threshold of the guardrail in FOLDER anew, from harmless prompts of the source that it is to serve.

    The detector stays as it is. Rows beyond `--num` tell the rate seen. A certificate, which is for the old threshold,
    becomes certificate.old.json.

    Parameters
    ----------
    folder
        What `cutaway guard fit` wrote; it is written anew.
    data
        Files of prompts: with a column of labels the harmless rows count, without one all rows; .txt has one a line.
    fpr
        The false-positive rate; by default the one it was fitted for.
    num
        Use so many rows, drawn at random, and tell the rate seen on the others.
    text, label
        Names of the columns.
    positive
        Labels that count as harmful.
    harmless
        Labels that count as harmless, in place of positive; other rows are left out.
    seed
        Seed of the draw.
    model
        Where the language model is now, if it has moved.
    device
        cpu, cuda, ...
    """
    from cutaway.guard import certificate_file, load_guardrail, save_guardrail
    from cutaway.guard.calibrating import recalibrate
    from cutaway.guard.ordinary import ordinary
    from cutaway.guard.rows import read_harmless

    check_seed(seed)
    prompts = [t for f in data for t in read_harmless(f, text=text, label=label, positive=positive, harmless=harmless)]
    guard = load_guardrail(folder, model=model, device=device, certificate=False)
    named = guard.model if model is None else model
    found = recalibrate(guard, prompts, rate=fpr, num=num, seed=seed)
    guard.model = named
    save_guardrail(guard, folder)
    if (kept := folder / certificate_file.NAME).is_file():
        kept.replace(folder / "certificate.old.json")
    payload = {"folder": str(folder), **found.told(), "ordinary": ordinary(guard), "notes": list(guard.notes_)}
    return Outcome(
        payload=payload, words="\n".join([*found.words(), *guard.notes_, ordinary_words(payload["ordinary"])])
    )
