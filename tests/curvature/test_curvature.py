"""Curvature against dense Hessians in float64, closed forms, and matrices whose spectrum is known."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from cutaway.curvature import (
    Moments,
    Surface,
    density,
    extremes,
    moments,
    positive_excess,
    predicted_excess,
    scale_sweep,
    softmax_entropy,
    softmax_gain,
    subspace_hessian,
)
from cutaway.data import Dataset
from cutaway.errors import BudgetError, InputError
from cutaway.instruments import Curvature
from cutaway.network import Network
from cutaway.network.lanczos import leading_pairs
from cutaway.testing.contract import small_data


def small(seed=0, outputs=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, outputs)).eval()


@pytest.fixture(scope="module")
def setting():
    """A surface of 279 parameters and its dense Hessian and Gauss-Newton matrix, by torch's own second derivatives."""
    torch.manual_seed(1)
    inputs, labels = torch.randn(30, 6), torch.randint(0, 3, (30,))
    surface = Surface.of(Network(small(), inputs[:2]), inputs, labels)

    def value(theta):
        return surface.loss(surface.parameters.outputs(theta, inputs.double()), labels).mean()

    dense = torch.autograd.functional.hessian(value, surface.parameters.theta)
    slopes = torch.autograd.functional.jacobian(
        lambda t: surface.parameters.outputs(t, inputs.double()), surface.parameters.theta
    )
    p = surface.outputs().softmax(dim=1)
    bend = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    gauss = torch.einsum("ncp,ncd,ndq->pq", slopes, bend, slopes) / len(inputs)
    return surface, dense.numpy(), gauss.numpy()


def test_the_whole_space_as_a_subspace_is_the_dense_hessian(setting):
    surface, dense, _ = setting
    found = positive_excess(subspace_hessian(surface, len(surface)))
    assert found.excess == pytest.approx(np.trace(dense) / np.linalg.norm(dense), abs=1e-10)
    assert found.norm == pytest.approx(np.linalg.norm(dense), rel=1e-10)
    values = np.linalg.eigvalsh(subspace_hessian(surface, len(surface)))
    assert np.abs(values - np.linalg.eigvalsh(dense)).max() < 1e-10


def test_probes_agree_with_the_dense_matrices_within_three_standard_errors(setting):
    """Three means at 3 standard errors: a false alarm in about 1 of 120 seeds; the seed is fixed."""
    surface, dense, gauss = setting
    found = moments(surface, probes=200, seed=2)
    for values, wanted in (
        (found.trace, np.trace(dense)),
        (found.square, np.linalg.norm(dense) ** 2),
        (found.gauss_newton, np.trace(gauss)),
    ):
        error = values.std(ddof=1) / math.sqrt(len(values))
        assert abs(values.mean() - wanted) < 3 * error
        assert error < 0.15 * abs(wanted)  # so that the line above can fail
    assert found.excess() == pytest.approx(np.trace(dense) / np.linalg.norm(dense), rel=0.25)


def test_probes_are_the_same_at_a_small_budget(setting):
    surface, _, _ = setting
    tight = dataclasses.replace(surface, budget=60_000)
    one, other = moments(surface, probes=7), moments(tight, probes=7)
    assert np.allclose(one.trace, other.trace, atol=1e-12) and np.allclose(one.gauss_newton, other.gauss_newton)


def test_the_ends_of_the_spectrum_are_the_dense_ones(setting):
    surface, dense, _ = setting
    exact = np.linalg.eigvalsh(dense)
    found = extremes(surface, top=5, bottom=2, tolerance=1e-7)
    assert found.converged
    assert np.abs(found.values - np.concatenate([exact[::-1][:5], exact[:2]])).max() < 1e-6
    short = extremes(surface, top=5, bottom=1, tolerance=1e-12, limit=12)  # not converged: the bounds must hold
    assert not short.converged
    for value, bound in zip(short.values, short.residuals):
        assert np.abs(exact - value).min() <= bound + 1e-12


