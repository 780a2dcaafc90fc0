"""Bounds hold at samples, corners and attacks for random networks, are ordered, and match exact optima of small networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import nn

from cutaway.errors import InputError, ModelError, UnsupportedOperator
from cutaway.robustness.bounds.alpha import AlphaSettings, optimised, optimised_rows
from cutaway.robustness.bounds.deployment import deployment_radius
from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.bounds.sweep import SweepSettings, bound_rows, bounds_of_many, sweep
from cutaway.robustness.regions import ball, box
from cutaway.robustness.regions_linear import Ellipsoid, Hull

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky": lambda: nn.LeakyReLU(0.2),
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "gelu-tanh": lambda: nn.GELU("tanh"),
    "mish": nn.Mish,
    "softplus": nn.Softplus,
    "hardtanh": lambda: nn.Hardtanh(-0.5, 0.6),
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "hardswish": nn.Hardswish,
    "softsign": nn.Softsign,
    "relu6": nn.ReLU6,
    "softmax": lambda: nn.Softmax(-1),
    "log-softmax": lambda: nn.LogSoftmax(-1),
    "log-sigmoid": nn.LogSigmoid,
    "prelu": nn.PReLU,
    "celu": lambda: nn.CELU(0.5),
}


def rows_of(net):
    output = net.graph.output
    eye = torch.eye(output.numel, dtype=torch.float64).reshape(output.numel, *output.shape)
    return torch.cat([eye, -eye])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_layer_encloses_10000_samples(name, make_dense, check_inside):
    model = make_dense((4, 8, 7, 3), ACTIVATIONS[name]).double().eval()
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    net = bound_network(model, x)
    for method in ("ibp", "crown"):
        check_inside(net, ball(x, 0.25, float("inf")), method, num=5000)


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # tracing for explanations is too slow here
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=2, max_size=4),
    seed=st.integers(0, 10_000),
    radius=st.floats(0, 2),
    activation=st.sampled_from(["relu", "leaky", "gelu", "tanh", "softmax", "hardtanh"]),
    norm=st.sampled_from([1.0, 2.0, float("inf")]),
)
def test_random_networks_and_regions(sizes, seed, radius, activation, norm, make_dense, check_inside):
    model = make_dense((*sizes, 2), ACTIVATIONS[activation], seed).double().eval()
    x = torch.randn(1, sizes[0], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    net = bound_network(model, x)
    region = ball(x, radius, norm)
    steepest = _descended(net, region)
    for method in ("ibp", "crown"):
        check_inside(net, region, method, num=1000, points=steepest, seed=seed)


def _descended(net, region):
    """Points that a few projected gradient steps reach for both signs of every output, inside the region's box (linf only)."""
    from cutaway.network.graph import output_of

    if not region.is_box:
        return None
    points = []
    for row in rows_of(net):
        x = (region.lower + region.upper) / 2
        for _ in range(15):
            x = x.detach().requires_grad_()
            (g,) = torch.autograd.grad((output_of(net.graph, x) * row).sum(), x)
            x = (x.detach() - 0.2 * (region.upper - region.lower) * g.sign()).clamp(region.lower, region.upper)
        points.append(x.detach())
    return torch.stack(points, 1)


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1, stride=2), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1)
        )
        self.head = nn.Sequential(nn.MaxPool2d(2, padding=1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(3, 2))

    def forward(self, x):
        y = self.body(x)
        return self.head(torch.relu(y) + nn.functional.interpolate(x, size=y.shape[-1]))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.attention = nn.RMSNorm(6), nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x):
        q = self.norm(x).view(x.shape[0], 3, 2, 3).transpose(1, 2)
        y = nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True).transpose(1, 2).flatten(2)
        return self.attention(y, x, y, need_weights=False)[0].square().mean(1) / (1 + x.exp().sum(1))


class Mixed(nn.Module):
    def forward(self, x):
        a, b = x[:, :3], x[:, 3:]
        c = torch.cat(
            [a * b, torch.maximum(a, b), torch.minimum(a, b).abs(), (a.square() + 0.5).sqrt(), a.sin() + b.cos()], 1
        )
        return torch.stack([c.amax(1), (c.exp() + 1).log().sum(1), c.amin(1) * c.mean(1), (c**3).sum(1)], 1)


