"""Baselines: deep NNGP against its definition, ridge against scikit-learn, the twin leaves no trace."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from cutaway.features.lofi.baselines import (
    DeepNNGPClassifier,
    GradientDescentTwin,
    RandomFeatureClassifier,
    RidgeClassifierOnInputs,
    deep_cross,
    deep_gram,
)
from cutaway.features.lofi.readout import dual_readout, linear_ridge, linear_ridges, primal_readout


def naive_deep_kernel(x, depth):
    """K_{l+1} = k(K_l / mean diagonal), straight from the formula (oracle: naive transcription)."""
    k = x @ x.T
    for _ in range(depth):
        k = k / np.mean(np.diagonal(k))
        s = np.sqrt(np.diagonal(k))
        c = np.clip(k / np.outer(s, s), -1, 1)
        k = np.outer(s, s) * (np.sqrt(1 - c**2) + (np.pi - np.arccos(c)) * c) / (2 * np.pi)
    return k


def test_deep_kernel_equals_the_recursion_on_new_points_too():
    x = np.random.default_rng(0).standard_normal((60, 7))
    whole = naive_deep_kernel(x, 3)
    gram, scales, diagonals = deep_gram(x, 3, "relu")
    assert np.allclose(gram, whole, atol=1e-7)
    assert np.allclose(deep_cross(x[:5], x, "relu", scales, diagonals), whole[:5], atol=1e-7)


def test_readouts_agree_with_each_other_and_with_scikit_learn():
    rng = np.random.default_rng(0)
    z, t = rng.standard_normal((50, 6)) + 1.0, rng.standard_normal((50, 2))
    oracle = Ridge(alpha=0.7).fit(z, t)
    dual, b = dual_readout(z @ z.T, t, 0.7)
    assert np.allclose(z @ (z.T @ dual) + b, oracle.predict(z), atol=1e-7)
    mean = z.mean(axis=0)
    weights, c = primal_readout(
        z.T @ z - 50 * np.outer(mean, mean), z.T @ t - 50 * np.outer(mean, t.mean(axis=0)), mean, t.mean(axis=0), 0.7
    )
    assert np.allclose(z @ weights + c, oracle.predict(z), atol=1e-7)
    for part in (z, z[:4]):
        w, d = linear_ridge(part, t[: len(part)], 0.7)
        assert np.allclose(part @ w + d, Ridge(alpha=0.7).fit(part, t[: len(part)]).predict(part), atol=1e-8)
        for alpha, (w, d) in zip(
            (0.01, 0.7, 30.0), linear_ridges(part, t[: len(part)], (0.01, 0.7, 30.0)), strict=True
        ):
            assert np.allclose(part @ w + d, Ridge(alpha=alpha).fit(part, t[: len(part)]).predict(part), atol=1e-8)


def test_singular_gram_is_lifted_by_the_floor():
    ones = np.ones((20, 20))
    dual, b = dual_readout(ones, np.arange(20.0)[:, None], 0.0)
    assert np.allclose(ones @ dual + b, 9.5, atol=1e-3)


def test_all_baselines_learn_and_the_twin_leaves_no_trace(hierarchy):
    (x, y), (xt, _) = hierarchy(400, seed=0, dim=6, num_test=300)
    easy, easy_test = np.sign(x[:, 0] + 0.1), np.sign(xt[:, 0] + 0.1)
    state = torch.get_rng_state()
    for model in (
        DeepNNGPClassifier(),
        RidgeClassifierOnInputs(),
        RandomFeatureClassifier(width=200),
        GradientDescentTwin(width=32, steps=100, learning_rate=0.01),
    ):
        assert model.fit(x, easy).score(xt, easy_test) > 0.9
    assert torch.equal(state, torch.get_rng_state())
    assert len(y) == 400


def test_a_batch_larger_than_the_data_is_refused(hierarchy):
    (x, y), _ = hierarchy(50, seed=0, num_test=5)
    with pytest.raises(ValueError, match="64 for 50 rows"):
        GradientDescentTwin(batch_size=64).fit(x, y)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (RandomFeatureClassifier(width=0), "parameter width; found 0"),
        (DeepNNGPClassifier(n_layers=0), "parameter n_layers; found 0"),
        (DeepNNGPClassifier(alpha=-1.0), "parameter alpha; found -1.0"),
        (RidgeClassifierOnInputs(alpha="no"), "parameter alpha; found 'no'"),
        (GradientDescentTwin(steps=0), "parameter steps; found 0"),
        (GradientDescentTwin(learning_rate=-1.0), "parameter learning_rate; found -1.0; expected a number above 0"),
        (GradientDescentTwin(steps=20, learning_rate=1e9), "found divergence at 1e.09"),
    ],
)
def test_parameters_that_cannot_be_meant_are_refused(model, words):
    x = np.random.default_rng(0).standard_normal((40, 3))
    with pytest.raises(ValueError, match=words):
        model.fit(x, np.arange(40) % 2)