def test_the_identitys_basis_is_kept_once_and_gives_what_two_give():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((60, 60))
    matrix = matrix + matrix.T
    for gram in (None, lambda v: v.copy()):
        found = leading_pairs(lambda v, _: matrix @ v, gram, 60, 3, generator=np.random.default_rng(1))
        exact = np.linalg.eigvalsh(matrix)
        wanted = exact[np.argsort(-np.abs(exact))[:3]]
        assert np.allclose(found.values, wanted, atol=1e-8)


def test_the_density_has_the_moments_of_the_dense_spectrum(setting):
    surface, dense, _ = setting
    found = density(surface, probes=30, steps=30, seed=1)
    spacing = found.grid[1] - found.grid[0]
    assert np.allclose(found.mass.sum(axis=1) * spacing, 1.0, atol=1e-3)
    second = np.sum(found.weights * found.nodes**2, axis=1)
    error = second.std(ddof=1) / math.sqrt(len(second))
    assert abs(second.mean() - np.sum(dense**2) / len(dense)) < 3 * error
    assert found.nodes[found.weights > 1e-12].max() <= np.linalg.eigvalsh(dense)[-1] + 1e-9


def test_the_density_is_the_same_under_a_budget_for_one_probe_at_a_time(setting):
    surface, _, _ = setting
    small = dataclasses.replace(surface, budget=8 * len(surface) * 4 * 2 * 12)  # a quarter holds twice 12 vectors
    whole, parted = (density(s, probes=5, steps=12, seed=1) for s in (surface, small))
    assert max(1, small.vectors_in(1 / 4) // (2 * 12)) == 1
    assert np.allclose(parted.nodes[:, :6], whole.nodes[:, :6], atol=1e-6 * abs(whole.nodes).max())
    assert np.allclose(parted.mass, whole.mass, rtol=1e-4, atol=1e-6 * whole.mass.max())


def test_the_excess_in_a_subspace_is_what_trace_and_norm_say():
    """Over matrices with a spectrum of one sign and of both, against the mean over random subspaces."""
    rng = np.random.default_rng(3)
    for shift in (0.0, 0.05, 0.4):
        values = rng.standard_normal(1500) * np.exp(rng.standard_normal(1500)) * 0.3 + shift
        found = []
        for _ in range(12):
            basis = np.linalg.qr(rng.standard_normal((1500, 50)))[0]
            found.append(positive_excess((basis.T * values) @ basis).excess)
        one = Moments(trace=np.array([values.sum()]), square=np.array([np.sum(values**2)]), gauss_newton=np.zeros(1))
        spread = np.std(found, ddof=1) / math.sqrt(12)
        assert one.excess(dimension=50) == pytest.approx(np.mean(found), abs=4 * spread + 0.03 * abs(np.mean(found)))
        assert abs(one.excess(dimension=50)) < math.sqrt(50)


@pytest.mark.parametrize("classes", [2, 5, 10])
def test_softmax_gain_and_entropy_in_closed_form(classes):
    assert softmax_gain(torch.zeros(7, classes)) == pytest.approx(math.sqrt(classes - 1))
    assert softmax_entropy(torch.zeros(7, classes)) == pytest.approx(math.log(classes))
    tie = torch.full((7, classes), -1e4)
    tie[:, :2] = 0.0  # one direction of the logits is left
    assert softmax_gain(tie) == pytest.approx(1.0)
    sure = torch.zeros(7, classes)
    sure[:, 0] = 1e4
    assert math.isnan(softmax_gain(sure)) and softmax_entropy(sure) == pytest.approx(0.0)


def test_the_predicted_excess_is_that_of_random_gradients():
    """Naive transcription of the model: logits' gradients of independent normal numbers, uniform softmax."""
    rng = np.random.default_rng(0)
    d, classes, rows = 40, 10, 400
    for own, shared in ((1.0, 0.0), (1.0, 0.3), (0.1, 1.0)):
        found = []
        for _ in range(6):
            slopes = math.sqrt(own) * rng.standard_normal((rows, classes, d))
            slopes += math.sqrt(shared) * rng.standard_normal((classes, d))
            bend = np.eye(classes) / classes - 1 / classes**2
            found.append(positive_excess(np.einsum("nci,ce,nej->ij", slopes, bend, slopes) / rows).excess)
        wanted = predicted_excess(own, shared, 3.0, d)
        assert np.mean(found) == pytest.approx(wanted, rel=0.12)


def test_a_sweep_has_the_tails_that_the_theory_gives():
    torch.manual_seed(0)
    inputs, labels = torch.rand(60, 8), torch.randint(0, 4, (60,))
    model = nn.Sequential(nn.Linear(8, 32, bias=False), nn.ReLU(), nn.Linear(32, 4, bias=False))
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    surface = Surface.of(Network(model.eval(), inputs[:2]), inputs, labels)
    small_scale, middle, large = scale_sweep(surface, [0.01, 1.5, 1000.0], dimension=30)
    assert small_scale.entropy == pytest.approx(math.log(4), abs=1e-3)
    assert small_scale.gain == pytest.approx(math.sqrt(3), abs=1e-3)
    assert large.entropy < 1e-2
    assert middle.excess.excess > 1.0 > abs(small_scale.excess.excess)
    assert surface.parameters.theta.equal(Surface.of(Network(model, inputs[:2]), inputs, labels).parameters.theta)


def test_squared_error_of_a_linear_network_has_the_covariance_as_hessian():
    torch.manual_seed(0)
    inputs, labels = torch.randn(40, 5), torch.randint(0, 3, (40,))
    model = nn.Linear(5, 3, bias=False)
    surface = Surface.of(Network(model, inputs[:2]), inputs, labels, loss="squared-error")
    covariance = np.linalg.eigvalsh((inputs.double().T @ inputs.double() / 40).numpy())
    assert extremes(surface, top=1, bottom=0, tolerance=1e-10).values[0] == pytest.approx(covariance[-1])
    reading = Curvature(loss="squared-error", num_points=40).measure(model, (inputs, labels))
    assert reading.figure("residual_trace").value == pytest.approx(0.0, abs=1e-12)
    assert "softmax_gain" not in {f.name for f in reading.figures}


def test_student_interval_covers_as_stated():
    """2,000 samples of 5 normal draws: the share covered is 0.95 within 4 standard errors."""
    from cutaway.reading.intervals import student_interval

    rng = np.random.default_rng(0)
    covered = [low <= 0.0 <= high for low, high in (student_interval(rng.standard_normal(5)) for _ in range(2000))]
    assert np.mean(covered) == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 2000))
    assert student_interval(np.array([1.0, 3.0]))[1] == pytest.approx(2.0 + stats.t.ppf(0.975, 1))


