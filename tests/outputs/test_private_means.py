"""Private class means: the noise against its definition, the digits at every epsilon, what would break the promise."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cutaway.errors import InputError
from cutaway.outputs import fourier_features, gaussian_noise, private_class_means


@given(st.floats(0.05, 8), st.floats(1e-9, 0.2), st.floats(0.1, 10))
def test_the_noise_is_the_least_that_keeps_the_definition(epsilon, delta, sensitivity):
    """delta(epsilon) of two normal laws `sensitivity` apart, by the region where their ratio is above e^epsilon."""
    noise = gaussian_noise(epsilon, delta, sensitivity)
    for factor, kept in ((1.0, True), (0.999, False)):
        sd = noise * factor
        edge = sensitivity / 2 + epsilon * sd**2 / sensitivity
        lost = stats.norm.sf(edge, sensitivity, sd) - math.exp(epsilon) * stats.norm.sf(edge, 0, sd)
        assert (lost <= delta * (1 + 1e-6) + 1e-15) == kept


def test_features_stand_for_the_gaussian_kernel_and_keep_their_bound():
    x = np.random.default_rng(0).standard_normal((20, 5))
    features = fourier_features(x, 20_000, width=2.0)
    wanted = np.exp(-((x[:, None] - x[None]) ** 2).sum(axis=2) / 8)
    assert np.abs(features @ features.T - wanted).max() < 0.03
    assert np.sqrt((features**2).sum(axis=1)).max() <= math.sqrt(2)


def test_without_noise_they_are_the_means_and_a_row_too_long_is_refused():
    rng = np.random.default_rng(0)
    features, labels = rng.standard_normal((30, 4)) / 4, np.arange(30) % 3
    found = private_class_means(features, labels, 3, epsilon=math.inf)
    assert found.means == pytest.approx(np.stack([features[labels == c].mean(axis=0) for c in range(3)]))
    once, again = (private_class_means(features, labels, 3, epsilon=1.0).means for _ in range(2))
    assert not np.allclose(once, again)  # without a seed nobody can repeat the noise
    with pytest.raises(InputError, match="a row of norm 3"):
        private_class_means(np.full((2, 1), 3.0), np.zeros(2), 1, epsilon=1.0)
    with pytest.raises(InputError, match="epsilon 0, delta 1e-05"):
        gaussian_noise(0.0, 1e-5)


def test_the_digits_lose_what_privacy_costs():
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "private_similarity.py"))
    right = example["main"](draws=5)
    assert right[0] > 0.9 and abs(right[1] - right[0]) < 0.02 and right[-1] < 0.3
    assert 0.78 < right[2] < 0.87 and 0.55 < right[3] < 0.73  # .810 and .582 by the classical, larger noise
