"""Break-even of a filter against its closed form and against counting, and the coverage of its intervals."""

import math

import numpy as np
import pytest

from cutaway.errors import InputError
from cutaway.outputs import FilterCounts, break_even, filter_margin


def test_at_break_even_right_and_wrong_kept_labels_are_equally_many():
    for phi, psi, classes in ((0.9, 0.1, 2), (0.9, 0.45, 10), (0.3, 0.7, 4)):
        p = break_even(phi, psi, classes)
        assert (1 - p) * phi == pytest.approx(p * psi / (classes - 1), abs=1e-15)
    assert break_even(0.5, 0.5) == 0.5
    assert (break_even(0.4, 0.0), break_even(0.0, 0.4)) == (1.0, 0.0)
    assert math.isnan(break_even(0.0, 0.0))
    for wrong in ((1.2, 0.1, 2), (0.5, -0.1, 2), (0.5, 0.5, 1), (math.nan, 0.5, 2)):
        with pytest.raises(InputError, match="rates in"):
            break_even(*wrong)


@pytest.mark.parametrize(("p", "phi", "psi", "rows", "classes"), [(0.3, 0.9, 0.45, 200, 2), (0.7, 0.9, 0.1, 80, 10)])
def test_the_interval_of_the_margin_covers(p, phi, psi, rows, classes):
    """600 audits; a true coverage of 0.95 falls below 0.93 once in 60 runs, and the seed is fixed."""
    rng, true, inside = np.random.default_rng(0), break_even(phi, psi, classes) - p, 0
    widths = []
    for _ in range(600):
        right = rng.random(rows) >= p
        kept = rng.random(rows) < np.where(right, phi, psi)
        low, high = filter_margin(FilterCounts.of(right, kept), classes).margin_band
        inside += low <= true <= high
        widths.append(high - low)
    assert inside / 600 >= 0.93
    assert np.mean(widths) < 0.35  # an interval of everything would cover too


def test_edges_of_the_margin():
    none_wrong_kept = filter_margin(FilterCounts(right_kept=50, right_dropped=5, wrong_kept=0, wrong_dropped=20))
    assert (none_wrong_kept.even, none_wrong_kept.even_band[1]) == (1.0, 1.0)
    assert 0.7 < none_wrong_kept.even_band[0] < 1
    none_right_kept = filter_margin(FilterCounts(right_kept=0, right_dropped=5, wrong_kept=3, wrong_dropped=20))
    assert (none_right_kept.even, none_right_kept.even_band[0]) == (0.0, 0.0)
    for counts in ((5, 5, 0, 0), (0, 0, 5, 5), (0, 5, 0, 5)):
        names = ("right_kept", "right_dropped", "wrong_kept", "wrong_dropped")
        assert math.isnan(filter_margin(FilterCounts(**dict(zip(names, counts)))).margin)
