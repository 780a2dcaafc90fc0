"""CaPE: soft targets against naive ones, a phase that keeps its best epoch and repairs a network that is too sure."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.training import bin_targets, calibrated_phase, kernel_targets


def test_soft_targets_are_the_naive_means():
    rng = np.random.default_rng(0)
    p, y = rng.random(60), (rng.random(60) < 0.4).astype(float)
    order = np.argsort(p)
    wanted = np.empty(60)
    for k in range(6):
        rows = order[10 * k : 10 * k + 10]
        wanted[rows] = y[rows].mean()
    assert bin_targets(p, y, bins=6) == pytest.approx(wanted)
    place = np.argsort(order)
    for neighbours in (7, 200):
        weights = np.exp(-0.5 * ((p[:, None] - p[None]) / 0.1) ** 2) * (
            np.abs(place[:, None] - place[None]) <= neighbours
        )
        assert kernel_targets(p, y, neighbours=neighbours) == pytest.approx(weights @ y / weights.sum(axis=1))


def chances(rows: int, seed: int):
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.standard_normal((rows, 3)), dtype=torch.float32)
    truth = torch.sigmoid(x[:, 0]).double().numpy()
    labels = torch.as_tensor((rng.random(rows) < truth).astype(np.int64))
    return Dataset(name="chances", inputs=x, labels=labels, num_classes=2), truth


@pytest.mark.parametrize(("targets", "outputs"), [("bins", 1), ("kernel", 2)])
def test_a_network_that_is_too_sure_is_repaired_and_the_best_epoch_kept(targets, outputs):
    (data, _), (held, truth) = chances(1500, 0), chances(800, 1)
    model = nn.Linear(3, outputs)
    with torch.no_grad():
        model.weight.zero_()
        model.weight[-1, 0] = 6.0  # the right direction, six times too sure
        model.bias.zero_()
    settings = {"epochs": 14, "targets": targets, "learning_rate": 0.05}
    found = calibrated_phase(model, data, held, **settings, seed=0)
    assert found.epoch > 0 and found.log_losses[found.epoch] == found.log_losses.min() < found.log_losses[0] - 0.2
    scores = model(held.inputs).double()
    logit = scores[:, 0] if outputs == 1 else scores[:, 1] - scores[:, 0]
    p = torch.sigmoid(logit).detach().numpy()
    assert ((p - truth) ** 2).mean() < 0.003 and not model.training
    assert held.labels is not None
    loss = -np.where(held.labels.numpy() == 1, np.log(p), np.log1p(-p)).mean()
    assert loss == pytest.approx(found.log_losses[found.epoch], abs=1e-6)


def test_a_network_that_training_makes_worse_is_left_as_it_came():
    (data, _), (held, _) = chances(200, 0), chances(200, 1)
    model = nn.Linear(3, 1)
    before = [p.clone() for p in model.parameters()]
    found = calibrated_phase(model, data, held, epochs=3, learning_rate=1e4)
    assert found.epoch == 0 and all(torch.equal(a, b) for a, b in zip(before, model.parameters()))
    assert math.isfinite(found.log_losses[0])


def test_what_is_no_event_is_refused():
    data, _ = chances(20, 0)
    three = Dataset(name="three", inputs=data.inputs, labels=torch.arange(20) % 3)
    for arguments, says in (
        ((nn.Linear(3, 1), three, data), "3 classes"),
        ((nn.Linear(3, 4), data, data), "4 scores"),
    ):
        with pytest.raises(InputError, match=says):
            calibrated_phase(*arguments)
    with pytest.raises(InputError, match="'rank'; expected bins, kernel, labels"):
        calibrated_phase(nn.Linear(3, 1), data, data, targets="rank")