@pytest.mark.parametrize(
    ("make", "shape", "radius"),
    [
        (Convolutional, (1, 6, 6), 0.1),
        (Attention, (3, 6), 0.05),
        (Mixed, (6,), 0.3),
        (lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, activation="gelu"), (3, 6), 0.02),
        (lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 2)), (4,), 0.1),
        (
            lambda: nn.Sequential(nn.Conv1d(1, 4, 3), nn.GroupNorm(2, 4), nn.SiLU(), nn.Flatten(), nn.Linear(24, 2)),
            (1, 8),
            0.05,
        ),
        (
            lambda: nn.Sequential(nn.ConvTranspose2d(1, 2, 2, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2)),
            (1, 2, 2),
            0.3,
        ),
    ],
)
def test_whole_architectures(make, shape, radius, check_inside):
    torch.manual_seed(2)
    model = make().double().eval()
    x = torch.randn(2, *shape, dtype=torch.float64)
    net = bound_network(model, x)
    for method in ("ibp", "crown"):
        check_inside(net, ball(x, radius, float("inf")), method, num=500)


def test_other_regions_bound_the_first_layer_tighter_than_their_box(make_dense, check_inside):
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net = bound_network(make_dense((4, 8, 2)), x)
    root = 0.2 * torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ellipsoid = Ellipsoid(center=x, root=root, radius=torch.ones(2, dtype=torch.float64))
    hull = Hull(points=x.unsqueeze(1) + 0.3 * torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(2)).double())
    for region in (ball(x, 0.3, 1), ball(x, 0.3, 2), ball(x, 0.5, 2, low=-2.5, high=2.5), ellipsoid, hull):
        found, _ = check_inside(net, region, num=1500)
        around = box(region.lower, region.upper)
        loose = bound_rows(net, sweep(net, around), around, rows_of(net))
        assert float(found.mean()) > float(loose.mean()) + 0.01  # slopes are chosen anew, so single rows may lose


def exact_minimum(model, low, high, row):
    """min row . f(x) over a box for a one-hidden-layer ReLU network, by HiGHS as a mixed integer programme."""
    first, last = model[0], model[2]
    w, b = first.weight.detach().numpy(), first.bias.detach().numpy()
    c = row @ last.weight.detach().numpy()
    hidden, n = w.shape
    middle, half = w @ ((low + high) / 2) + b, np.abs(w) @ ((high - low) / 2)
    z_low, z_high = middle - half, middle + half
    cost = np.concatenate([np.zeros(n), c, np.zeros(hidden)])
    eye, zero = np.eye(hidden), np.zeros((hidden, hidden))
    rows = [
        LinearConstraint(np.hstack([-w, eye, zero]), b, np.inf),
        LinearConstraint(np.hstack([-w, eye, -np.diag(z_low)]), -np.inf, b - z_low),
        LinearConstraint(np.hstack([np.zeros((hidden, n)), eye, -np.diag(np.maximum(z_high, 0))]), -np.inf, 0),
    ]
    limits = Bounds(  # type: ignore[arg-type]
        np.concatenate([low, np.zeros(2 * hidden)]), np.concatenate([high, np.full(hidden, np.inf), np.ones(hidden)])
    )
    integrality = np.concatenate([np.zeros(n + hidden), np.ones(hidden)])
    found = milp(cost, constraints=rows, bounds=limits, integrality=integrality)
    assert found.success
    return found.fun + float(row @ last.bias.detach().numpy())


