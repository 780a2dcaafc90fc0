"""Counts of votes, of several people who labelled each row, as the two labels a row that `probability` and `epistemic`
ask for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import InputError


def two_of_votes(votes: Any, rng: np.random.Generator) -> NDArray[np.int64]:
    """Labels (n, 2) of two different voters a row, drawn at random, of `votes` (n, classes), whole numbers: how many
    gave the row to each class.

    Exact draws. Cost: n. Raises `InputError` for a row of fewer than two votes and for numbers that are no counts.
    Source: definition.

    >>> two_of_votes([[2, 0], [0, 3]], np.random.default_rng(0)).tolist()
    [[0, 0], [1, 1]]
    """
    counts = np.asarray(votes)
    wrong = ""
    if counts.ndim != 2 or counts.dtype.kind not in "iuf":
        wrong = f"{counts.dtype} of shape {counts.shape}"
    elif not (np.isfinite(counts).all() and (counts >= 0).all() and (counts == np.round(counts)).all()):
        wrong = "numbers that are no counts"
    elif (few := np.flatnonzero(counts.sum(axis=1) < 2)).size:
        wrong = f"fewer than two votes in {len(few)} of {len(counts)} rows, row {few[0]} the first"
    if wrong:
        raise InputError(
            "votes",
            found=wrong,
            expected="whole numbers (n, classes), at least two votes a row",
            remedy="leave out rows that one person labelled: a copy of its label is no second one",
        )
    classes = np.arange(counts.shape[1])
    pairs = [rng.permutation(np.repeat(classes, row))[:2] for row in counts.astype(np.int64)]
    return np.array(pairs, dtype=np.int64).reshape(len(counts), 2)
