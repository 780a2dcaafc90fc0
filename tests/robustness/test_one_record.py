"""One record in `network/graph/facts.py` is all that a function of one number needs: every room takes it from there."""

import dataclasses

import pytest
import torch
from torch import nn

from cutaway.network import Network
from cutaway.network.graph import facts, trace
from cutaway.robustness.bounds.deployment import deployment_radius
from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.bounds.sweep import SweepSettings, sweep
from cutaway.robustness.bounds.unary import UNARY, lines, unary_range, value
from cutaway.robustness.lipschitz import dense_weights
from cutaway.robustness.regions import box

MODULES = {"softsign": nn.Softsign(), "tanh": nn.Tanh(), "sigmoid": nn.Sigmoid(), "silu": nn.SiLU(), "mish": nn.Mish()}


@pytest.mark.parametrize("word", MODULES)
def test_sites_graph_bounds_and_lipschitz_constants_read_the_record(word, monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), MODULES[word], nn.Linear(4, 2)).double().eval()
    x = torch.randn(2, 3, dtype=torch.float64)
    network = Network(model, x)
    assert not network.piecewise_affine and [s.kind for s in network.sites] == [word]
    node = next(n for n in trace(model, x).nodes if n.op == word)
    assert UNARY[word] is facts.FACTS[word].curve
    low, high = torch.tensor([-3.0, -0.4, 0.2]).double(), torch.tensor([2.5, 0.3, 9.0]).double()
    points = low + torch.linspace(0, 1, 501, dtype=torch.float64)[:, None] * (high - low)
    y, (least, most), (a, b, c, d) = value(node, points), unary_range(node, low, high), lines(node, low, high)
    assert bool(((least <= y) & (y <= most)).all())
    assert bool(((a * points + b <= y) & (y <= c * points + d)).all())
    bounded = bound_network(model, x[:1])
    limits = sweep(bounded, box(x[:1] - 0.4, x[:1] + 0.4), SweepSettings(method="ibp"))
    assert float(deployment_radius(bounded, limits).max()) < 1e-4
    monkeypatch.setitem(facts.CURVES, word, dataclasses.replace(facts.CURVES[word], float32=None))
    assert bool(deployment_radius(bounded, limits).isinf().all())
    slopes = facts.slopes_of(node)
    assert slopes is not None
    if slopes[0] >= 0:
        torch.testing.assert_close(dense_weights(model, x)[1], slopes[1] * model[2].weight.detach())
