"""Patches give what dense functionals give: second implementation as oracle, and samples."""

import pytest
import torch
from torch import nn

from cutaway.robustness.bounds import backward
from cutaway.robustness.bounds.alpha import AlphaSettings, optimised
from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.bounds.sweep import bound_rows, sweep
from cutaway.robustness.regions import ball


class Residual(nn.Module):
    """Patches end at the sum and go on from the convolution behind it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.third, self.head = nn.Conv2d(3, 2, 3), nn.Linear(2 * 36, 3)

    def forward(self, x):
        y = torch.relu(self.first(x))
        y = torch.relu(y + self.second(y))
        return self.head(torch.relu(self.third(y)).flatten(1))


def chain(*layers, features):
    return lambda: nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, 3))


NETWORKS = {
    "padded and strided": chain(
        nn.Conv2d(1, 3, 4, stride=2, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 4, stride=2, padding=1), nn.ReLU(), features=16
    ),
    "three deep, other steps each way": chain(
        nn.Conv2d(1, 2, (3, 2), padding=(2, 0)), nn.ReLU(), nn.Conv2d(2, 3, 2, stride=(1, 2), padding=(0, 1)), nn.LeakyReLU(),
        nn.Conv2d(3, 2, 2), nn.Hardtanh(), features=48,
    ),
    "no function between": chain(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Conv2d(3, 2, 2), nn.ReLU(), features=32),
    "groups and dilation stay dense": chain(
        nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Conv2d(4, 4, 2, groups=2), nn.ReLU(), nn.Conv2d(4, 2, 2, dilation=2), nn.ReLU(),
        features=32,
    ),
    "residual": Residual,
}  # fmt: skip
# Their lines are facets of an envelope over a grid: at a corner of it rounding picks one of two, both sound.
SMOOTH = {
    "smooth": chain(nn.Conv2d(1, 2, (3, 2)), nn.GELU(), nn.Conv2d(2, 3, 2, stride=(1, 2)), nn.Tanh(), features=45)
}


def prepared(name):
    model, generator = (NETWORKS | SMOOTH)[name]().double().eval(), torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = parameter[0].numel() ** -0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return bound_network(model, x), x


@pytest.mark.parametrize("norm", [float("inf"), 2.0])
@pytest.mark.parametrize("name", NETWORKS)
def test_patches_equal_dense_functionals(name, norm, monkeypatch):
    net, x = prepared(name)
    region = ball(x, 0.15 if norm == float("inf") else 0.6, norm)
    rows = torch.randn(5, *net.graph.output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = {}
    for way in ("patches", "dense"):
        if way == "dense":
            monkeypatch.setattr(backward, "fits", lambda node: False)
        limits = sweep(net, region)
        settings = AlphaSettings(depth="all", steps=2, search_dtype=torch.float64)
        slopes, tighter = optimised(net, region, rows, limits, settings)
        exact = [*limits.lower.values(), *limits.upper.values(), bound_rows(net, limits, region, rows)]
        found[way] = exact, [*tighter.lower.values(), slopes]
    for a, b in zip(found["patches"][0], found["dense"][0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    for a, b in zip(found["patches"][1], found["dense"][1], strict=True):  # Adam's first steps magnify rounding
        torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", [*NETWORKS, *SMOOTH])
def test_every_layer_encloses_samples(name, check_inside):
    net, x = prepared(name)
    check_inside(net, ball(x, 0.1, float("inf")), "crown", num=500)


def test_patches_are_entered_and_cheaper(monkeypatch):
    """Where a convolution follows a convolution, no dense functional of the first one's output is made."""
    net, x = prepared("no function between")
    widths = []
    honest = backward.pull_back

    def seen(graph, node, a):
        widths.append((node.op, a.shape[1]))
        return honest(graph, node, a)

    monkeypatch.setattr(backward, "pull_back", seen)
    sweep(net, ball(x, 0.15, float("inf")))
    assert not widths
    monkeypatch.setattr(backward, "fits", lambda node: False)
    sweep(net, ball(x, 0.15, float("inf")))
    assert {op for op, _ in widths} == {"convolution"}
