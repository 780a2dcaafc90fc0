"""Rajski's distance: cases that are known, a metric, the bound for parts that determine the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.errors import InputError
from cutaway.evidence import rajski_distance

rows = st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=30)


def test_residues_of_thirty_add_up_to_one_less_than_their_number():
    x = np.arange(30)
    found = [rajski_distance(x, x % prime) for prime in (2, 3, 5)]
    assert found == pytest.approx([0.796, 0.677, 0.527], abs=5e-4) and sum(found) == pytest.approx(2)


@given(rows)
def test_it_is_a_metric(values):
    x, y, z = np.array(values).T
    xy, yz, xz = rajski_distance(x, y), rajski_distance(y, z), rajski_distance(x, z)
    assert 0 <= xz <= min(1, xy + yz + 1e-9) and rajski_distance(x, x) == 0
    assert xy == pytest.approx(rajski_distance(y, x), abs=1e-12)


@given(rows)
def test_parts_that_determine_the_whole_are_not_all_far_from_it(values):
    whole = np.unique(np.array(values), axis=0, return_inverse=True)[1].reshape(-1)
    assert sum(rajski_distance(whole, part) for part in np.array(values).T) <= 2 + 1e-9 or len(set(whole)) == 1


def test_lengths_that_differ_are_refused():
    with pytest.raises(InputError, match=r"shapes \(2,\) and \(3,\)"):
        rajski_distance([1, 2], [1, 2, 3])
