"""`cutaway audit answers`: do a model's own answers to a prompt agree; agreement, not truth."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cutaway.cli.audit._table import audited, check_folder
from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Seed
from cutaway.cli.subject import Engine
from cutaway.errors import InputError

app = new_app("audit answers")


@app.default
def answers(
    table: Path,
    *,
    embed: str = "tfidf",
    question: str | None = None,
    answer: str | None = None,
    right: str | None = None,
    seed: Seed = 0,
    out: Path | None = None,
    engine: Engine = Engine(),
) -> Outcome:
    """Tell how far several answers to each prompt agree, beside answers dealt anew to the prompts.

    TABLE has a row for each answer, with columns prompt and answer, several answers a prompt, drawn at a temperature
    above 0; a column right where it is known. The verdict is agree where the answers to a prompt are more alike than
    answers to different ones, scattered where that cannot be told, unknown for one prompt and where all answers are the
    same. Agreement is not truth: confidently wrong answers agree.

    Parameters
    ----------
    table
        File (.csv, .parquet) with a header and the columns that are told above.
    embed
        tfidf, or hf:FOLDER for a Hugging Face model or sentence encoder, whose last hidden states are averaged.
    question
        Column of the prompts.
    answer
        Column of the answers.
    right
        Column that says whether the label or answer is right.
    out
        Run folder; by default `runs/NAME` in the current folder.
    """
    from cutaway.audits import AnswerAudit
    from cutaway.data.frames import column_of, flags, read_frame, words_of
    from cutaway.seeds import check_seed

    check_seed(seed)
    check_folder(out)
    if embed != "tfidf" and not (embed.startswith("hf:") and len(embed) > 3):
        raise InputError(
            "option --embed", found=embed, expected="tfidf or hf:FOLDER", remedy="give one of the two forms"
        )
    frame = read_frame(table)
    prompt_name = column_of(frame, table, question, ("prompt", "question", "entity"), "--question")
    answer_name = column_of(frame, table, answer, ("answer", "response", "text", "completion"), "--answer")
    prompts = words_of(frame[prompt_name], f"column {prompt_name!r} of {table}")
    texts = words_of(frame[answer_name], f"column {answer_name!r} of {table}")
    blank = next((row for row, text in enumerate(texts) if not text.strip()), None)
    if blank is not None:
        raise InputError(
            f"column {answer_name!r} of {table}, row {blank}",
            found="an empty answer",
            expected="a text",
            remedy="leave it out, and say so: an empty answer is no agreement",
        )
    known = right or next((str(c) for c in frame.columns if str(c).lower() in ("right", "correct")), None)
    if known is not None:
        column_of(frame, table, known, (), "--right")
    told = None if known is None else flags(frame[known], f"column {known!r} of {table}")
    audit = AnswerAudit()
    with engine.at_work():
        reading = audit.measure(_embedded(embed, texts), prompts, right=told, data=table.stem, seed=seed)
    return audited(audit, reading, out)


def _embedded(embed: str, texts: Sequence[str]) -> Any:
    """Vectors (m, d) of the answers; of one that is longer than the model reads, the mean over its windows."""
    if embed == "tfidf":
        from cutaway.text.spread import answer_tfidf

        return answer_tfidf(texts)
    import numpy as np

    from cutaway.guard.features import PromptFeatures
    from cutaway.network.sources import load_model

    loaded = load_model(embed.removeprefix("hf:"))
    if loaded.tokenizer is None:
        raise InputError(
            f"model {embed.removeprefix('hf:')}",
            found="no tokenizer",
            expected="a model of texts with its tokenizer",
            remedy="give a Hugging Face folder of a language model or sentence encoder",
        )
    rows = PromptFeatures(loaded.model.eval(), loaded.tokenizer, kind="sentence")(texts)
    for note in rows.notes()[:1]:
        print(note.replace("the worst of their windows counts", "the mean of their windows counts"), file=sys.stderr)
    return np.add.reduceat(rows.values, rows.first, axis=0) / rows.windows[:, None]
