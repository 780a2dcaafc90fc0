"""Tweets that several people labelled (Davidson et al. 2017), two of the people drawn for each tweet."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASSES = ("hate_speech", "offensive_language", "neither")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coders:
    """Word counts of training and test tweets (sparse, TF-IDF) and two coders' labels (n, 2) of each."""

    train: Any
    train_labels: NDArray[np.int64]
    test: Any
    test_labels: NDArray[np.int64]


def coders(seed: int, num: int | None = None) -> Coders | None:
    """Half of the tweets to learn from, half to test on; `num` of them in all. None where CUTAWAY_DATA lacks them."""
    import pyarrow.parquet as pq
    from sklearn.feature_extraction.text import TfidfVectorizer

    from cutaway.data import two_of_votes

    path = Path(os.environ.get("CUTAWAY_DATA", "")) / "text" / "davidson_hate_offensive.parquet"
    if not os.environ.get("CUTAWAY_DATA") or not path.is_file():
        return None
    table = pq.read_table(path, columns=["text", *CLASSES]).to_pydict()
    texts = np.array(table["text"], dtype=object)
    votes = np.stack([np.array(table[name]) for name in CLASSES], axis=1)
    _, first = np.unique(texts, return_index=True)  # a tweet that stands twice would be on both sides
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.sort(first))[:num]
    labels = two_of_votes(votes[rows], rng)
    half = len(rows) // 2
    words = TfidfVectorizer(min_df=3, ngram_range=(1, 2), sublinear_tf=True, max_features=20_000)
    train = words.fit_transform(texts[rows[:half]])
    test = words.transform(texts[rows[half:]])
    return Coders(train=train, train_labels=labels[:half], test=test, test_labels=labels[half:])
