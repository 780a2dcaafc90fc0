"""Shared makers of data for the tests of features."""

import numpy as np
import pytest


def _hierarchy(num, seed, dim=32, num_test=2000):
    """y = sign of a balanced rank-4 quadratic of Gaussian inputs: the synthetic task of the specification."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.standard_normal((dim, 4)))[0]

    def draw(m):
        x = rng.standard_normal((m, dim))
        z = x @ directions
        return x, np.sign((z**2 - 1) @ np.array([1.0, -1.0, 1.0, -1.0]))

    return draw(num), draw(num_test)


@pytest.fixture
def hierarchy():
    return _hierarchy