@pytest.mark.parametrize("seed", range(6))
def test_below_the_exact_optimum_and_close(seed, make_dense):
    """Oracle: another library (HiGHS), up to 12 ReLUs."""
    model = make_dense((3, 12, 2), seed=seed)
    x = torch.randn(1, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    net, region = bound_network(model, x), ball(x, 0.4, float("inf"))
    limits = sweep(net, region)
    crown = bound_rows(net, limits, region, rows_of(net))[0]
    better = optimised_rows(net, region, rows_of(net), limits, AlphaSettings(drop_solved=False, shared=False))[0]
    for i, row in enumerate(rows_of(net).reshape(-1, 2).numpy()):
        exact = exact_minimum(model, region.lower[0].numpy(), region.upper[0].numpy(), row)
        assert crown[i] <= better[i] + 1e-9
        assert better[i] <= exact + 1e-6
        assert better[i] >= exact - 1.0


def test_order_of_methods_and_growth_with_the_radius(make_dense):
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net = bound_network(make_dense((6, 16, 16, 3)), x)
    last = None
    for radius in (0.4, 0.2, 0.1, 0.05, 0.0):
        region = ball(x, radius, float("inf"))
        by_method = {m: sweep(net, region, SweepSettings(method=m)) for m in ("ibp", "crown-ibp", "crown")}
        found = [bound_rows(net, by_method[m], region, rows_of(net), SweepSettings(method=m)) for m in by_method]
        found.append(
            optimised_rows(net, region, rows_of(net), by_method["crown"], AlphaSettings(drop_solved=False, steps=5))
        )
        deep = AlphaSettings(drop_solved=False, steps=5, depth="all")
        rows, limits = optimised(net, region, rows_of(net), by_method["crown"], deep)
        found.append(rows)
        for loose, tight in zip(found, found[1:4]):
            assert bool((tight >= loose - 1e-9).all())
        assert bool((found[4] >= found[2] - 1e-9).all())
        for k in limits.lower:
            assert bool((limits.lower[k] >= by_method["crown"].lower[k] - 1e-9).all())
        if last is not None:
            assert bool((found[0] >= last[0] - 1e-9).all()) and bool((found[2] >= last[1] - 1e-9).all())
        last = (found[0], found[2])


def test_zero_radius_gives_the_value_within_rounding(make_dense):
    model = make_dense((5, 9, 9, 2))
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net, region = bound_network(model, x), ball(x, 0.0, float("inf"))
    found = bound_rows(net, sweep(net, region), region, rows_of(net))
    value = torch.cat([model(x), -model(x)], 1).detach()
    assert bool((found <= value).all()) and torch.allclose(found, value, atol=1e-10)


def test_batch_permutation_padding_and_chunks_change_nothing(make_dense):
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net = bound_network(make_dense((6, 16, 16, 3)), x)
    whole = ball(x, 0.2, float("inf"))
    rows = bound_rows(net, sweep(net, whole), whole, rows_of(net))
    order = torch.tensor([3, 1, 4, 0, 2])
    mixed = whole.select(order)
    assert torch.allclose(bound_rows(net, sweep(net, mixed), mixed, rows_of(net)), rows[order], atol=1e-10)
    alone = whole.select(torch.tensor([2]))
    assert torch.allclose(bound_rows(net, sweep(net, alone), alone, rows_of(net)), rows[2:3], atol=1e-10)
    small = SweepSettings(most_numbers=64)
    torch.testing.assert_close(bounds_of_many(net, whole, rows_of(net), small), rows, rtol=1e-12, atol=1e-12)
    own = rows_of(net).expand(len(rows), *rows_of(net).shape)
    torch.testing.assert_close(bounds_of_many(net, whole, own, small), rows, rtol=1e-12, atol=1e-12)
    assert torch.allclose(bound_rows(net, sweep(net, whole, small), whole, rows_of(net)), rows, atol=1e-10)


def test_neuron_permutation_changes_nothing():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 2)).double()
    other = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 2)).double()
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        other[0].weight.copy_(model[0].weight[order]), other[0].bias.copy_(model[0].bias[order])
        other[2].weight.copy_(model[2].weight[:, order]), other[2].bias.copy_(model[2].bias)
    x = torch.zeros(1, 4, dtype=torch.float64)
    region = ball(x, 0.5, float("inf"))
    found = [
        bound_rows(n, sweep(n, region), region, rows_of(n)) for n in (bound_network(model, x), bound_network(other, x))
    ]
    assert torch.allclose(*found, atol=1e-12)