def test_a_loss_that_is_zero_has_a_reading_and_words():
    inputs = torch.eye(3).repeat(4, 1)
    model = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(1e4 * torch.eye(3))
    reading = Curvature().measure(model, (inputs, torch.arange(3).repeat(4)))
    assert reading.figure("loss").value == 0.0
    assert math.isnan(reading.figure("positive_excess").value)
    assert "flat" in Curvature().describe(reading)


def test_half_precision_is_computed_in_float64():
    data = small_data()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).half().eval()
    halved = Curvature(num_density=1).measure(model, data)
    assert math.isfinite(halved.figure("trace").value)
    assert halved.provenance.dtype == "float16"


def test_bad_input_is_told():
    data = small_data()
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    with pytest.raises(InputError, match="cross-entropy, squared-error"):
        Curvature(loss="hinge").measure(model, data)
    with pytest.raises(InputError, match="without labels"):
        Curvature().measure(model, dataclasses.replace(data, labels=None, num_classes=None))
    with torch.device("meta"):
        large = nn.Linear(10_000, 10_000)
    network = Network.__new__(Network)
    network.model, network.example, network.name = large, None, "large"
    with pytest.raises(BudgetError, match="--budget"):
        Surface.of(network, torch.zeros(2, 10_000), torch.zeros(2, dtype=torch.long), budget=10**8)


def test_the_words_have_no_names_of_variables():
    data = small_data()
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    reading = Curvature().measure(Network(model, data.inputs[:2]), data)
    words = Curvature().describe(reading)
    assert "_" not in words and "stable for steps below" in words
    assert isinstance(data, Dataset)
