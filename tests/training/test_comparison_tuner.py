"""Tuning by comparisons: it mends what it can, uses nothing but comparisons, leaves the model as it was."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.errors import InputError, ModelError
from cutaway.evidence import comparison_bound
from cutaway.training import ComparisonTuner, scaled_channels


def small(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


def test_scales_multiply_weights_and_biases_of_their_channels():
    model = small()
    scales = np.arange(1.0, 10.0)
    changed = scaled_channels(model, scales)
    assert torch.equal(changed[0].weight, model[0].weight * torch.arange(1.0, 7.0)[:, None])
    assert torch.equal(changed[2].bias, model[2].bias * torch.arange(7.0, 10.0))
    conv = nn.Sequential(nn.Conv2d(1, 2, 3))
    assert torch.equal(scaled_channels(conv, np.array([2.0, 3.0]))[0].weight[1], 3 * conv[0].weight[1])


def test_a_damaged_network_is_mended():
    model = small()
    inputs = torch.randn(200, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = model(inputs)
    damaged = scaled_channels(model, np.exp(np.random.default_rng(0).standard_normal(9)))
    before = copy.deepcopy(damaged.state_dict())

    def loss(m):
        with torch.no_grad():
            return float((m(inputs) - wanted).square().mean())

    tuned = ComparisonTuner(rounds=200, seed=0).tune(damaged, loss)
    assert loss(tuned.model) < 0.2 * loss(damaged)
    assert all(torch.equal(v, damaged.state_dict()[k]) for k, v in before.items())
    put = scaled_channels(damaged, tuned.scales)
    assert all(torch.allclose(a, b) for a, b in zip(put.parameters(), tuned.model.parameters()))
    assert 0.1 < tuned.accepted.mean() < 0.35  # the 1/5 rule
    assert tuned.bound(1000) == comparison_bound(200, 2, 1000)
    assert tuned.bound(1000, before=50) == comparison_bound(250, 2, 1000)
    # any loss in the same order gives the same search
    same = ComparisonTuner(rounds=200, seed=0).tune(damaged, lambda m: math.exp(5 * loss(m)) - 3)
    assert np.array_equal(same.scales, tuned.scales)
    assert len(ComparisonTuner(rounds=5, what="layer").tune(damaged, loss).scales) == 2


def test_a_constant_or_infinite_loss_changes_nothing():
    model, calls = small(), []

    def worse(m):
        calls.append(0)
        return 0.0 if len(calls) == 1 else float("nan") if len(calls) % 2 else 0.0

    tuned = ComparisonTuner(rounds=20).tune(model, worse)
    assert len(calls) == 21 and not tuned.accepted.any() and (tuned.scales == 1).all()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), tuned.model.parameters()))


def test_bad_settings_models_and_losses():
    for wrong in ({"rounds": 0}, {"step": 0.0}, {"step": float("nan")}, {"what": "weight"}, {"growth": 1.0}):
        with pytest.raises(InputError, match="rounds at least 1"):
            ComparisonTuner(**wrong)
    with pytest.raises(ModelError, match="no linear or convolutional layer"):
        ComparisonTuner().tune(nn.ReLU(), lambda m: 0.0)
    with pytest.raises(InputError, match="finite"):
        ComparisonTuner().tune(small(), lambda m: float("nan"))
    with pytest.raises(InputError, match="expected 9"):
        scaled_channels(small(), np.ones(8))
