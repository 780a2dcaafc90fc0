"""`Network.bounds`: every layer's values lie inside, for balls, boxes and regions, by every method."""

import pytest
import torch
from torch import nn

from cutaway import Network
from cutaway.errors import InputError
from cutaway.robustness.regions import ball


def small(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 3))


@pytest.fixture(scope="module")
def network():
    return Network(small(), torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
@pytest.mark.parametrize("radius", [0.02, 0.4])
def test_values_of_every_layer_lie_inside(network, method, radius):
    single, model = network.example, network.double().model
    x = single.double()
    found = network.bounds(single, radius, method=method)
    inside = x + radius * (2 * torch.rand(9, *x.shape, dtype=torch.float64) - 1)
    value = inside
    for layer in model:
        value = layer(value.flatten(0, 1)).unflatten(0, value.shape[:2])
    low, high = found.output
    assert low.shape == (2, 3) and bool((low <= value + 1e-12).all()) and bool((value <= high + 1e-12).all())
    first = model[0](inside.flatten(0, 1)).unflatten(0, (9, 2))
    low, high = list(found.values())[1]
    slack = 1e-12  # convolutions in another order of summation
    assert bool((low <= first + slack).all()) and bool((first <= high + slack).all())


def test_tighter_methods_are_not_wider_and_a_point_is_a_point(network):
    x = network.example
    width = {
        m: float((b.output[1] - b.output[0]).sum())
        for m in ("ibp", "crown")
        for b in [network.bounds(x, 0.1, method=m)]
    }
    assert width["crown"] < width["ibp"]
    low, high = network.bounds(x, 0.0).output
    assert float((high - low).max()) < 1e-9
    assert torch.allclose(low, network.double().model(x.double()), atol=1e-9)


def test_boxes_and_regions_are_the_same_as_balls(network):
    x = network.example
    by_ball = network.bounds(x, 0.25).output
    for other in (network.bounds((x - 0.25, x + 0.25)), network.bounds(ball(x.double(), 0.25, float("inf")))):
        assert torch.allclose(by_ball[0], other.output[0]) and torch.allclose(by_ball[1], other.output[1])
    assert bool((network.bounds(x, 0.25, norm=2).output[1] <= by_ball[1] + 1e-9).all())


def test_names_table_and_errors(network):
    x = network.example
    found = network.bounds(x, 0.1)
    assert next(iter(found)) == "input" and len(found) == 7
    assert "mean width" in repr(found) and found._repr_html_().count("<tr>") == 8
    with pytest.raises(InputError, match="(?i)give bounds"):
        network.bounds(x)
    with pytest.raises(InputError, match="(?i)check the shape"):
        network.bounds(torch.rand(2, 5), 0.1)
