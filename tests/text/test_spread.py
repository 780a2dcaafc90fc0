"""Semantic isotropy against closed forms and the authors' recipe written out, its interval's coverage, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.errors import InputError
from cutaway.text import isotropy
from cutaway.text.spread import answer_tfidf, shuffled_scores, unit_rows


def transcribed(rows):
    """The authors' steps, one after the other."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    values = np.linalg.eigvals(unit @ unit.T + 1e-3 * np.eye(len(rows))).real / len(rows)
    return -sum(v * np.log(v) for v in values)


@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 10**6))
def test_it_is_what_the_authors_compute_whatever_the_lengths(count, dimension, seed):
    rows = np.random.default_rng(seed).standard_normal((count, dimension))
    found = isotropy(rows)
    assert found.value == pytest.approx(transcribed(rows), abs=1e-9)
    assert isotropy(rows * np.arange(1, count + 1)[:, None]).value == pytest.approx(found.value, abs=1e-9)
    assert isotropy(rows[::-1]).value == pytest.approx(found.value, abs=1e-9)


def test_identical_and_orthogonal_answers():
    for n in (2, 8, 20):
        same, apart = isotropy(np.ones((n, 3))), isotropy(np.eye(n))
        assert apart.value == pytest.approx(1.001 * np.log(n / 1.001), abs=1e-12)
        top, rest = (n + 1e-3) / n, 1e-3 / n
        assert same.value == pytest.approx(-top * np.log(top) - (n - 1) * rest * np.log(rest), abs=1e-12)
        assert (same.mean_cosine, apart.mean_cosine) == (pytest.approx(1), 0)
    assert isotropy(np.ones((8, 3))).value == pytest.approx(0.0077, abs=1e-4)
    assert isotropy(np.eye(8)).value == pytest.approx(2.0805, abs=1e-4)


def test_the_jackknife_interval_covers_what_other_draws_give():
    """400 draws of eight answers; a true coverage of 0.95 falls below 0.92 once in 200 runs, and the seed is fixed."""
    rng = np.random.default_rng(0)
    answers = rng.standard_normal((500, 16)) + 2 * rng.standard_normal(16)
    true = np.mean([isotropy(answers[rng.choice(500, 8)]).value for _ in range(1500)])
    found = [isotropy(answers[rng.choice(500, 8)]) for _ in range(400)]
    assert np.mean([f.low <= true <= f.high for f in found]) >= 0.92
    assert np.mean([f.high - f.low for f in found]) < 0.6
    two = isotropy(np.eye(2))
    assert np.isnan(two.low) and np.isnan(two.high)


def test_bad_embeddings():
    rows = np.ones((3, 2))
    for wrong, words in (
        (rows[:1], "1 answer;"),
        (rows[0], "shape"),
        (rows * [[1], [0], [1]], "row 1; found a zero vector"),
        (rows * [[1], [1], [np.nan]], "row 2; found a number that is not finite"),
    ):
        with pytest.raises(InputError, match=words):
            isotropy(wrong)
    with pytest.raises(InputError, match="answer 1; found an empty answer"):
        answer_tfidf(["yes", "  "])
    with pytest.raises(InputError, match="no word"):
        answer_tfidf(["yes", "?!"])
    assert answer_tfidf(["4", "5", "4"]).shape == (3, 2)  # a digit is a word


def test_shuffled_answers_keep_the_sizes():
    unit = unit_rows(np.eye(7))
    found = shuffled_scores(unit, [3, 4], draws=5, seed=0)
    assert found == pytest.approx(np.array([[isotropy(np.eye(n)).value] * 5 for n in (3, 4)]))
