"""The bound of a tuning by comparisons: the paper's figures, its inverse, what it promises, and where it says nothing."""

import numpy as np
import pytest

from cutaway.errors import InputError
from cutaway.evidence import comparison_bound, rounds_within


def test_the_papers_figures_and_hoeffding():
    assert round(comparison_bound(150, 2, 7473), 3) == 0.085
    assert round(comparison_bound(1200, 2, 7473), 3) == 0.236
    assert comparison_bound(0, 2, 100, 0.1) == pytest.approx(np.sqrt(np.log(20) / 200))
    assert comparison_bound(40, 3, 100) ** 2 - comparison_bound(0, 3, 100) ** 2 == pytest.approx(40 * np.log(3) / 200)


def test_the_inverse_is_the_last_that_fits():
    for gap, ways, rows in ((0.05, 2, 7473), (0.1, 3, 500), (0.2, 2, 90)):
        most = rounds_within(gap, ways, rows)
        assert comparison_bound(most, ways, rows) <= gap < comparison_bound(most + 1, ways, rows)
    assert rounds_within(0.01, 2, 50) == -1


def test_a_search_among_networks_of_coin_tosses_stays_below_it():
    """The worst search: of 2^b models that guess, the best on the rows; its true score is one half."""
    rng, rounds, rows = np.random.default_rng(0), 10, 200
    gaps = [rng.binomial(rows, 0.5, 2**rounds).max() / rows - 0.5 for _ in range(200)]
    bound = comparison_bound(rounds, 2, rows)
    assert np.mean(np.array(gaps) > bound) <= 0.05
    assert np.median(gaps) > 0.6 * bound  # a bound without the rounds (0.096) would be passed by all of them
    assert np.min(gaps) > comparison_bound(0, 2, rows) - 0.03


def test_numbers_outside_their_range():
    for wrong in ((-1, 2, 10), (1, 1, 10), (1, 2, 0), (1, 2, 10, 0.0), (1, 2, 10, 1.0), (1, 2, 10, float("nan"))):
        with pytest.raises(InputError, match="delta above 0"):
            comparison_bound(*wrong)
    with pytest.raises(InputError, match="above 0"):
        rounds_within(0.0, 2, 10)
