"""Shares of failed steps of small graphs, and their correlation with being right within problems."""

import math

import numpy as np
import pytest
from scipy import stats

from cutaway.errors import InputError
from cutaway.text import correlation_within, failed_step_fraction


def graph(*steps, answer="end"):
    """Steps as (id, parents, abandoned)."""
    return {"steps": [dict(zip(("id", "parents", "abandoned"), s)) for s in steps], "answer": answer}


def test_what_hangs_on_an_abandoned_step_failed_with_it():
    found = graph(
        ("end", ["b"], False),
        ("start", [], False),
        ("a", ["start"], True),
        ("a1", ["a"], False),
        ("a2", ["a1"], False),
        ("b", ["start", "a1"], False),  # reached from a branch that was kept as well
    )
    assert failed_step_fraction(found) == 3 / 6
    assert failed_step_fraction(graph(("end", [], False))) == 0
    assert math.isnan(failed_step_fraction({**found, "answer": None}))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"steps": []}, "no steps"),
        (graph(("end", ["x"], False)), "no step 'x'"),
        (graph(("end", [], False), ("end", [], False)), "a step twice"),
        ({"steps": [{"parents": []}, {"id": "end"}], "answer": "end"}, "without id"),
        (graph(("end", [], False), ("a", ["b"], False), ("b", ["a"], False)), "a circle"),
        (graph(("a", [], True), ("end", ["a"], False)), "in an abandoned branch"),
        (graph(("a", [], False)), "no step 'end'"),
    ],
)
def test_graphs_that_are_none_are_refused(wrong, words):
    with pytest.raises(InputError, match=words):
        failed_step_fraction(wrong)


def test_correlation_is_scipys_within_problems_and_blind_to_what_lies_between():
    rng = np.random.default_rng(0)
    problems = np.repeat(np.arange(30), 8)
    hard = np.repeat(np.linspace(0, 0.5, 30), 8)  # hard problems: more failed steps, fewer right
    fractions = np.append(hard + rng.random(240) / 4, np.nan)
    right = np.append(rng.random(240) > hard, True)
    found = correlation_within([*problems, 0], fractions, right, draws=199)
    some = [problems == p for p in range(30) if 0 < right[:240][problems == p].sum() < 8]
    by_hand = [stats.spearmanr(fractions[:240][rows], right[:240][rows])[0] for rows in some]
    assert found.correlation == pytest.approx(np.mean(by_hand))
    assert found.problems + found.left_out == 30
    assert found.p_value > 0.05
    assert stats.spearmanr(fractions[:240], right[:240])[1] < 1e-4
    planted = correlation_within([*problems, 0], fractions - np.append(0.2 * right[:240], 0), right, draws=199)
    assert planted.correlation < -0.3
    assert planted.p_value == pytest.approx(1 / 200)
    with pytest.raises(InputError, match="no problem"):
        correlation_within([1, 1], [0.1, 0.2], [True, True])
