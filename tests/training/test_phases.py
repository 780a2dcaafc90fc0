"""Phases, onsets and stopping rules against brute force, closed forms and noise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from cutaway.errors import InputError
from cutaway.training.phases import detect_phases, down_up_down, half_rise, onset, plateau
from cutaway.training.stopping import GeometryStop, ValidationStop, Watch, regret, stop_step

STEPS = np.unique(np.round(np.geomspace(1, 1e5, 45)).astype(int))
LOG = np.log10(STEPS)
SHAPE = 20 - 8 * np.minimum(LOG, 1) + 12 * np.clip(LOG - 1, 0, 1.5) - 9 * np.clip(LOG - 2.5, 0, 9)


def brute(curve):
    """Least squares over all pairs of turns, each piece by scipy."""

    def error(piece, sign):
        return 0.0 if len(piece) == 0 else float(((isotonic_regression(sign * piece).x - sign * piece) ** 2).sum())

    size = len(curve)
    return min(
        error(curve[: i + 1], -1) + error(curve[i + 1 : j + 1], 1) + error(curve[j + 1 :], -1)
        for i, j in itertools.combinations_with_replacement(range(size), 2)
    )


@given(st.lists(st.floats(-10, 10, allow_subnormal=False), min_size=4, max_size=14))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_fit_is_the_least_squares_one(values):
    curve = np.array(values)
    fit, first, second = down_up_down(curve)
    assert float(((fit - curve) ** 2).sum()) == pytest.approx(brute(curve), rel=1e-9, abs=1e-9)
    assert 0 <= first <= second < len(curve)


def test_phases_of_a_known_curve_are_found_where_they_are():
    rng = np.random.default_rng(0)
    table = SHAPE[:, None] + rng.normal(0, 5, (1, 200)) + rng.normal(0, 3, (len(STEPS), 200))
    told = detect_phases(STEPS, table, resamples=60)
    assert [p.present for p in told.phases] == [True, True, True]
    assert told.phase("descent").end == pytest.approx(10, rel=0.4)
    assert told.phase("ascent").end == pytest.approx(316, rel=0.4)
    for phase in told.phases:
        assert phase.end_low <= phase.end <= phase.end_high
        assert phase.change_low <= phase.change <= phase.change_high
    assert (told.low <= told.mean).all()
    assert (told.mean <= told.high).all()


def test_a_single_descent_has_no_ascent():
    rng = np.random.default_rng(1)
    told = detect_phases(STEPS, (30 - 4 * LOG)[:, None] + rng.normal(0, 2, (len(STEPS), 100)), resamples=50)
    assert [p.present for p in told.phases] == [True, False, False]
    assert told.phase("descent").end == STEPS[-1]


def test_noise_alone_has_no_phase_nearly_always():
    found = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        told = detect_phases(STEPS, rng.normal(0, 5, (len(STEPS), 60)), resamples=40)
        found += any(p.present for p in told.phases)
    assert found <= 3


@pytest.mark.parametrize(
    ("steps", "table", "text"),
    [
        ([1, 2, 3], np.zeros((3, 2)), "at least 4"),
        ([1, 2, 3, 4], np.full((4, 2), np.nan), "finite"),
        ([1, 3, 2, 4], np.zeros((4, 2)), "increasing"),
        ([1, 2, 3, 4], np.zeros((5, 2)), "one a step"),
    ],
)
def test_bad_curves_are_refused(steps, table, text):
    with pytest.raises(InputError, match=text):
        detect_phases(steps, table)


def test_onset_is_where_it_stays():
    steps = np.arange(6)
    value = np.array([0.0, 0.9, 0.2, 0.9, 0.95, 0.9])
    found = onset(steps, value, level=0.8, low=value - 0.12, high=value + 0.7)
    assert found.step == 3
    assert found.low == 1
    assert found.high == np.inf
    assert not onset(steps, value, level=0.92).seen
    assert plateau(steps, value, margin=0.05).step == 3


@given(st.lists(st.floats(0, 1), min_size=3, max_size=20), st.floats(0, 1))
@settings(max_examples=80, deadline=None)
def test_onset_by_definition(values, level):
    found = onset(range(len(values)), np.array(values), level=level)
    size = len(values)
    stays = [k for k in range(size) if all(v >= level for v in values[k:]) and (k < size - 1 or size == 1)]
    assert found.step == (min(stays) if stays else np.inf)


def test_half_of_a_rise():
    steps = np.array([1, 10, 100, 1000, 10000])
    found = half_rise(steps, np.array([0.0, 0.1, 0.1, 0.35, 0.5]), after=10)
    assert found.level == pytest.approx(0.3)
    assert found.step == 1000


def test_the_geometric_rule_stops_when_the_curve_is_flat_and_not_before():
    curve = np.concatenate([np.linspace(10, 2, 25), np.full(len(STEPS) - 25, 2.0)])
    stopped = stop_step(GeometryStop(), STEPS, curve)
    assert STEPS[24] <= stopped <= STEPS[24] * 15
    assert stop_step(GeometryStop(), STEPS, SHAPE) == STEPS[-1]
    watch = Watch(rule=GeometryStop())
    assert next(s for s, v in zip(STEPS, curve, strict=True) if watch.update(int(s), v)) == stopped


def test_the_validation_rule_and_regret():
    score = np.concatenate([np.linspace(0, 0.9, 20), np.linspace(0.9, 0.5, len(STEPS) - 20)])
    stopped = stop_step(ValidationStop(patience=2.0), STEPS, score)
    assert STEPS[19] < stopped <= STEPS[19] * 4
    assert regret(STEPS, score, int(STEPS[19])) == pytest.approx(0.0)
    assert regret(STEPS, score, int(STEPS[-1])) == pytest.approx(0.4)


def test_rules_refuse_what_has_no_meaning():
    with pytest.raises(InputError, match="window"):
        GeometryStop(window=1.0)
    with pytest.raises(InputError, match="flat"):
        GeometryStop(flat=0.0)
