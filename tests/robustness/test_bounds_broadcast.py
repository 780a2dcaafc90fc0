"""Operands of different shapes: what is spread has bounds of the shape of the result, and they hold."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cutaway.robustness.bounds.deployment import deployment_radius
from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.bounds.sweep import bound_rows, sweep
from cutaway.robustness.query import Clause, Query
from cutaway.robustness.regions import Box
from cutaway.robustness.verify.verdict import VerifySettings, verify
from cutaway.status import Status

LARGE = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64).reshape(3, 4)
COLUMN = torch.linspace(0.5, 2.0, 4, dtype=torch.float64)

CASES = {
    "sum with a larger constant": lambda x: x + LARGE,
    "a larger constant less x": lambda x: LARGE - x,
    "product with a larger constant": lambda x: x * LARGE,
    "quotient by a larger constant": lambda x: x / (LARGE + 2),
    "both": lambda x: (x * COLUMN + LARGE) * LARGE,
    "maximum with a larger constant": lambda x: torch.maximum(x, LARGE),
    "minimum with a larger constant": lambda x: torch.minimum(LARGE, x),
    "one more dimension": lambda x: x + LARGE.reshape(1, 1, 3, 4),
    "sum of values": lambda x: x + (x @ COLUMN.reshape(1, 4)),
    "difference of values": lambda x: (x @ COLUMN.reshape(1, 4)) - x,
    "product of values": lambda x: x * (x @ COLUMN.reshape(1, 4)),
    "maximum of values": lambda x: torch.maximum(x, x @ COLUMN.reshape(1, 4)),
    "clamp by a larger constant": lambda x: torch.clamp(x, min=LARGE),
}


class Spread(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return torch.relu(self.function(x) + 0.1).flatten(1)


@pytest.mark.parametrize("name", CASES)
def test_bounds_of_operands_that_are_spread_hold(name):
    model = Spread(CASES[name]).double()
    net = bound_network(model, torch.zeros(1, 3, 1, dtype=torch.float64))
    region = Box(low=-torch.ones(1, 3, dtype=torch.float64), high=torch.ones(1, 3, dtype=torch.float64))
    limits = sweep(net, region)
    node = net.graph.output.index
    points = 2 * torch.rand(300, 3, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    points[0], points[1] = 1.0, -1.0
    values = model(points).reshape(len(points), -1)
    low, high = limits.lower[node].flatten(1), limits.upper[node].flatten(1)
    assert low.shape == (1, values.shape[1])
    assert bool((low <= values.amin(0)).all() and (values.amax(0) <= high).all())
    each = torch.eye(values.shape[1], dtype=torch.float64).reshape(1, -1, *net.graph.output.shape)
    assert bool((bound_rows(net, limits, region, each) <= values.amin(0)).all())
    assert bool(torch.isfinite(deployment_radius(net, limits)).all())


class Single(nn.Module):
    """One number without dimensions, as ONNX files without a batch give."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


SINGLES = {
    "sum": lambda x: torch.relu(x).sum(0),
    "rectified sum": lambda x: torch.relu(x.sum(0) - 0.5),
    "maximum": lambda x: x.relu().amax(0),
    "square": lambda x: x.sum(0) * x.mean(0),
    "sigmoid of a maximum": lambda x: torch.sigmoid(x.amax(0) + 2 * torch.relu(x.sum(0))),
}


@pytest.mark.parametrize("name", SINGLES)
def test_an_output_without_dimensions_is_decided_like_any_other(name):
    model = Single(SINGLES[name]).double()
    net = bound_network(model, torch.zeros(3, dtype=torch.float64), batched=False)
    assert net.graph.output.shape == ()
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    top = max(float(model(point)) for point in [*points, torch.ones(3).double()])
    low, high = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    for limit, right in ((top + 0.05, Status.CERTIFIED), (top - 0.05, Status.FALSIFIED)):
        over = Clause(lower=low, upper=high, matrix=-torch.ones(1, 1).double(), limits=-torch.tensor([limit]).double())
        query = Query(clauses=(over,), num_inputs=3, num_outputs=1)
        for settings in (VerifySettings(timeout=60), VerifySettings(timeout=60, input_split_up_to=0)):
            verdict = verify(net, query, lambda x: model(x.double()).reshape(1), settings)
            assert verdict.status is right
            if right is Status.FALSIFIED:
                assert float(model(verdict.witness)) >= limit
    deployed = verify(net, query, lambda x: model(x.double()).reshape(1), VerifySettings(deployment=torch.float32))
    assert deployed.status is Status.FALSIFIED
