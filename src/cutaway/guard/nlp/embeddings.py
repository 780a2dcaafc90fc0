"""Sentence embeddings that need no language model: word and character counts, reduced to `dimension`, unit length.

TF-IDF of words (one and two in a row) and of character runs (3 to 5 within words), truncated SVD (latent semantic
analysis, Deerwester et al. 1990), rows divided by their length. Everything is fitted on the training sentences alone.
A small perturbation moves such an embedding little, because most counts stay.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cutaway.errors import InputError


class WordCounts:
    """`WordCounts(train)(texts)` -> (n, dimension) float64, rows of length 1 (0 where no count is known).

    Raises `InputError` for a dimension that is not below the number of sentences.
    """

    def __init__(self, train: Sequence[str], *, dimension: int = 200, seed: int = 0) -> None:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline, make_union
        from sklearn.preprocessing import Normalizer

        if dimension < 1 or len(train) <= dimension:
            raise InputError(
                "dimension",
                found=f"{dimension} for {len(train)} sentences",
                expected="1 to fewer than the sentences",
                remedy="give a smaller dimension, or more sentences",
            )
        self._maps = make_pipeline(
            make_union(
                TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
                TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True),
            ),
            TruncatedSVD(dimension, random_state=seed),
            Normalizer(),
        ).fit(list(train))

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        return np.asarray(self._maps.transform(list(texts)), dtype=float)