def test_rounding_slack_covers_float32_weights_in_float64(make_dense):
    """Zero radius, many samples: no bound exceeds the value computed in higher precision."""
    model = make_dense((20, 50, 50, 5), seed=3)
    x = torch.randn(50, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 100
    net, region = bound_network(model, x), ball(x, 0.0, float("inf"))
    found = bound_rows(net, sweep(net, region), region, rows_of(net)).numpy()
    value = x.numpy().astype(np.longdouble)
    for layer in model:
        if isinstance(layer, nn.Linear):
            w, b = (p.detach().numpy().astype(np.longdouble) for p in (layer.weight, layer.bias))
            value = value @ w.T + b
        else:
            value = np.maximum(value, 0)
    assert (found <= np.concatenate([value, -value], 1)).all()


def test_float32_deployment_radius_holds(make_dense):
    model = make_dense((10, 30, 30, 3), seed=1)
    small = make_dense((10, 30, 30, 3), seed=1).float()
    rounded = make_dense((10, 30, 30, 3), seed=1)
    rounded.load_state_dict({k: v.double() for k, v in small.state_dict().items()})
    x = torch.randn(200, 10, generator=torch.Generator().manual_seed(0)).double()
    net, region = bound_network(rounded, x), ball(x, 0.0, float("inf"))
    radius = deployment_radius(net, sweep(net, region)).flatten(1)
    gap = (small(x.float()).double() - rounded(x)).abs().detach()
    assert bool((gap <= radius).all()) and float(radius.max()) < 1e-3
    assert model is not None


def test_constant_output_and_unused_input():
    class Constant(nn.Module):
        def forward(self, x):
            return x[:, :2] * 0 + torch.tensor([1.0, -2.0], dtype=x.dtype)

    x = torch.zeros(1, 3, dtype=torch.float64)
    net, region = bound_network(Constant(), x), ball(x, 1.0, float("inf"))
    found = bound_rows(net, sweep(net, region), region, rows_of(net))
    assert torch.allclose(found, torch.tensor([[1.0, -2.0, -1.0, 2.0]], dtype=torch.float64), atol=1e-9)


def test_a_pole_in_the_region_is_unknown_not_proved():
    class Pole(nn.Module):
        def forward(self, x):
            return 1 / x + 100.0

    x = torch.full((1, 2), 0.05, dtype=torch.float64)
    net = bound_network(Pole(), x + 1)
    region = ball(x, 0.1, float("inf"))
    found = bound_rows(net, sweep(net, region), region, rows_of(net))
    assert not bool((found > 0).any())


def test_refusals_name_operator_place_and_remedy():
    class Sorts(nn.Module):
        def forward(self, x):
            return torch.logcumsumexp(x, 1)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Sorts()

        def forward(self, x):
            return self.inner(x).sum(1, keepdim=True)

    with pytest.raises(
        UnsupportedOperator, match=r"aten\.logcumsumexp\.default' at module 'inner'.*bound propagation knows"
    ):
        bound_network(Outer(), torch.zeros(1, 3))
    words = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))
    with pytest.raises(
        UnsupportedOperator, match="cut the model after the embedding|Cut the model after the embedding"
    ):
        bound_network(words, torch.zeros(1, 2, dtype=torch.int64))

    class Two(nn.Module):
        def forward(self, x):
            return x, 2 * x

    with pytest.raises(ModelError, match="several outputs"):
        bound_network(Two(), torch.zeros(1, 2))
    with pytest.raises(InputError, match="bound method; found 'magic'"):
        SweepSettings(method="magic")
    with pytest.raises(InputError, match="depth of slope optimisation"):
        AlphaSettings(depth="middle")


class Places(nn.Module):
    def forward(self, x):
        return x.max(1).indices.float().unsqueeze(1)


def test_what_is_not_the_formula_is_refused_or_covered():
    x = torch.zeros(1, 4, dtype=torch.float64)
    with pytest.raises(UnsupportedOperator, match="positions that a maximum"):
        bound_network(Places(), x)
    with pytest.raises(UnsupportedOperator, match="softplus"):
        bound_network(nn.Softplus(beta=3, threshold=1), x)
    net = bound_network(nn.Softplus(beta=0.5), x)
    point = torch.full((1, 4), 40.0, dtype=torch.float64).nextafter(torch.tensor(100.0, dtype=torch.float64))
    limits = sweep(net, ball(point, 0.0, float("inf")))
    value = nn.Softplus(beta=0.5)(point)  # 40, the formula gives 40 + 4e-9
    output = net.graph.output.index
    assert bool((limits.lower[output] <= value).all() and (value <= limits.upper[output]).all())
