"""Every piecewise-affine operator: slices against the module itself, and what is said of the others."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cutaway.errors import ModelError, NotPiecewiseAffine
from cutaway.geometry import crossings, plane_of, rectangle, sign_partition, slice_network

SQUARE = rectangle(-2, 2, -2, 2)
FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def random(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("piecewise_networks")


def between(function):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.b(function(self.a(x)))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net().double()


def test_every_bend_agrees_with_the_module(random):
    """Oracle: values and autograd derivatives of the module, in float64 (1e-9: some hundred roundings)."""
    for name, function in random.BENDS.items():
        model = between(function)
        found = random.disagreement(model, slice_network(model, domain=SQUARE), np.random.default_rng(0), 20)
        assert max(found) < 1e-9, (name, found)


def test_every_layer_of_images_agrees_with_the_module(random):
    for name, make in random.IMAGES.items():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), make(), nn.Flatten(), nn.LazyLinear(2))
            draw = torch.randn(3, 1, 4, 4, dtype=torch.float64)
            model.double()(draw)
        plane = plane_of(draw[0].numpy(), draw[1:].numpy())
        found = random.disagreement(model, slice_network(model, plane, SQUARE), np.random.default_rng(0), 60)
        assert max(found) < 1e-9, (name, found)


def test_the_oracle_sees_a_wrong_map(random):
    model = between(torch.relu)
    result = slice_network(model, domain=SQUARE)
    result.relative[:] += 1e-6 * np.sin(np.arange(len(result.relative)))[:, None]
    assert max(random.disagreement(model, result, np.random.default_rng(0), 60)) > 1e-8


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("median", lambda h: h - h.median(1, keepdim=True)[0]),
        ("topk", lambda h: h.topk(8, 1)[0]),
        ("kthvalue", lambda h: h - h.kthvalue(3, 1, True)[0]),
    ],
)
def test_an_operator_that_is_not_supported_is_told_as_such(name, function):
    with pytest.raises(NotPiecewiseAffine, match=rf"operator '{name}' .* is not supported"):
        slice_network(between(function), domain=SQUARE)


def test_an_integer_cast_is_told_as_such():
    with pytest.raises(NotPiecewiseAffine, match="_to_copy"):
        slice_network(between(lambda h: h.to(torch.int64) + h), domain=SQUARE)


def test_two_entries_sorted_bend_once_along_a_ray():
    """Sorting a pair gives its maximum and its minimum, which bend at the same places."""
    one, two = (
        crossings(between(f), torch.full((1, 2), -3.0), torch.full((1, 2), 3.0))
        for f in (torch.relu, lambda h: torch.stack([h, 0 * h], 2).sort(2)[0][:, :, 1])
    )
    assert len(one.at) > 2 and torch.equal(one.at, two.at)


def test_gates_are_offered_only_where_their_sign_is_the_bend():
    with pytest.raises(NotPiecewiseAffine, match="sign partition"):
        slice_network(between(F.gelu), domain=SQUARE)
    with pytest.raises(NotPiecewiseAffine) as told:
        slice_network(between(lambda h: F.gelu(F.hardshrink(h))), domain=SQUARE)
    assert "sign partition" not in str(told.value)
    with pytest.raises(ModelError, match="no gated nonlinearity.*exact slice needs no gates"):
        sign_partition(between(F.softshrink), domain=SQUARE)
