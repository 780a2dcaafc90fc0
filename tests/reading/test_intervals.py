"""Intervals of proportions against another library."""

import numpy as np
import pytest
from scipy import stats

from cutaway.reading.intervals import proportion_interval, proportion_intervals


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("total", [1, 2, 7, 50, 1000, 60000])
def test_clopper_pearson_equals_scipys(total, level):
    for hits in {0, 1, total // 3, total - 1, total}:
        theirs = stats.binomtest(hits, total).proportion_ci(level, method="exact")
        assert proportion_interval(hits, total, level) == pytest.approx((theirs.low, theirs.high), abs=1e-10)


def test_many_at_once_are_the_same_and_no_rows_have_none():
    hits, totals = np.array([0, 3, 5, 0]), np.array([4, 4, 5, 0])
    together = proportion_intervals(hits, totals)
    alone = [proportion_interval(int(h), int(n)) for h, n in zip(hits, totals)]
    assert np.array_equal(together, np.array(alone), equal_nan=True)
    assert np.isnan(together[3]).all()
