"""Criticality: constants of the book, recursions, wide networks, and a network whose fault the instrument names."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cutaway.errors import InputError
from cutaway.features.class_means import last_linear
from cutaway.instruments import Criticality
from cutaway.network import Network
from cutaway.structure import critical_point, gaussian_moments, growth_by_layer, kernel_by_depth
from cutaway.structure.wiring import wire
from cutaway.testing import check_instrument


def deep(depth: int, width: int, weight_variance: float, act=nn.ReLU, seed: int = 0) -> nn.Sequential:
    """A plain network of `depth` activations, weights of variance C_W / fan-in, on 16 inputs."""
    generator, layers, fan = torch.Generator().manual_seed(seed), [], 16
    for _ in range(depth):
        layer = nn.Linear(fan, width, bias=False)
        with torch.no_grad():
            layer.weight.copy_(math.sqrt(weight_variance / fan) * torch.randn(layer.weight.shape, generator=generator))
        layers += [layer, act()]
        fan = width
    return nn.Sequential(*layers, nn.Linear(fan, 3))


@pytest.mark.parametrize(
    ("function", "kind", "variance", "weight", "bias"),
    [
        (F.gelu, "half-stable", (3 + math.sqrt(17)) / 2, 1.98306, 0.17292),
        (F.silu, "half-stable", 14.3202, 1.98801, 0.55514),
        (torch.relu, "scale-invariant", math.nan, 2.0, 0.0),
        (lambda z: F.leaky_relu(z, 0.1), "scale-invariant", math.nan, 2 / 1.01, 0.0),
        (torch.tanh, "K* = 0", 0.0, 1.0, 0.0),
        (torch.sin, "K* = 0", 0.0, 1.0, 0.0),
        (torch.sigmoid, "none", math.nan, math.nan, math.nan),
        (F.softplus, "none", math.nan, math.nan, math.nan),
        (torch.sinh, "none", math.nan, math.nan, math.nan),
        (torch.exp, "none", math.nan, math.nan, math.nan),
    ],
)
def test_critical_points_of_the_book(function, kind, variance, weight, bias):
    found = critical_point(function)
    assert found.universality == kind
    for value, wanted in zip(
        (found.variance, found.weight_variance, found.bias_variance), (variance, weight, bias), strict=True
    ):
        assert value == pytest.approx(wanted, abs=1e-4, nan_ok=True)


def test_gaussian_moments_against_closed_forms():
    relu = gaussian_moments(torch.relu, 1.7)
    assert relu["square"] == pytest.approx(0.85, rel=1e-6) and relu["slope"] == pytest.approx(0.5, rel=1e-9)
    assert relu["bend"] == pytest.approx(0.5, rel=1e-6)
    cube = gaussian_moments(lambda z: z**3, 2.0)  # E z^6 = 15 K^3, E 9 z^4 = 27 K^2
    assert cube["square"] == pytest.approx(120, rel=1e-9) and cube["slope"] == pytest.approx(108, rel=1e-9)
    assert 1 / gaussian_moments(F.gelu, 1.0)["square"] == pytest.approx(2.3568, abs=0.01)
    assert 1 / gaussian_moments(F.silu, 1.0)["square"] == pytest.approx(2.8178, abs=0.01)
    with pytest.raises(InputError, match="positive"):
        gaussian_moments(torch.relu, 0.0)
    with pytest.raises(InputError, match="same shape"):
        gaussian_moments(lambda z: z.sum(), 1.0)


def test_the_kernel_of_a_deep_tanh_network_falls_like_one_over_twice_the_depth():
    assert kernel_by_depth(torch.tanh, 1.0, 1.0, 0.0, 200)[-1] * 400 == pytest.approx(1.008, abs=1e-3)
    assert kernel_by_depth(torch.relu, 1.0, 2.0, 0.0, 9) == pytest.approx(np.ones(10), rel=1e-6)


def test_wide_networks_grow_as_the_formula_says():
    inputs = torch.randn(24, 16, generator=torch.Generator().manual_seed(1))
    for variance in (1.0, 2.0, 3.0):
        network = Network(deep(6, 600, variance), inputs[:2])
        found = growth_by_layer(network, inputs, network.sites, generator=torch.Generator().manual_seed(2))
        ratio = np.exp(np.log(found.change[:, -1] / found.change[:, 0]).mean() / 5)
        assert ratio == pytest.approx(variance / 2, rel=0.1)
        assert np.nanmean(found.slope) == pytest.approx(0.5, rel=0.1)


def test_changes_are_derivatives_however_many_rows_go_at_once():
    inputs = torch.randn(7, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    network = Network(deep(3, 12, 2.0, nn.Tanh).double(), inputs[:2])
    whole = growth_by_layer(network, inputs, network.sites, generator=torch.Generator().manual_seed(3))
    parts = growth_by_layer(network, inputs, network.sites, generator=torch.Generator().manual_seed(3), batch_size=2)
    np.testing.assert_allclose(whole.change, parts.change, rtol=1e-12)
    drawn = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    step, names = 1e-6, [s.name for s in network.sites]
    before, after = (
        network.capture(x, network.sites, pre=True).pre for x in (inputs - step * drawn, inputs + step * drawn)
    )
    for k, name in enumerate(names):
        naive = (((after[name] - before[name]) / (2 * step)) ** 2).mean(dim=1)
        np.testing.assert_allclose(whole.change[:, k], naive.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("variance", "word"), [(0.5, "dies out"), (8.0, "explodes"), (2.0, "about as large as it was")]
)
def test_a_badly_scaled_network_is_named_and_the_gain_mends_it(variance, word):
    inputs = torch.randn(40, 16, generator=torch.Generator().manual_seed(1))
    model = deep(12, 100, variance)
    reading = Criticality().measure(model, inputs)
    assert word in Criticality().describe(reading)
    gain = reading.figure("growth").value ** -0.5
    with torch.no_grad():
        for layer in list(model)[2:-1:2]:
            layer.weight.mul_(gain)
    assert Criticality().measure(model, inputs).figure("growth").value == pytest.approx(1.0, rel=1e-4)


def test_the_layer_at_fault_is_found():
    model = deep(8, 60, 2.0)
    with torch.no_grad():
        model[10].weight.mul_(30)
    reading = Criticality().measure(model, torch.randn(32, 16, generator=torch.Generator().manual_seed(1)))
    assert "at 11:relu#0" in Criticality().describe(reading)
    assert reading.figure("worst_growth").value > 100
    assert float(reading.values["layers"].values[5]) > 500


def test_contract_and_what_it_does_not_apply_to():
    check_instrument(Criticality())
    one = nn.Sequential(nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 2))
    assert "found one" in Criticality().measure(one, torch.randn(8, 16)).reason
    dead = deep(3, 6, 2.0)
    with torch.no_grad():
        dead[2].weight.zero_()
    reading = Criticality().measure(dead, torch.randn(8, 16))
    assert "dies out" in Criticality().describe(reading)


def test_a_row_costs_two_passes_as_the_instrument_says():
    network = Network(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU()).eval(), torch.randn(2, 3))
    sites, before = network.sites, network.forward_passes
    growth_by_layer(network, torch.randn(10, 3), sites, generator=torch.Generator(), batch_size=4)
    assert network.forward_passes - before == 2 * 10


@pytest.mark.parametrize("of", [wire, last_linear])
def test_what_is_found_on_an_example_asks_for_one(of):
    with pytest.raises(InputError, match=r"no example input.*Network\(model, example\)"):
        of(Network(nn.Linear(3, 2)))
