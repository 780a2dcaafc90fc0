"""`cutaway guard fit MODEL`: a guardrail on labelled prompts, saved and evaluated on rows held out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.guard._options import Columns
from cutaway.cli.guard._rows import held_rows, read_columns
from cutaway.cli.guard._words import evaluation, ordinary_words, score_table
from cutaway.cli.options import Device, Seed, Several
from cutaway.errors import InputError
from cutaway.seeds import check_seed

app = new_app("guard fit")


@app.default
def fit(
    model: str | None = None,
    *,
    data: Annotated[list[Path], Several],
    out: Path,
    test: Path | None = None,
    columns: Columns = Columns(),
    features: str | None = None,
    layers: int | None = None,
    head: str = "logistic",
    fpr: float = 0.05,
    max_length: int | None = None,
    num: int | None = None,
    keep_prompts: int = 1000,
    seed: Seed = 0,
    device: Device = "cpu",
) -> Outcome:
    """Fit a guardrail on labelled prompts, save it, and evaluate it on rows held out.

    Parameters
    ----------
    model
        A Hugging Face folder or id with its tokenizer; by default the sentence encoder of the extra encoder.
    data
        One or more .csv, .jsonl or .parquet files.
    out
        Folder to write.
    test
        File to evaluate on; without it, a fifth of the rows is held out.
    features
        sentence, geometry, hidden or both; by default sentence for a sentence encoder and both for other models.
    layers
        Use the first K blocks only.
    head
        logistic or mlp.
    fpr
        The false-positive rate that you can live with.
    max_length
        Tokens read of a prompt.
    num
        How many rows of the data to use.
    keep_prompts
        Keep at most so many training prompts in the folder, to be shown behind verdicts (cutaway guard explain).
    """
    from cutaway.guard import Guardrail, evaluate_guardrail, save_guardrail
    from cutaway.guard.evidence import keep_evidence
    from cutaway.guard.evidence_file import remove_evidence, write_evidence
    from cutaway.guard.ordinary import ordinary
    from cutaway.guard.rows import prompt_fingerprint
    from cutaway.network.packaged import ENCODER

    check_seed(seed)
    if keep_prompts < 0:
        raise InputError(
            "option --keep-prompts", found=str(keep_prompts), expected="0 or more", remedy="give 0 to keep none"
        )
    if out.exists() and not out.is_dir():
        raise InputError(
            f"option --out {out}", found="a file", expected="a folder, or a name that is free", remedy="name another"
        )
    names = asdict(columns)
    rows = read_columns(data, names, num, seed)
    if test is None:
        train, held = held_rows(rows.both_classes().deduplicated(), seed)
    else:
        train = rows
        held = read_columns([test], names, None, seed).without(
            {prompt_fingerprint(t) for t in rows.texts}, "in the training data"
        )
    given = {"features": features, "layers": layers, "head": head, "max_length": max_length, "device": device}
    guard = Guardrail(model or ENCODER, rate=fpr, seed=seed, **given).fit(train)
    folder = save_guardrail(guard, out)
    kept = keep_evidence(guard, train, held, most=keep_prompts, seed=seed) if keep_prompts else None
    if kept is None:
        remove_evidence(folder)
    else:
        write_evidence(kept, guard, folder)
    found = evaluate_guardrail(guard, held, seed=seed)
    notes = list(dict.fromkeys((*guard.notes_, *found.notes)))
    payload = {"folder": str(folder), "train_rows": guard.train_rows_, "calibration_rows": guard.calibration_rows_}
    payload |= {**evaluation(found, notes), "ordinary": ordinary(guard), "kept": len(kept or ())}
    told = f" (holds {len(kept)} training prompts, for cutaway guard explain)" if kept else ""
    lines = [f"guardrail: {folder}{told}", score_table(payload), ordinary_words(payload["ordinary"])]
    return Outcome(payload=payload, words="\n".join(lines))
