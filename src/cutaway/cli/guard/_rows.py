"""Labelled prompts that the commands of `cutaway guard` read, and the part of them that is held out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cutaway.errors import InputError

if TYPE_CHECKING:
    from cutaway.guard import PromptRows


def read_columns(files: list[Path], columns: dict[str, Any], num: int | None, seed: int) -> PromptRows:
    """The rows of all files, `num` of them at most."""
    import numpy as np

    from cutaway.guard import PromptRows, read_rows

    parts = [read_rows(f, **columns) for f in files]
    rows = PromptRows(
        name=", ".join(p.name for p in parts),
        texts=tuple(t for p in parts for t in p.texts),
        labels=np.concatenate([p.labels for p in parts]),
        sources=tuple(s for p in parts for s in p.sources),
        groups=tuple(g for p in parts for g in p.groups),
    )
    if num is not None and num < 1:
        raise InputError("option --num", found=str(num), expected="at least 1", remedy="leave it out for all rows")
    if num is not None and num < len(rows):
        rows = rows.subset(np.sort(np.random.default_rng(seed).permutation(len(rows))[:num]))
    return rows


def held_rows(rows: PromptRows, seed: int) -> tuple[PromptRows, PromptRows]:
    """A stratified fifth, two rows at least, behind the rest."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    for value, word in ((1, "harmful"), (0, "harmless")):
        if (count := int((rows.labels == value).sum())) < 2:
            raise InputError(
                f"data {rows.name}",
                found=f"{count} {word} rows",
                expected="at least 2, one to be held out",
                remedy="add rows of this class, or name a file of rows to evaluate on with --test",
            )
    held_share = max(0.2, 2 / len(rows))
    train, held = train_test_split(
        np.arange(len(rows)), test_size=held_share, stratify=rows.labels, random_state=seed % 2**32
    )
    return rows.subset(np.sort(train)), rows.subset(np.sort(held))
