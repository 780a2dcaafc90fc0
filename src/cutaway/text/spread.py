"""How widely a model's answers to one prompt spread in an embedding: agreement, not truth.

Source: Bhattacharya et al. 2025 (arXiv 2510.21891), whose code adds 1e-3 to the Gram's diagonal and does not divide by
ln N.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from cutaway.arrays import Floats
from cutaway.engines.parts import in_draws
from cutaway.errors import InputError

RIDGE = 1e-3
"""Added to the diagonal of the Gram matrix of unit vectors, as the authors' code does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Isotropy:
    """`value`, in nats, with its jackknife interval `low` to `high` (NaN for two answers, which tell no spread);
    `answers`, how many; `mean_cosine` of all pairs, the simpler measure beside it."""

    value: float
    low: float
    high: float
    answers: int
    mean_cosine: float


def isotropy(embeddings: Any, *, level: float = 0.95) -> Isotropy:
    """Semantic isotropy of answers `embeddings` (n, d): the von Neumann entropy -sum lambda ln lambda of (E E^T + 1e-3
    I) / n, E the rows at unit length; nats.

    Between what n identical answers give (0.0077 at n = 8) and 1.001 (ln n - ln 1.001) for orthogonal ones. Larger: the
    answers agree less. The scale depends on the embedder and on n: compare at one embedder and one n, with answers of
    other prompts (`shuffled_scores`), never with a fixed limit. Exact for the embeddings; the interval is an estimate
    of what other draws of n answers would give, mean plus and minus Student's quantile times the jackknife's standard
    error (a bootstrap repeats answers and is biased to agreement). Cost: n + 1 eigenproblems of n x n. Raises
    `InputError` for fewer than two answers, a row of zeros (an empty answer) and numbers that are not finite. Source:
    Bhattacharya et al. 2025 (arXiv 2510.21891) and its code; the interval is ours.

    >>> round(isotropy(np.ones((8, 3))).value, 4), round(isotropy(np.eye(8)).value, 4)
    (0.0077, 2.0805)
    """
    unit = unit_rows(embeddings)
    gram, n = unit @ unit.T, len(unit)
    value, pairs = float(entropies(gram[None])[0]), gram[np.triu_indices(n, 1)]
    half = math.nan
    if n > 2:
        kept = np.array([np.delete(np.arange(n), k) for k in range(n)])
        left = entropies(gram[kept[:, :, None], kept[:, None, :]])
        error = math.sqrt((n - 1) / n * float(np.sum((left - left.mean()) ** 2)))
        half = float(special.stdtrit(n - 1, (1 + level) / 2)) * error
    return Isotropy(value=value, low=value - half, high=value + half, answers=n, mean_cosine=float(pairs.mean()))


def unit_rows(embeddings: Any) -> Floats:
    """The rows of `embeddings` (n, d) at unit length, float64, up to rounding.

    Raises `InputError` as `isotropy`. Source: definition.
    """
    rows = np.asarray(embeddings, dtype=float)
    if rows.ndim != 2 or len(rows) < 2:
        found = f"shape {rows.shape}" if rows.ndim != 2 else f"{len(rows)} answer" + "s" * (len(rows) != 1)
        raise InputError(
            "embeddings of answers",
            found=found,
            expected="(n, d), at least two answers to the same prompt",
            remedy="sample more answers, at a temperature above 0; six to eight do",
        )
    lengths = np.linalg.norm(rows, axis=1)
    bad = ~np.isfinite(lengths) | (lengths == 0)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"embeddings of answers, row {row}",
            found="a zero vector" if lengths[row] == 0 else "a number that is not finite",
            expected="a vector with a direction for every answer",
            remedy="leave empty answers out, or use an embedder that knows their words",
        )
    return rows / lengths[:, None]


def entropies(grams: Floats) -> Floats:
    """von Neumann entropies (b,) of Gram matrices (b, n, n) of unit vectors, the ridge included. Up to rounding."""
    n = grams.shape[-1]
    values = np.linalg.eigvalsh(grams + RIDGE * np.eye(n)) / n
    return special.entr(np.clip(values, 0.0, None)).sum(axis=-1)


def shuffled_scores(unit: Floats, sizes: Sequence[int], *, draws: int, seed: int) -> Floats:
    """Isotropies (prompts, draws) of answers dealt anew to prompts of `sizes` answers: what the same embedder says of
    answers that have nothing to do with each other.

    `unit` (m, d) rows of all answers at unit length, m = sum of `sizes`. Monte Carlo. Cost: draws eigenproblems a
    prompt; memory of the rows. Source: ours.
    """
    return in_draws(_dealt_anew, draws, unit, tuple(sizes), seed=seed, path=("shuffled answers",)).T


def _dealt_anew(rng: np.random.Generator, count: int, unit: Floats, sizes: tuple[int, ...]) -> Floats:
    """(count, prompts)"""
    found, starts = np.empty((count, len(sizes))), np.cumsum([0, *sizes])
    for draw in range(count):
        order = rng.permutation(len(unit))
        for size in sorted(set(sizes)):
            own = [k for k, s in enumerate(sizes) if s == size]
            rows = unit[np.array([order[starts[k] : starts[k] + size] for k in own])]
            found[draw, own] = entropies(rows @ rows.transpose(0, 2, 1))
    return found


def answer_tfidf(answers: Sequence[str], *, dimension: int = 64) -> Floats:
    """Embeddings (m, d) of texts by their words: TF-IDF, then the first `dimension` singular directions where there are
    more words than that. Exact for these texts together: leave one out and all change. Raises `InputError` for an
    answer without a word. Source: definition (scikit-learn's TF-IDF).
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    for row, text in enumerate(answers):
        if not any(c.isalnum() for c in text):
            raise InputError(
                f"answer {row}",
                found="an empty answer" if not text.strip() else f"no word in {text[:40]!r}",
                expected="an answer of at least one word",
                remedy="leave it out, and say so: an empty answer is no agreement",
            )
    counts = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", sublinear_tf=True).fit_transform(answers)
    if counts.shape[1] <= dimension or counts.shape[0] <= dimension:
        return np.asarray(counts.todense(), dtype=float)
    return TruncatedSVD(dimension, random_state=0).fit_transform(counts)


def token_counts(tokens: Any) -> Floats:
    """Embeddings (m, d) of rows of tokens (m, length) by what they hold, order aside: (1 + ln count) times the smoothed
    inverse document frequency, as `answer_tfidf` weighs words; d different tokens. Exact for these rows together.
    Source: definition."""
    rows = np.asarray(tokens)
    words, place = np.unique(rows, return_inverse=True)
    counts = np.zeros((len(rows), len(words)))
    np.add.at(counts, (np.repeat(np.arange(len(rows)), rows.shape[1]), place.reshape(-1)), 1.0)
    weight = np.log((1 + len(rows)) / (1 + (counts > 0).sum(axis=0))) + 1
    return np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0.0) * weight
