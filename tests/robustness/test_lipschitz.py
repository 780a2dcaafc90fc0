"""Lipschitz bounds are ordered, above every slope seen, near the semidefinite optimum; group constraints hold by sampling."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from cutaway.errors import InputError, UnsupportedOperator
from cutaway.robustness.lipschitz import (
    dense_weights,
    grouped_constraint,
    lipschitz_bounds,
    lipschitz_radius,
    network_lipschitz,
    product_bound,
    sampled_slope,
    sdp_bound,
    squared_bound,
)


def weights_of(*sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(b, a, generator=generator, dtype=torch.float64) / a**0.5 for a, b in zip(sizes, sizes[1:])]


@pytest.mark.parametrize("sizes", [(4, 8, 2), (6, 12, 12, 3), (5, 9, 9, 9, 1)])
def test_order_and_slopes_of_the_network(sizes):
    weights = weights_of(*sizes)
    found = lipschitz_bounds(weights, steps=150)
    assert found.product >= found.fast >= found.optimised >= found.sampled
    layers = []
    for w in weights:
        layer = nn.Linear(w.shape[1], w.shape[0]).double()
        with torch.no_grad():
            layer.weight.copy_(w)
        layers += [layer, nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    x = torch.randn(200, sizes[0], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert sampled_slope(model, x) <= found.optimised
    y = x + 0.1 * torch.randn(200, sizes[0], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ratio = ((model(x) - model(y)).norm(dim=1) / (x - y).norm(dim=1)).detach().max()
    assert ratio <= found.optimised
    assert all(torch.equal(a, b) for a, b in zip(dense_weights(model, x), weights))


@pytest.mark.parametrize(("activation", "steepest"), [(nn.ReLU, 1.0), (nn.Sigmoid, 0.25), (nn.Tanh, 1.0)])
def test_a_networks_own_slope_is_below_its_bounds_and_the_activations_slope_counts(activation, steepest):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 20), activation(), nn.Linear(20, 9), activation(), nn.Linear(9, 3)).double()
    x = torch.randn(100, 5, dtype=torch.float64)
    found = network_lipschitz(model, x, steps=50)
    assert found.sampled == sampled_slope(model, x) <= found.optimised <= found.product
    assert found.gap == found.optimised / found.sampled
    norms = [float(torch.linalg.matrix_norm(model[i].weight.detach(), 2)) for i in (0, 2, 4)]
    assert math.isclose(found.product, steepest**2 * math.prod(norms), rel_tol=1e-6)


def test_one_layer_is_its_spectral_norm():
    (w,) = weights_of(5, 3)
    found = lipschitz_bounds([w])
    assert math.isclose(found.optimised, float(torch.linalg.matrix_norm(w, 2)), rel_tol=1e-6)


def test_closed_form_of_a_chain_of_scalars():
    """1-1-1 network with weights a, b: L = |a b|, and no multiplier can say less."""
    weights = [torch.tensor([[2.0]]).double(), torch.tensor([[-3.0]]).double()]
    found = lipschitz_bounds(weights, steps=300)
    assert math.isclose(product_bound(weights), 6.0)
    assert 6.0 <= found.optimised <= 6.0 * 1.001


def test_infeasible_multipliers_are_no_certificate():
    weights = weights_of(4, 6, 6, 2)
    assert squared_bound(weights, [torch.full((6,), 100.0).double()] * 2) is None


def test_against_the_semidefinite_programme():
    """Oracle: another library (cvxpy with SCS), where installed."""
    pytest.importorskip("cvxpy")
    weights = weights_of(6, 10, 10, 2)
    solver = sdp_bound(weights)
    assert 0.99 * solver <= lipschitz_bounds(weights, steps=600).optimised <= 1.03 * solver


def sorts(x, group):
    return x.reshape(len(x), -1, group).sort(-1).values.flatten(1)


def reflects(x, v):
    pairs = x.reshape(len(x), -1, len(v))
    along = pairs @ v
    return (pairs - 2 * torch.minimum(along, torch.zeros(()).double()).unsqueeze(-1) * v).flatten(1)


@pytest.mark.parametrize("group", [2, 4])
@pytest.mark.parametrize("parameters", [(1.0, 0.7, 0.3, -0.4), (0.0, -1.0, 2.0, 1.0), (2.0, 0.0, 0.0, 0.0)])
def test_group_sort_constraint_holds(group, parameters):
    generator = torch.Generator().manual_seed(0)
    q = grouped_constraint(8, group, *parameters)
    x, y = torch.randn(2, 20_000, 8, generator=generator, dtype=torch.float64)
    d = torch.cat([x - y, sorts(x, group) - sorts(y, group)], 1)
    assert float(((d @ q) * d).sum(1).min()) >= -1e-9


def test_householder_constraint_holds():
    generator = torch.Generator().manual_seed(0)
    v = torch.nn.functional.normalize(torch.randn(2, generator=generator, dtype=torch.float64), dim=0)
    q = grouped_constraint(6, 2, 1.0, 0.5, 0.4, -0.3, direction=v)
    x, y = torch.randn(2, 20_000, 6, generator=generator, dtype=torch.float64)
    d = torch.cat([x - y, reflects(x, v) - reflects(y, v)], 1)
    assert float(((d @ q) * d).sum(1).min()) >= -1e-9


def test_constraint_check_can_fail():
    """With lam < 0 the inequality is false, and sampling sees it."""
    x, y = torch.randn(2, 2000, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    d = torch.cat([x - y, sorts(x, 2) - sorts(y, 2)], 1)
    q = grouped_constraint(8, 2, -1.0, 0.0, 0.0, 0.0)
    assert float(((d @ q) * d).sum(1).min()) < 0


def test_refusals_and_radius():
    with pytest.raises(InputError, match="weights; found a value that is NaN"):
        lipschitz_bounds([torch.tensor([[float("nan")]])])
    with pytest.raises(UnsupportedOperator, match="convolution.*Lipschitz bound"):
        dense_weights(nn.Sequential(nn.Conv1d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(6, 2)), torch.zeros(1, 1, 4))
    with pytest.raises(UnsupportedOperator, match="ends in an activation"):
        dense_weights(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), torch.zeros(1, 2))
    assert math.isclose(lipschitz_radius(2.0, 1.0), math.sqrt(2)) and lipschitz_radius(-1.0, 1.0) == 0.0
