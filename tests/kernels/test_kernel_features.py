"""Eigen-features against the kernel predictor itself, the feature of a network against its kernel, attack by kernel."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import BudgetError, InputError
from cutaway.evidence import NULLS, replicates
from cutaway.instruments import KernelFeatures
from cutaway.kernels import (
    InfiniteNetwork,
    KernelAttack,
    KernelPredictor,
    TangentFeature,
    eigen_features,
    feature_directions,
    solve,
    tangent_kernel,
)
from cutaway.network import Network
from cutaway.network.calculus import Parameters
from cutaway.robustness.attacks import Entropy, Noise
from cutaway.testing import check_instrument
from cutaway.testing.contract import small_classifier, small_data


def rows(count=30, classes=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.rand(count, 6, generator=draw, dtype=torch.float64)
    labels = torch.arange(count) % classes
    inputs[torch.arange(count), labels] += 0.6
    return Dataset(name="rows", inputs=inputs, labels=labels, num_classes=classes, value_range=(0.0, 1.6))


def test_features_add_up_to_the_regression():
    data = rows()
    kernel = InfiniteNetwork().kernels(data.inputs)[1]
    new = rows(9, seed=1).inputs
    cross = InfiniteNetwork().kernels(new, data.inputs)[1]
    targets = torch.nn.functional.one_hot(data.labels, 3).double()
    found = eigen_features(kernel, targets, 30)
    assert len(found.values) == 30 and bool((found.values.diff() <= 0).all())
    scores = found.scores(cross)
    wanted = cross @ solve(kernel, targets - targets.mean(dim=0)).coefficients + targets.mean(dim=0)
    assert torch.allclose(scores @ found.weights + found.mean, wanted, atol=1e-8)
    assert torch.equal(found.predicted(scores, 30), wanted.argmax(dim=1))


def test_two_classes_have_the_source_s_sides_and_duplicates_are_left_out():
    """sign f_i(x) = y, naively, for every feature and row."""
    data = rows(20, classes=2)
    kernel, cross = (InfiniteNetwork().kernels(a, data.inputs)[1] for a in (data.inputs, rows(8, 2, seed=1).inputs))
    labels = rows(8, 2, seed=1).labels
    found = eigen_features(kernel, torch.nn.functional.one_hot(data.labels, 2), 5)
    sign = 2 * data.labels.double() - 1
    values, vectors = torch.linalg.eigh(kernel)
    for number in range(5):
        v = vectors[:, -1 - number]
        part = cross @ v * (v @ (sign - sign.mean())) / values[-1 - number]
        assert torch.equal(found.agreement(found.scores(cross), labels)[:, number], (part > 0) == (labels == 1))
    double = torch.cat([torch.cat([kernel, kernel], 0)] * 2, 1)
    twice = torch.nn.functional.one_hot(data.labels, 2).repeat(2, 1)
    assert len(eigen_features(double, twice, 40).values) == 20
    with pytest.raises(InputError, match="not zero"):
        eigen_features(torch.zeros(2, 2), torch.eye(2), 1)
    with pytest.raises(InputError, match="kernel \\(n, n\\)"):
        eigen_features(kernel, torch.eye(2), 1)


@pytest.mark.parametrize("activation", [nn.ReLU(inplace=True), nn.GELU()])
def test_a_feature_of_a_network_is_its_kernel_times_a_vector_and_has_a_gradient(activation):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 7), activation, nn.Linear(7, 3)).double().eval()
    data, new = rows(8), rows(4, seed=1).inputs
    network = Network(model, data.inputs[:2])
    parameters, vector = Parameters(network), torch.randn(8, dtype=torch.float64)
    feature = TangentFeature(parameters, feature_directions(parameters, data.inputs, vector))
    wanted = tangent_kernel(network, new, data.inputs, method="jacobian") @ vector
    point = new.clone().requires_grad_()
    found = feature(point)
    assert torch.allclose(found[:, 1], wanted, atol=1e-10) and torch.equal(found[:, 0], -found[:, 1])
    (slope,) = torch.autograd.grad(found[:, 1].sum(), point)
    way, size = torch.randn(4, 6, dtype=torch.float64), 1e-6
    moved = (feature(new + size * way)[:, 1] - feature(new - size * way)[:, 1]) / (2 * size)
    assert torch.allclose((slope * way).sum(dim=1), moved.detach(), atol=1e-5)
    with pytest.raises(BudgetError):
        feature_directions(parameters, data.inputs, vector, budget=100)


def test_contract_words_picture(tmp_path):
    instrument = KernelFeatures(num_features=2, steps=2, num_points=24)
    reading = check_instrument(instrument)
    assert "_" not in instrument.describe(reading)
    reading.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000


def trained(data, steps=400):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 3))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(data.inputs), data.labels).backward()
        optimiser.step()
    return model.eval()


def test_labels_make_features_useful_attacks_turn_them_and_permuted_labels_do_not():
    data = small_data(120)
    network = Network(trained(data), data.inputs[:2])
    found = KernelFeatures(num_features=3, steps=5, radius=0.2).measure(network, data, intervals=False)
    value = {f.name: f.value for f in found.figures}
    assert value["usefulness"] > 0.65 and value["robustness"] < value["noise_robustness"] - 0.2
    assert found.values["accuracy_up_to"].values[-1] > 0.6
    still = KernelFeatures(num_features=3, steps=0, radius=0.0).measure(network, data, intervals=False)
    assert still.figure("robustness").value == pytest.approx(still.figure("usefulness").value)
    assert still.figure("fragile_share").value == 0.0
    null = replicates(KernelFeatures(num_features=3, steps=0), network, data, NULLS["permuted-labels"], count=4)
    assert np.mean([r.figure("usefulness").value for r in null]) == pytest.approx(0.5, abs=0.07)


def test_what_has_no_features_says_so():
    data = small_data(40)
    one = dataclasses.replace(data, labels=torch.zeros_like(data.labels))
    assert "two classes" in KernelFeatures().measure(small_classifier(), one).reason
    dead = small_classifier()
    with torch.no_grad():
        dead[-1].weight.zero_()
    reading = KernelFeatures(num_features=1, steps=1).measure(
        dead, data, intervals=False
    )  # its last layer still learns
    assert reading.figure("usefulness").value >= 0
    with pytest.raises(InputError, match="without labels"):
        KernelFeatures().measure(dead, dataclasses.replace(data, labels=None, num_classes=None))


def test_the_kernel_attack_beats_noise_on_a_network_it_never_saw():
    learn, test = small_data(120), small_data(60, seed=1)
    network = Network(trained(learn), learn.inputs[:2])
    attack = KernelAttack(radius=0.2, learn=learn, steps=5)
    found, noise = attack.attack(network, test), Noise(radius=0.2).attack(network, test)
    assert float(found.success.double().mean()) > float(noise.success.double().mean()) + 0.2
    assert float(found.distance.max()) <= 0.2 + 1e-5
    own = float((attack.predictor.outputs(test.inputs).argmax(dim=1) == test.labels).double().mean())
    assert own > 0.8
    with pytest.raises(InputError, match="goal of classes"):
        attack.attack(network, test, goal=Entropy())
    with pytest.raises(InputError, match="no labels"):
        KernelPredictor.fit(InfiniteNetwork(), dataclasses.replace(learn, labels=None, num_classes=None))
    twice = dataclasses.replace(learn, inputs=learn.inputs.repeat(2, 1, 1, 1), labels=learn.labels.repeat(2))
    assert (
        KernelPredictor.fit(InfiniteNetwork(), twice, ridge=0.0).floor
        > 0
        == KernelPredictor.fit(InfiniteNetwork(), learn).floor
    )
