"""`cutaway guard score FOLDER`: how harmful a guardrail takes prompts to be."""

from __future__ import annotations

from pathlib import Path

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.guard._options import LanguageModel
from cutaway.errors import InputError

app = new_app("guard score")


@app.default
def score(
    folder: Path,
    prompts: list[str] | None = None,
    *,
    file: Path | None = None,
    text: str = "text",
    language: LanguageModel = LanguageModel(),
) -> Outcome:
    """Score prompts with the guardrail in FOLDER.

    Parameters
    ----------
    folder
        What `cutaway guard fit` wrote.
    prompts
        Prompts on the command line.
    file
        A .csv, .jsonl or .parquet file with a column of prompts, or a .txt file with one prompt a line.
    text
        Name of the column of prompts.
    """
    import dataclasses
    from textwrap import shorten

    from cutaway.guard.rows import read_texts

    texts = list(prompts or []) + (read_texts(file, text) if file is not None else [])
    if not texts:
        raise InputError(
            "command guard score",
            found="no prompt",
            expected="prompts, or --file",
            remedy="write prompts behind FOLDER, in quotation marks",
        )
    guard = language.open(folder)
    verdicts = guard.verdicts(texts)
    scores = [dataclasses.asdict(v) for v in verdicts]
    words = [
        f"{'HARMFUL ' if v.harmful else 'harmless'} {v.probability:.4f}  "
        + f"#{i + 1} {shorten(text, 60, placeholder=' ...')}"
        + (f"  ({v.windows} windows)" if v.truncated else "")
        for i, (v, text) in enumerate(zip(verdicts, texts, strict=True))
    ]
    words.append(
        f"flagged above {guard.threshold_.probability:.4f}, set for a false-positive rate of {guard.threshold_.rate:g}"
    )
    cut = sum(v.truncated for v in verdicts)
    if cut:
        longest = max(v.tokens for v in verdicts)
        words.append(
            f"{cut} of {len(verdicts)} prompts are longer than the model reads (up to {longest} tokens): the worst of "
            "their windows counts"
        )
    payload = {"scores": scores, "threshold": guard.threshold_.logit, "truncated": cut}
    return Outcome(payload=payload, words="\n".join(words))
