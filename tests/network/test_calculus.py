"""Derivatives by the parameters: against torch's dense ones, against formulas, and by every route alike."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cutaway.errors import BudgetError, InputError
from cutaway.network import Network, calculus
from cutaway.network.calculus import (
    Parameters,
    cross_entropy,
    gauss_newton_products,
    gradient,
    hessian_products,
    jacobian,
    sample_gradients,
    squared_error,
)
from cutaway.network.lanczos import quadrature
from cutaway.network.scaling import homogeneity

pytestmark = pytest.mark.filterwarnings("ignore:.*vmap.*:UserWarning")


def setting(model, *shape, rows=5, seed=0, classes=3):
    torch.manual_seed(seed)
    inputs = torch.randn(rows, *shape, dtype=torch.float64)
    network = Network(model.double().eval(), inputs)
    return Parameters(network), inputs, torch.randint(0, classes, (rows,))


def smooth(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def convolution():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3)
    )


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(3, 3, bias=False)
        self.two = self.one

    def forward(self, x):
        return self.two(torch.relu(self.one(x)))


MODELS = {
    "smooth": (smooth, (4,)),
    "convolution": (convolution, (2, 6, 6)),
    "recurrent": (Recurrent, (4, 3)),
    "tied": (Tied, (3,)),
}


@pytest.mark.parametrize("name", MODELS)
def test_products_equal_torchs_dense_hessian(name):
    make, shape = MODELS[name]
    torch.manual_seed(2)
    parameters, inputs, labels = setting(make(), *shape)
    theta = parameters.theta.clone().requires_grad_()
    value = cross_entropy(parameters.outputs(theta, inputs), labels).mean()
    (slope,) = torch.autograd.grad(value, theta, create_graph=True)
    dense = torch.stack([torch.autograd.grad(s, theta, retain_graph=True)[0] for s in slope])
    vectors = torch.randn(6, len(parameters), dtype=torch.float64)
    assert torch.allclose(hessian_products(parameters, inputs, labels, vectors), vectors @ dense, atol=1e-12)
    assert torch.allclose(gradient(parameters, inputs, labels), slope.detach(), atol=1e-14)


@pytest.mark.parametrize("name", MODELS)
def test_gauss_newton_is_the_jacobian_around_the_softmax(name):
    make, shape = MODELS[name]
    torch.manual_seed(2)
    parameters, inputs, labels = setting(make(), *shape)
    by_parameters = jacobian(parameters, inputs)
    chance = parameters.outputs(parameters.theta, inputs).softmax(1).detach()
    bend = torch.diag_embed(chance) - chance[:, :, None] * chance[:, None]
    dense = torch.einsum("ncp,ncd,ndq->pq", by_parameters, bend, by_parameters) / len(inputs)
    vectors = torch.randn(4, len(parameters), dtype=torch.float64)
    found = gauss_newton_products(parameters, inputs, labels, vectors)
    assert torch.allclose(found, vectors @ dense, atol=1e-12)
    assert not found.requires_grad


@pytest.mark.parametrize("name", MODELS)
def test_rows_one_by_one_and_double_backward_give_the_same(name, monkeypatch):
    make, shape = MODELS[name]
    torch.manual_seed(2)
    parameters, inputs, labels = setting(make(), *shape)
    vectors = torch.randn(3, len(parameters), dtype=torch.float64)

    def everything():
        return (
            jacobian(parameters, inputs),
            sample_gradients(parameters, inputs, labels),
            hessian_products(parameters, inputs, labels, vectors),
        )

    mapped = everything()

    def refused(*_, **__):
        raise RuntimeError("not this way")

    monkeypatch.setattr(calculus, "vmap", lambda *_, **__: refused)
    for one, other in zip(mapped, everything(), strict=True):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_float32_goes_another_way_to_the_same_products(name):
    make, shape = MODELS[name]
    torch.manual_seed(2)
    parameters, inputs, labels = setting(make(), *shape)
    vectors = torch.randn(3, len(parameters), dtype=torch.float64)
    wanted = hessian_products(parameters, inputs, labels, vectors)
    single = Parameters(Network(make().float().eval(), inputs.float())).at(parameters.theta)
    found = hessian_products(single, inputs.float(), labels, vectors.float())
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), wanted, atol=2e-5 * float(wanted.abs().max()))


def test_tangents_by_two_backward_passes_are_tangents():
    parameters, inputs, _ = setting(smooth(), 4)
    vectors = torch.randn(3, len(parameters), dtype=torch.float64)
    found = calculus._tangents(lambda t: parameters.outputs(t, inputs), parameters.theta, vectors)
    assert torch.allclose(found, torch.einsum("ncp,kp->knc", jacobian(parameters, inputs), vectors), atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 9), seed=st.integers(0, 99), budget=st.sampled_from([40_000, 200_000, 10**9]))
def test_chunked_equals_unchunked_and_rows_average_to_the_whole(rows, seed, budget):
    parameters, inputs, labels = setting(smooth(seed), 4, rows=rows, seed=seed)
    by_row = sample_gradients(parameters, inputs, labels, budget=budget)
    assert torch.allclose(by_row.mean(0), gradient(parameters, inputs, labels, budget=budget), atol=1e-13)
    assert torch.allclose(jacobian(parameters, inputs, budget=budget), jacobian(parameters, inputs), atol=1e-13)
    vectors = torch.eye(len(parameters), dtype=torch.float64)[:7]
    for product in (hessian_products, gauss_newton_products):
        whole = product(parameters, inputs, labels, vectors)
        assert torch.allclose(product(parameters, inputs, labels, vectors, budget=budget), whole, atol=1e-13)


def test_the_squared_error_of_a_linear_map_has_the_inputs_second_moments_as_hessian():
    parameters, inputs, _ = setting(nn.Linear(4, 1, bias=False), 4, rows=20)
    targets = torch.zeros(20, 1, dtype=torch.float64)
    vectors = torch.eye(4, dtype=torch.float64)
    moments = inputs.T @ inputs / 20
    for product in (hessian_products, gauss_newton_products):
        assert torch.allclose(product(parameters, inputs, targets, vectors, loss=squared_error), moments, atol=1e-14)


def test_a_budget_too_small_for_one_row_is_said():
    parameters, inputs, labels = setting(smooth(), 4)
    with pytest.raises(BudgetError, match="--budget"):
        jacobian(parameters, inputs, budget=100)
    with pytest.raises(BudgetError, match="--budget"):
        hessian_products(parameters, inputs, labels, parameters.theta[None], budget=100)


def test_the_model_is_left_as_it_was_and_inference_mode_is_no_obstacle():
    model = smooth().double()
    before = {n: p.clone() for n, p in model.state_dict().items()}
    parameters, inputs, labels = setting(model, 4)
    with torch.inference_mode():
        sample_gradients(parameters, inputs, labels)
        hessian_products(parameters, inputs, labels, parameters.theta[None].clone())
    assert all(torch.equal(before[n], p) for n, p in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert parameters.network.forward_passes > 0 and parameters.network.backward_passes > 0


def test_some_parameters_alone_and_float64_on_demand():
    torch.manual_seed(0)
    inputs = torch.randn(3, 4)
    network = Network(smooth(), inputs)
    last = Parameters(network, only=("2.weight", "2.bias"), double=True)
    assert last.theta.dtype == torch.float64 and len(last) == 18
    whole = jacobian(Parameters(network, double=True), inputs)
    assert torch.allclose(jacobian(last, inputs), whole[:, :, -18:])
    with pytest.raises(InputError, match="no parameter '9.weight'"):
        Parameters(network, only=("9.weight",))
    with pytest.raises(InputError, match="none"):
        Parameters(Network(nn.ReLU(), inputs))
    with pytest.raises(InputError, match="Flatten them"):
        hessian_products(last, inputs, torch.zeros(3, dtype=torch.int64), torch.zeros(2, 5))
    with pytest.raises(InputError, match="one row of outputs"):
        Parameters(Network(nn.Conv1d(1, 1, 1), torch.randn(2, 1, 4)))


@pytest.mark.parametrize(
    ("model", "degree"),
    [
        (nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 3, bias=False)), 2),
        (nn.Linear(4, 3), 1),
        (nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3, bias=False)), 2),
        (nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), None),
        (nn.Sequential(nn.Linear(4, 6, bias=False), nn.Tanh(), nn.Linear(6, 3, bias=False)), None),
        (nn.Sequential(nn.Linear(4, 6, bias=False), nn.LayerNorm(6, elementwise_affine=False)), 0),
    ],
)
def test_homogeneity_counts_the_layers_that_scale(model, degree):
    torch.manual_seed(0)
    inputs = 10 * torch.randn(40, 4)
    found = homogeneity(Parameters(Network(model, inputs), double=True), inputs)
    assert found.degree == degree


def test_lanczos_quadrature_has_the_moments_of_its_probes():
    generator = np.random.default_rng(0)
    half = generator.standard_normal((30, 30))
    matrix = half + half.T
    steps = 5
    found = quadrature(lambda v: matrix @ v, 30, probes=400, steps=steps, generator=np.random.default_rng(1))
    starts = np.random.default_rng(1).choice([-1.0, 1.0], size=(400, 30)).T / np.sqrt(30)
    assert found.weights.sum(axis=1) == pytest.approx(np.ones(400))
    for power in range(2 * steps):
        by_nodes = (found.weights * found.nodes**power).sum(axis=1)
        moved = np.linalg.matrix_power(matrix, power) @ starts
        scale = np.linalg.norm(matrix, 2) ** power
        assert by_nodes == pytest.approx((starts * moved).sum(axis=0), abs=1e-10 * scale)
    full = quadrature(lambda v: matrix @ v, 30, probes=1, steps=30, generator=generator)
    assert np.sort(full.nodes[0]) == pytest.approx(np.linalg.eigvalsh(matrix), abs=1e-8)


def test_lanczos_quadrature_stops_where_the_space_is_exhausted():
    found = quadrature(lambda v: 3.0 * v, 8, probes=2, steps=6, generator=np.random.default_rng(0))
    assert found.nodes[:, 0] == pytest.approx([3.0, 3.0]) and found.weights[:, 0] == pytest.approx([1.0, 1.0])
    assert np.all(found.weights[:, 1:] == 0)
