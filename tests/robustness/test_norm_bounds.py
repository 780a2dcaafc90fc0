"""Bounds of normalisation layers: they hold, they are finite, and they close up to the layer's slope on small boxes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cutaway.network.graph import trace
from cutaway.robustness.bounds import norms
from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.bounds.sweep import SweepSettings, bound_rows, sweep
from cutaway.robustness.regions import ball


class Spelled(nn.Module):
    """A norm in the operators that exporters write it in."""

    def __init__(self, centred: bool, divided: bool):
        super().__init__()
        self.centred, self.divided = centred, divided

    def forward(self, x):
        x = x - x.mean(-1, keepdim=True) if self.centred else x
        root = (x.pow(2).mean(-1, keepdim=True) + 1e-3).sqrt()
        return x / root if self.divided else x * root.reciprocal()


class Steered(nn.Module):
    """Weights that depend on the input."""

    def forward(self, x):
        y = F.layer_norm(x, x.shape[1:], None, None)
        return torch.group_norm(x.unsqueeze(2), 2, None, None).squeeze(2) * torch.tanh(x) + y


LAYERS = {
    "layer": (lambda: nn.LayerNorm(6), (6,), math.sqrt(5)),
    "layer of two dimensions": (lambda: nn.LayerNorm((2, 3)), (2, 2, 3), math.sqrt(5)),
    "group": (lambda: nn.GroupNorm(2, 4), (4, 3), math.sqrt(5)),
    "instance": (lambda: nn.InstanceNorm2d(2, affine=True), (2, 2, 3), math.sqrt(5)),
    "rms": (lambda: nn.RMSNorm(6, eps=1e-3), (6,), math.sqrt(6)),
    "rms of two dimensions": (lambda: nn.RMSNorm((2, 3), eps=1e-3), (2, 2, 3), math.sqrt(6)),
    "layer spelled out": (lambda: Spelled(centred=True, divided=True), (6,), math.sqrt(5)),
    "rms spelled out": (lambda: Spelled(centred=False, divided=False), (6,), math.sqrt(6)),
    "local response": (lambda: nn.LocalResponseNorm(3, alpha=3.0, beta=0.75, k=1.0), (5, 2, 2), 0.6204),
    "local response of signals": (lambda: nn.LocalResponseNorm(4, alpha=1.0, beta=0.5, k=0.5), (5, 3), 2.0),
    "local response, steep": (lambda: nn.LocalResponseNorm(5, alpha=0.5, beta=2.0, k=0.3), (4, 2, 2), 6.25),
}
NAMES = list(LAYERS)


def widths(net, center, radius, method="crown"):
    """Lower and upper bounds of every output over the box, and the limits."""
    region = ball(center, radius, math.inf)
    limits = sweep(net, region, SweepSettings(method=method))
    size = net.graph.output.numel
    rows = torch.cat([torch.eye(size), -torch.eye(size)]).double().reshape(-1, *net.graph.output.shape)
    found = bound_rows(net, limits, region, rows, SweepSettings(method=method))
    return found[:, :size], -found[:, size:], limits


def attacked(model, center, radius, generator):
    """Outputs at random points, corners, and points driven by signed gradients to either end of every output."""
    count = 200
    share = torch.rand((count, *center.shape[1:]), generator=generator, dtype=torch.float64) * 2 - 1
    share[: count // 2] = share[: count // 2].sign()
    points = [center + radius * share]
    size = model(center).numel()
    signs = torch.cat([torch.eye(size), -torch.eye(size)]).double()
    x = center.repeat(2 * size, *[1] * (center.ndim - 1))
    for _ in range(8):
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad((model(x).flatten(1) * signs).sum(), x)
        x = (x + radius / 3 * slope.sign()).clamp(center - radius, center + radius).detach()
        points.append(x)
    with torch.no_grad():
        return model(torch.cat(points)).flatten(1)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 2**31), st.sampled_from([1e-6, 1e-3, 0.03, 0.3, 1.0, 4.0]), st.booleans())
def test_no_point_of_a_random_network_leaves_its_bounds_and_they_are_finite(name, seed, radius, deep):
    make, shape, _ = LAYERS[name]
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make()
        if deep:
            size = math.prod(shape)
            model = nn.Sequential(model, nn.Flatten(), nn.Linear(size, size), nn.Tanh(), nn.Unflatten(1, shape), make())
        for parameter in model.parameters():
            nn.init.normal_(parameter)
    model = model.double().eval()
    center = 2 * torch.randn(1, *shape, generator=generator, dtype=torch.float64)
    values = attacked(model, center, radius, generator)
    net = bound_network(model, center)
    for method in ("ibp", "crown"):
        low, high, limits = widths(net, center, radius, method)
        assert bool(torch.isfinite(low).all() and torch.isfinite(high).all())
        noise = 1e-11 * (1 + values.abs())
        assert bool((low - noise <= values).all() and (values <= high + noise).all())
        out = net.graph.output.index
        inside = (limits.lower[out].flatten(1) - noise <= values) & (values <= limits.upper[out].flatten(1) + noise)
        assert bool(inside.all())


@pytest.mark.parametrize("name", NAMES)
def test_on_small_boxes_the_bounds_are_as_wide_as_the_layers_own_slope_makes_them(name):
    """To first order no enclosure is narrower than 2 r |J| 1; that of CROWN is, but for the second order."""
    make, shape, _ = LAYERS[name]
    torch.manual_seed(0)
    model = make().double().eval()
    center = torch.randn(1, *shape, dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(model, center).reshape(math.prod(shape), -1).abs().sum(1)
    net = bound_network(model, center)
    for radius, excess in ((1e-2, 0.1), (1e-4, 1e-3), (1e-6, 1e-4)):
        low, high, _ = widths(net, center, radius)
        ratio = (high - low).flatten() / (2 * radius * slope)
        assert float(ratio.min()) > 1 - 10 * radius and float(ratio.max()) < 1 + excess
    low, high, _ = widths(net, center, 0.0)
    assert float((high - low).abs().max()) < 1e-10


@pytest.mark.parametrize("name", NAMES)
def test_on_the_widest_boxes_the_known_range_is_left(name):
    """The range is reached: by a value alone among zeros, or one far above equal others."""
    make, shape, limit = LAYERS[name]
    model = make().double().eval()
    center = torch.zeros(1, *shape, dtype=torch.float64)
    low, high, _ = widths(bound_network(model, center), center, 1e4)
    assert float(torch.maximum(-low, high).max()) <= limit * (1 + 1e-3)
    x = torch.zeros(400, math.prod(shape), dtype=torch.float64)
    x[:, 0] = torch.logspace(-1, 4, 400)
    with torch.no_grad():
        reached = float(model(x.reshape(-1, *shape)).abs().max())
    assert reached > limit * (1 - 1e-3)


def test_the_largest_value_is_the_largest_on_a_grid():
    x = torch.logspace(-4, 6, 200_001, dtype=torch.float64)
    for k, w, p in ((1.0, 0.2, 0.75), (0.01, 3.0, 2.0), (1e-3, 1 / 16, 0.5), (2.0, 1.0, 1.0)):
        seen = float((x * (k + w * x**2) ** -p).max())
        assert seen * (1 - 1e-12) <= norms.largest(k, w, p) <= seen * (1 + 1e-6)
    for k, w, p in ((1.0, 0.0, 0.75), (1.0, 0.2, 0.4), (0.0, 1.0, 0.75), (-1.0, 0.2, 0.75), (1.0, -0.2, 0.75)):
        assert norms.largest(k, w, p) == math.inf


def spelled_wrong(kind):
    """Products that look like a norm and are none: no range may be claimed."""

    class Product(nn.Module):
        def forward(self, x):
            y = 2 * x if kind == "other data" else x
            square = y.square() if kind != "cube" else y.square() * y.abs()
            total = square.mean(-1, keepdim=kind != "lost dimension")
            total = total.reshape(-1, 1) if kind == "lost dimension" else total
            total = -0.5 * total + 400 if kind == "falling" else total + 1e-3
            total = total * 0.0 + 1 if kind == "nothing" else total
            root = total.sqrt() if kind != "fourth root" else total.sqrt().sqrt()
            return x / root

    return Product()


@pytest.mark.parametrize("kind", ["other data", "falling", "nothing", "fourth root", "cube", "lost dimension"])
def test_what_is_no_norm_gets_no_range_and_its_bounds_hold(kind):
    model = spelled_wrong(kind).double()
    center = torch.ones(1, 6, dtype=torch.float64)
    net = bound_network(model, center)
    assert [n.attributes.get("range") for n in net.graph.nodes if n.op == "mul"] in ([None], [None, None], [])
    generator = torch.Generator().manual_seed(0)
    values = attacked(model, center, 3.0, generator)
    low, high, _ = widths(net, center, 3.0)
    assert bool(((low - 1e-9 <= values) & (values <= high + 1e-9)).all())


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("shape", [(1, 5, 7), (1, 5, 3, 2), (1, 4, 2, 2, 2)])
def test_a_local_response_norm_is_one_word_and_its_rewriting_gives_the_same(size, shape):
    from cutaway.network.graph import evaluate_graph

    for beta in (0.5, 0.75, 1.0):
        model = nn.LocalResponseNorm(size, alpha=0.7, beta=beta, k=1.3).double()
        x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
        graph = trace(model, x)
        assert [n.op for n in graph.nodes] == ["input", "local_response_norm"]
        rewritten = bound_network(graph).graph
        assert torch.allclose(evaluate_graph(rewritten, x)[rewritten.output.index].reshape(shape), model(x), rtol=1e-12)


@pytest.mark.parametrize(
    "other",
    [
        lambda x: (
            x / (1.3 + 0.7 * F.avg_pool2d(F.pad(x.square().unsqueeze(1), (1, 1, 0, 0)), (1, 3), 1)).squeeze(1) ** 0.75
        ),
        lambda x: (
            x / (1.3 + 0.7 * F.avg_pool2d(F.pad(x.square().unsqueeze(1), (0, 0, 2, 0)), (3, 1), 1)).squeeze(1) ** 0.75
        ),
        lambda x: (
            x / (1.3 + F.avg_pool2d(F.pad(x.square().unsqueeze(1), (0, 0, 1, 1), value=1.0), (3, 1), 1)).squeeze(1)
        ),
        lambda x: x / (1.3 + F.avg_pool2d(F.pad((2 * x).square().unsqueeze(1), (0, 0, 1, 1)), (3, 1), 1)).squeeze(1),
    ],
    ids=["along the signal", "one-sided", "padded by ones", "of other data"],
)
def test_pooling_that_is_no_local_response_norm_keeps_its_operators(other):
    class Other(nn.Module):
        def forward(self, x):
            return other(x)

    graph = trace(Other(), torch.zeros(1, 5, 7, dtype=torch.float64))
    assert "local_response_norm" not in [n.op for n in graph.nodes]


def test_weights_that_depend_on_the_input_are_products():
    class Own(nn.Module):
        def forward(self, x):
            weight, bias = torch.tanh(x[0]), x[0].square()
            y = F.layer_norm(x, (6,), weight, bias) + F.rms_norm(x, (6,), weight, 1e-3)
            return y + torch.group_norm(x.reshape(1, 3, 2), 3, weight[:3], bias[:3]).reshape(1, 6)

    model = Own().double()
    center = torch.randn(1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    low, high, _ = widths(bound_network(model, center), center, 0.1)
    share = 2 * torch.rand(200, 1, 6, dtype=torch.float64) - 1
    values = torch.stack([model(center + 0.1 * s) for s in share]).flatten(1)
    assert bool(((low - 1e-9 <= values) & (values <= high + 1e-9)).all())
