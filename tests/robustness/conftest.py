"""Shared: small networks with random weights, and the check that bounds hold."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cutaway.network.graph import evaluate_graph
from cutaway.robustness.bounds.sweep import SweepSettings, bound_rows, sweep


def dense(sizes, activation=nn.ReLU, seed=0, scale=1.0):
    """A dense network with weights N(0, scale / fan-in) and biases N(0, 0.1)."""
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        layer = nn.Linear(a, b).double()
        with torch.no_grad():
            layer.weight.copy_(torch.randn(b, a, generator=generator, dtype=torch.float64) * scale * (2 / a) ** 0.5)
            layer.bias.copy_(0.3 * torch.randn(b, generator=generator, dtype=torch.float64))
        layers += [layer] + ([activation()] if i < len(sizes) - 2 else [])
    return nn.Sequential(*layers)


def inside(net, region, method="crown", num=2000, points=None, seed=0):
    """Assert that every node's values at sampled points lie within its limits; gives the output rows' lower bounds."""
    generator = torch.Generator().manual_seed(seed)
    batch = len(region.lower)
    samples = region.sample(num, generator)
    corner = torch.rand(batch, min(num, 256), samples.shape[2], generator=generator, dtype=torch.float64) > 0.5
    extra = torch.where(corner, region.upper.unsqueeze(1), region.lower.unsqueeze(1))
    stack = [samples] + ([extra] if region.is_box else []) + ([] if points is None else [points])
    samples = torch.cat(stack, 1)
    node = net.graph.input
    values = evaluate_graph(net.graph, samples.reshape(-1, *node.shape[1:]))
    settings = SweepSettings(method=method)
    limits = sweep(net, region, settings)
    for node in net.graph.nodes:
        value = values[node.index].reshape(batch, -1, *node.shape)
        assert bool((limits.lower[node.index].unsqueeze(1) <= value).all()), (method, node.op, node.name, "lower")
        assert bool((value <= limits.upper[node.index].unsqueeze(1)).all()), (method, node.op, node.name, "upper")
    output = net.graph.output
    eye = torch.eye(output.numel, dtype=torch.float64).reshape(output.numel, *output.shape)
    rows = torch.cat([eye, -eye])
    found = bound_rows(net, limits, region, rows, settings)
    value = values[output.index].reshape(batch, -1, output.numel)
    true = torch.cat([value, -value], -1).amin(1)
    assert bool((found <= true).all()), (method, "output rows")
    return found, limits


@pytest.fixture
def make_dense():
    return dense


@pytest.fixture
def check_inside():
    return inside
