"""First instruments against closed forms and naive transcriptions."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.features.class_means import collapse
from cutaway.geometry.boundary_distance import first_crossing, nearest_boundary
from cutaway.geometry.linearisation import boundary_sites
from cutaway.geometry.near_neurons import effective_radius, frame, local_complexity, neurons_within
from cutaway.instruments import BoundaryDistance, LocalComplexity, RobustAccuracy, Sparsity
from cutaway.network import Network
from cutaway.outputs.calibration import debiased_calibration_error, expected_calibration_error, reliability
from cutaway.robustness.attacks import PGD, Noise
from cutaway.testing.contract import small_classifier, small_data


def mlp(*widths, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Linear(a, b), nn.ReLU()]
        return nn.Sequential(*layers[:-1]).double().eval()


def test_calibration_debiasing_removes_the_bias_of_a_calibrated_forecaster():
    """Closed form: a calibrated forecaster has error 0; the plug-in is biased upwards, the debiased one far less."""
    rng = np.random.default_rng(0)
    plug_in, debiased = [], []
    for _ in range(60):
        confidence = rng.uniform(0.5, 1.0, 300)
        correct = (rng.uniform(size=300) < confidence).astype(float)
        plug_in.append(expected_calibration_error(confidence, correct))
        debiased.append(debiased_calibration_error(confidence, correct))
    assert np.mean(plug_in) > 0.06
    assert np.mean(debiased) < 0.75 * np.mean(plug_in)  # one step of correction: some bias stays
    sure = np.full(400, 0.9)
    wrong = (rng.uniform(size=400) < 0.5).astype(float)
    assert debiased_calibration_error(sure, wrong, bins=1) == pytest.approx(0.4, abs=0.08)


def test_reliability_bins_hold_all_samples():
    rng = np.random.default_rng(1)
    table = reliability(rng.uniform(size=101), rng.integers(0, 2, 101).astype(float), bins=10)
    assert table.count.sum() == 101
    assert (table.low <= table.accuracy).all()
    assert (table.accuracy <= table.high).all()


def test_local_complexity_equals_the_naive_transcription():
    """Oracle: the published procedure written out with loops."""
    model, radius = mlp(6, 9, 8, 3), 0.7
    inputs = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    network = Network(model, inputs)
    directions = frame(6, 4, torch.Generator().manual_seed(2))
    torch.testing.assert_close(directions @ directions.T, torch.eye(4, dtype=torch.float64))
    found = local_complexity(network, inputs, directions, radius, network.sites, batch_size=8)
    for n, x in enumerate(inputs):
        vertices = [x + s * radius * v for v in directions for s in (1, -1)]
        for k, depth in enumerate((1, 3)):
            signs = torch.stack([torch.sign(model[:depth](v)) for v in vertices])
            naive = sum(len(set(signs[:, i].tolist())) > 1 for i in range(signs.shape[1]))
            assert int(found[n, k]) == naive
    assert found.sum() > 0


def test_neurons_within_radius_counts_hyperplanes_exactly():
    """Closed form for one layer; for deeper ones every |V_i| from autograd, row by row."""
    model, radius = mlp(6, 9, 8, 3, seed=2), 0.5
    inputs = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    network = Network(model, inputs)
    found = neurons_within(network, inputs, radius, network.sites, generator=torch.Generator(), batch_size=7)
    for n, x in enumerate(inputs):
        for k, depth in enumerate((1, 3)):
            jacobian = torch.autograd.functional.jacobian(model[:depth], x)
            naive = int(((model[:depth](x).abs() / jacobian.norm(dim=1)) < radius).sum())
            assert int(found[n, k]) == naive
    assert found.sum() > 0


def test_sketched_count_is_near_the_exact_one():
    """Above 128 dimensions: within 15 % of the exact count on average (32 directions, seed fixed)."""
    model = mlp(150, 200, 100, 3, seed=7)
    inputs = torch.randn(12, 150, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    network = Network(model, inputs)
    found = neurons_within(
        network, inputs, 0.3, network.sites, generator=torch.Generator().manual_seed(0), batch_size=64
    )
    from cutaway.geometry.linearisation import gradient_norms

    norms, pre = gradient_norms(network, inputs, network.sites), network.capture(inputs, post=False).pre
    exact = sum(int((pre[s.name].abs() < 0.3 * norms[s.name]).sum()) for s in network.sites)
    assert abs(float(found.sum()) / exact - 1) < 0.15


def test_effective_radius_matches_the_measured_share():
    """Methods: 0.080 at D = 784, P = 25 and 0.039 at D = 3072, P = 20."""
    assert effective_radius(1.0, 25, 784) == pytest.approx(0.080, abs=0.002)
    assert effective_radius(1.0, 20, 3072) == pytest.approx(0.039, abs=0.001)


def test_nearest_boundary_of_one_layer_is_the_point_plane_distance():
    model = mlp(5, 7, 2)
    inputs = torch.randn(20, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    network = Network(model, inputs)
    found, _ = nearest_boundary(network, inputs, network.sites, generator=torch.Generator())
    weight, bias = model[0].weight.detach(), model[0].bias.detach()
    closed = ((inputs @ weight.T + bias).abs() / weight.norm(dim=1)).min(dim=1).values
    torch.testing.assert_close(found, closed)


def test_nearest_boundary_and_crossing_are_where_the_pattern_changes():
    """Property: no sign changes before the distance, some right after it (deep network, exact path)."""
    model = mlp(6, 10, 9, 8, 3, seed=4)
    inputs = torch.randn(12, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    network = Network(model, inputs)
    sites = boundary_sites(network)
    direction = torch.randn(12, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    direction = direction / direction.norm(dim=1, keepdim=True)
    time = first_crossing(network, inputs, direction, sites)
    nearest, _ = nearest_boundary(network, inputs, sites, generator=torch.Generator())

    def pattern(points):
        pre = network.capture(points, sites, post=False).pre
        return torch.cat([pre[s.name] > 0 for s in sites], dim=1)

    here = pattern(inputs)
    assert (nearest <= time + 1e-12).all()
    assert torch.equal(pattern(inputs + 0.999 * nearest[:, None] * direction), here)
    finite = torch.isfinite(time)
    assert finite.any()
    after = pattern(inputs + (time * (1 + 1e-9)).nan_to_num(posinf=0.0)[:, None] * direction)
    assert ((after != here).sum(dim=1)[finite] >= 1).all()


def test_sketched_path_finds_the_exact_nearest_boundary():
    """Second implementation: above 128 input dimensions the estimate-then-verify path, against all norms."""
    model = mlp(150, 40, 30, 3, seed=7)
    inputs = torch.randn(8, 150, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    network = Network(model, inputs)
    found, site = nearest_boundary(network, inputs, network.sites, generator=torch.Generator().manual_seed(0))
    from cutaway.geometry.linearisation import gradient_norms

    norms = gradient_norms(network, inputs, network.sites)
    pre = network.capture(inputs, post=False).pre
    ratio = torch.cat([(pre[s.name].abs() / norms[s.name]) for s in network.sites], dim=1)
    torch.testing.assert_close(found, ratio.min(dim=1).values)
    torch.testing.assert_close(site, (ratio.argmin(dim=1) >= 40).long())


def test_boundary_distance_lists_what_it_does_not_count():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.Hardtanh(), nn.Linear(6, 2)).eval()
    data = Dataset(name="d", inputs=torch.randn(10, 4))
    reading = BoundaryDistance().measure(model, data)
    assert any("hardtanh" in s.reason for s in reading.coverage.skipped)
    assert reading.status.value == "bound"
    smooth = BoundaryDistance().measure(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.GELU()).eval(), data)
    assert smooth.reason.startswith("not piecewise affine: site 2:gelu#0")


def test_sparsity_of_a_network_with_known_dead_units():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 1.0, 0]]))
        model[0].bias.copy_(torch.tensor([0.0, -1.0, 1.0, -100.0]))
    data = Dataset(name="d", inputs=torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [2.0, 1, 1], [-3.0, 1, 1]]))
    reading = Sparsity().measure(model, data)
    assert reading.figure("non_zero_share").value == pytest.approx((2 + 0 + 4 + 0) / 16)
    assert reading.figure("dead_neuron_rate").value == pytest.approx(2 / 4)
    assert float(reading.values["static_dead_rate"][0]) == pytest.approx(2 / 4)


def test_collapse_closed_forms():
    """A simplex with no spread is fully collapsed; adding isotropic spread gives tr(Sigma_W pinv(Sigma_B)) / C."""
    rng = np.random.default_rng(0)
    classes, dims = 4, 6
    basis = np.linalg.qr(rng.normal(size=(dims, classes)))[0].T
    simplex = (np.eye(classes) - 1 / classes) @ basis
    labels = np.repeat(np.arange(classes), 50)
    perfect = collapse(simplex[labels], labels, simplex * 3, labels)
    for name, value in perfect.items():
        assert value == pytest.approx(0, abs=1e-12), name
    spread = simplex[labels] + 0.1 * rng.normal(size=(200, dims))
    found = collapse(spread, labels, simplex, labels)
    means = np.stack([spread[labels == c].mean(axis=0) for c in range(classes)])
    within = sum(np.cov(spread[labels == c].T, bias=True) for c in range(classes)) / classes
    centred = means - means.mean(axis=0)
    between = centred.T @ centred / classes
    naive = np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / classes
    assert found["nc1"] == pytest.approx(naive)
    assert found["nc4"] == pytest.approx(0.0)
    assert math.isnan(collapse(spread[:50], labels[:50], simplex, labels[:50])["nc1"])


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_pgd_on_a_linear_network_finds_the_exact_margin(norm):
    """Closed form: a linear classifier falls exactly when radius x dual norm of the weight difference exceeds the
    margin.
    """
    model = nn.Sequential(nn.Linear(8, 2)).double().eval()
    inputs = torch.randn(60, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = model(inputs).argmax(dim=1)
    data = Dataset(name="linear", inputs=inputs, labels=labels, num_classes=2)
    gap = model[0].weight[0] - model[0].weight[1]
    size = gap.abs().sum() if norm == "inf" else gap.norm()
    scores = model(inputs).detach()
    margin = (scores[:, 0] - scores[:, 1]).abs() / size.detach()
    radius = float(margin.median())
    attacked = PGD(radius=radius, norm=norm, steps=40).attack(Network(model, inputs), data)
    clear = (margin / radius - 1).abs() > 0.02
    assert torch.equal(attacked.success[clear], (margin < radius)[clear])
    assert clear.sum() > 50
    assert float(attacked.distance.max()) <= radius * (1 + 1e-6)


def test_attacks_stay_in_the_range_and_noise_has_the_radius():
    data, network = small_data(), Network(small_classifier(), small_data().inputs[:2])
    attacked = PGD(radius=0.3).attack(network, data)
    assert float(attacked.inputs.min()) >= 0
    assert float(attacked.inputs.max()) <= 1
    wide = dataclasses.replace(data, value_range=None)
    noised = Noise(radius=0.3, norm="2").attack(network, wide)
    torch.testing.assert_close(noised.distance, torch.full((48,), 0.3))


def test_robust_accuracy_falls_with_the_radius_and_uses_data_units():
    data, model = small_data(), small_classifier()
    values = [RobustAccuracy(radius=r).measure(model, data).figure("robust_accuracy").value for r in (0.0, 0.05, 0.2)]
    assert values[0] >= values[1] >= values[2]
    scaled = data.normalised()
    body = nn.Sequential(Rescale(scaled.mean, scaled.std), model).eval()
    same = RobustAccuracy(radius=0.05).measure(body, scaled).figure("robust_accuracy").value
    assert same == pytest.approx(values[1], abs=0.05)


class Rescale(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = mean[0], std[0]

    def forward(self, x):
        return x * self.std + self.mean


def test_directions_that_an_input_has_not_are_told():
    model, data = (
        nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)),
        Dataset(name="d", inputs=torch.randn(10, 3)),
    )
    (left_out,) = LocalComplexity(num_directions=5).measure(model, data).coverage.skipped
    assert left_out.what == "2 of 5 directions"
    assert not LocalComplexity(num_directions=3).measure(model, data).coverage.skipped


def test_local_complexity_counts_less_for_smaller_radius():
    data, model = small_data(), small_classifier()
    small, large = (
        LocalComplexity(radius=r).measure(model, data).figure("local_complexity").value for r in (0.01, 0.5)
    )
    assert small <= large
    assert large > 0


@pytest.mark.parametrize("dims", [4, 200])
def test_the_boundary_distance_costs_what_it_says(dims):
    model = nn.Sequential(nn.Linear(dims, 9), nn.ReLU(), nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 3)).eval()
    network, instrument = Network(model, torch.rand(2, dims)), BoundaryDistance(probes=5, candidates=6)
    forward, backward = network.forward_passes, network.backward_passes
    instrument.measure(network, (torch.rand(10, dims), torch.arange(10) % 3))
    done = network.forward_passes - forward, network.backward_passes - backward
    assert done == ((10 * (dims + 8), 10 * 5) if dims <= 128 else (10 * (5 + 6 + 3), 10 * (6 + 1)))
