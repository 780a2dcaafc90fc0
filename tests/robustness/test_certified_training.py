"""Certified training: its interval bounds hold, its schedule is what it says, and it lowers the verified error."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from cutaway.errors import InputError
from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.bounds.sweep import SweepSettings, sweep
from cutaway.robustness.certified_training import (
    CertifiedTrainingSettings,
    bound_loss,
    ibp_initialise,
    interval_forward,
    radius_at,
    small_cnn,
    train_certified,
)
from cutaway.robustness.regions import box


def blobs(num, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (num,), generator=generator)
    inputs = torch.where(labels[:, None] == 0, 0.3, 0.7) + 0.04 * torch.randn(num, 8, generator=generator)
    return inputs.clamp(0, 1), labels


def network():
    return nn.Sequential(
        nn.Linear(8, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, 2),
    )


def test_interval_forward_is_the_engines_ibp():
    """Two implementations of ours."""
    model = small_cnn(channels=1, size=8, width=2).double()
    ibp_initialise(model)
    model.eval()
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = (x - 0.1).clamp(0, 1), (x + 0.1).clamp(0, 1)
    _, lower, upper, hidden = interval_forward(model, x, low, high)
    net = bound_network(model, x)
    limits = sweep(net, box(low, high), SweepSettings(method="ibp"))
    output = net.graph.output.index
    assert torch.allclose(lower, limits.lower[output].flatten(1), atol=1e-9)
    assert torch.allclose(upper, limits.upper[output].flatten(1), atol=1e-9) and len(hidden) == 3


@pytest.mark.parametrize("method", ["ibp", "sabr", "mtl-ibp"])
def test_training_lowers_the_verified_error(method):
    inputs, labels = blobs(1200, 0)
    test, truth = blobs(300, 1)
    model = network()
    settings = CertifiedTrainingSettings(radius=0.1, method=method, epochs=12, batch_size=64, learning_rate=5e-3)
    record = train_certified(model, inputs, labels, settings)
    with torch.no_grad():
        _, worst, scores, _ = bound_loss(model, test, truth, (test - 0.1).clamp(0, 1), (test + 0.1).clamp(0, 1))
    assert float((scores.argmax(1) != truth).double().mean()) <= 0.02
    assert float((worst > 0).any(1).double().mean()) <= 0.1
    assert len(record.losses) == 12 and not record.stopped_early and not model.training


def test_same_seed_same_weights():
    inputs, labels = blobs(256, 0)
    states = []
    for _ in range(2):
        model = network()
        train_certified(model, inputs, labels, CertifiedTrainingSettings(radius=0.05, epochs=2, batch_size=64, seed=5))
        states.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*states)


def test_radius_grows_from_zero_smoothly():
    values = [radius_at(s, 10, 110, 0.3) for s in range(130)]
    assert values[10] == 0.0 and values[110] == 0.3 and values[-1] == 0.3
    assert all(b >= a for a, b in zip(values, values[1:])) and max(b - a for a, b in zip(values, values[1:])) < 0.006


def test_initial_variance():
    layer = nn.Sequential(nn.Linear(400, 300), nn.Linear(300, 2))
    ibp_initialise(layer)
    assert math.isclose(float(layer[0].weight.detach().std()), math.sqrt(2 * math.pi) / 400, rel_tol=0.02)


def test_time_limit_and_refusals():
    inputs, labels = blobs(256, 0)
    record = train_certified(network(), inputs, labels, CertifiedTrainingSettings(radius=0.1, seconds=0.0))
    assert record.stopped_early
    with pytest.raises(InputError, match="training method; found 'magic'"):
        CertifiedTrainingSettings(radius=0.1, method="magic")
    with pytest.raises(InputError, match="layer Tanh; found a layer without interval rule"):
        interval_forward(nn.Sequential(nn.Tanh()), inputs, inputs, inputs)
