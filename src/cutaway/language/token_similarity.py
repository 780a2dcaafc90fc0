"""MaxSim: how alike two texts are by their tokens, and which token answers to which.

MaxSim(q, d) = (1 / T_q) sum_i max_j <q_i, d_j> over unit token vectors q_i, i <= T_q, and d_j, j <= T_d: for every
token
of the query the most similar one of the document, averaged. In [-1, 1], 1 for a text with itself. Source: Khattab and
Zaharia, arXiv 2004.12832, Eq. 3; there the sum, here the mean, so that long and short queries compare; there encoders
trained for it, here any.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cutaway.errors import InputError


def maxsim(queries: Sequence[np.ndarray], documents: Sequence[np.ndarray], *, budget: int = 64_000_000) -> np.ndarray:
    """MaxSim of every pair, (n_queries, n_documents) float32, from token vectors (T, D) of length 1.

    Exact up to rounding, whatever `budget`: the most bytes of similarities held at a time (one query and one document
    always fit). Cost: D multiplications a pair of tokens. Raises InputError for no documents, a text without tokens or
    vectors of other widths. Source: Khattab and Zaharia (arXiv 2004.12832), Eq. 3, averaged instead of summed.
    """
    texts = [*queries, *documents]
    if not len(documents) or any(t.ndim != 2 or not len(t) or t.shape[1] != texts[0].shape[1] for t in texts):
        raise InputError(
            "the token vectors",
            found="no documents" if not len(documents) else f"shapes {sorted({t.shape[1:] for t in texts})[:3]}",
            expected="at least one token (T, D) in every text, all of one width D, and a document",
            remedy="read all texts with one encoder, and leave out the empty ones",
        )
    found = np.empty((len(queries), len(documents)), np.float32)
    for first, last in _parts([len(d) for d in documents], budget // (4 * max(map(len, queries), default=1))):
        block = np.concatenate([np.asarray(d, np.float32) for d in documents[first:last]])
        starts = np.cumsum([0, *(len(d) for d in documents[first : last - 1])])
        for k, query in enumerate(queries):
            alike = np.asarray(query, np.float32) @ block.T
            found[k, first:last] = np.maximum.reduceat(alike, starts, axis=1).mean(0)
    return found


def matches(query: np.ndarray, document: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every token of `query` (T_q, D) the most similar one of `document` (T_d, D): its place (T_q,) int64, the
    first of equals, and the similarity (T_q,); their mean is MaxSim. Exact up to rounding."""
    alike = np.asarray(query, np.float32) @ np.asarray(document, np.float32).T
    return alike.argmax(1), alike.max(1)


def _parts(lengths: list[int], most: int):
    """Runs of documents with at most `most` tokens together, at least one document each."""
    first = total = 0
    for k, length in enumerate(lengths):
        if total and total + length > most:
            yield first, k
            first, total = k, 0
        total += length
    yield first, len(lengths)
