"""A series that falls is not stopped, one that rests is, and what does not tell is unknown."""

import numpy as np
import pytest

from cutaway.errors import InputError
from cutaway.evidence import trend_stop
from cutaway.training import TrendStop, stop_step

FALL = np.linspace(1, 0, 400)


def noisy(values, seed, size=0.05):
    return values + size * np.random.default_rng(seed).standard_normal(len(values))


def test_falling_resting_and_too_little_to_tell():
    assert trend_stop(noisy(FALL, 0)) == "falling"
    assert trend_stop(noisy(np.concatenate([FALL, np.zeros(200)]), 0)) == "resting"
    assert trend_stop(noisy(FALL, 0)[:50]) == "unknown"  # fewer than twice the values that one look takes
    assert trend_stop(noisy(0 * FALL, 0)) == "unknown"  # it never fell, so nothing has come to rest
    assert trend_stop(noisy(FALL, 0, size=5.0)) == "unknown"  # noise hides half the speed


def test_a_rule_for_any_training_stops_soon_after_rest_and_never_before():
    values = noisy(np.concatenate([FALL, np.zeros(400)]), 1)
    steps = np.arange(800)
    assert 400 < stop_step(TrendStop(), steps, values) < 480
    assert stop_step(TrendStop(), steps[:400], values[:400]) == 399  # the last one: it never stopped


def test_scale_and_offset_do_not_matter():
    values = noisy(np.concatenate([FALL, np.zeros(200)]), 2)
    for k in range(60, 600, 45):
        assert trend_stop(values[:k]) == trend_stop(1e-6 * values[:k] + 3)


@pytest.mark.parametrize(
    ("given", "words"),
    [(([1, np.nan],), "not finite"), (([[1.0]],), r"shape \(1, 1\)")],
)
def test_what_is_no_series_is_told(given, words):
    with pytest.raises(InputError, match=words):
        trend_stop(*given)
    with pytest.raises(InputError, match="share 0.9"):
        trend_stop([1.0] * 90, share=0.9)
