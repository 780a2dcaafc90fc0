"""Networks that jump: each face has the module's own affine map, and the subdivision holds together."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.errors import BudgetError, NotPiecewiseAffine
from cutaway.geometry import SliceSettings, crossings, rectangle, slice_network

SQUARE = rectangle(-2, 2, -2, 2)
FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def random(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("piecewise_networks")


class Net(nn.Module):
    def __init__(self, first, second=torch.relu):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(2, 8), nn.Linear(8, 6), nn.Linear(6, 3)
        self.first, self.second = first, second

    def forward(self, x):
        return self.c(self.second(self.b(self.first(self.a(x)))))


def net(first, second=torch.relu, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net(first, second).double()


def test_every_jump_before_and_behind_others_agrees_with_the_module(random):
    """Oracle: values and autograd derivatives of the module (1e-9: some hundred roundings)."""
    names = list(random.JUMPS)
    for name, other in zip(names, [*names[1:], "relu"], strict=True):
        model = net(random.JUMPS[name], {**random.JUMPS, **random.BENDS}[other])
        result = slice_network(model, domain=SQUARE)
        assert max(random.disagreement(model, result, np.random.default_rng(0), 25)) < 1e-9, (name, other)
        assert result.euler == 1 and not result.cells.check_pointers(), (name, other)
        assert result.measures.area.sum() == pytest.approx(16, rel=1e-12), (name, other)
        assert result.status.value == "exact", (name, other, result.caveats)


def test_regions_are_those_that_a_fine_grid_tells_apart(random):
    """Points of a grid fall into classes by value and derivative of the module; no class holds two faces."""
    model = net(lambda h: torch.where(h > 0, h + 1, -0.5 * h), seed=3)
    result = slice_network(model, domain=SQUARE)
    side = np.linspace(-2, 2, 201)[:-1] + 0.01
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    _, slopes = random._by_autograd(model, result.plane, grid)
    told = np.round(slopes.reshape(len(grid), -1), 6)
    maps = np.round(result.slopes.reshape(result.num_faces, -1), 6)
    large = result.measures.area > 0.01
    seen = {tuple(row) for row in told}
    assert {tuple(row) for row in maps[large]} <= seen <= {tuple(row) for row in maps}


def test_neighbours_across_a_jump_know_each_other_and_differ_by_the_jump():
    """-1/2 left of x = 0 and x + 1/2 right of it: one edge of two vertices, with two values at each."""
    model = nn.Sequential(nn.Linear(2, 1), nn.Threshold(0.0, -1.0), nn.Linear(1, 1)).double()
    with torch.no_grad():
        for p, value in zip(model.parameters(), ([[1.0, 0.0]], [0.0], [[1.0]], [0.5]), strict=True):
            p.copy_(torch.tensor(value))
    result = slice_network(model, domain=rectangle(-1, 1, -1, 1))
    assert (result.num_faces, result.num_vertices, result.num_edges) == (2, 6, 7)
    assert sorted(result.neighbours(0)) == [-1, -1, -1, 1]
    left, right = np.argsort(result.measures.interior[:, 0])
    corners = {f: result.outputs[result.measures.rows[slice(*result.measures.start[f : f + 2])]] for f in (left, right)}
    assert np.all(corners[left] == -0.5) and corners[right].min() == 0.5 and corners[right].max() == 1.5
    assert result.decision.segments.shape == (1, 2, 2) and np.all(result.decision.segments[..., 0] == 0)
    assert result.class_areas() == pytest.approx([2.0, 2.0])


def test_classes_have_the_areas_of_a_grid():
    for seed in range(3):
        model = net(lambda h: torch.where(h > 0.3, 2 - h, h), seed=seed)
        model.c.bias.data = -model(torch.zeros(1, 2, dtype=torch.float64))[0].detach() + model.c.bias.data
        result = slice_network(model, domain=SQUARE)
        side = np.linspace(-2, 2, 501)[:-1] + 0.004
        points = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
        with torch.no_grad():
            share = np.bincount(model(torch.from_numpy(points)).argmax(1).numpy(), minlength=3) / len(points)
        assert np.abs(result.class_areas() / 16 - share).max() < 2e-3  # cells of a grid that boundaries cross


def test_a_gate_that_is_zero_on_a_whole_face_takes_the_value_at_zero():
    """relu(h) >= 0 everywhere and relu(h) > 0 on one side: nothing, or one jump."""
    for function in (lambda h: h * (torch.relu(h) >= 0), lambda h: h + (torch.relu(h) > 0)):
        model = net(function, lambda h: h, seed=2)
        result = slice_network(model, domain=SQUARE)
        with torch.no_grad():
            want = model(torch.from_numpy(result.measures.interior)).numpy()
        assert np.abs(result.interior_outputs - want).max() < 1e-12


def test_what_needs_shared_values_still_refuses_jumps():
    model = net(torch.sign)
    with pytest.raises(NotPiecewiseAffine, match="which jumps"):
        crossings(model, torch.zeros(1, 2), torch.ones(1, 2))
    with pytest.raises(NotPiecewiseAffine, match="floor.*which jumps"):
        slice_network(net(torch.floor), domain=SQUARE)


def test_more_faces_than_allowed_end_in_a_budget_error():
    with pytest.raises(BudgetError):
        slice_network(net(torch.sign), domain=SQUARE, settings=SliceSettings(max_faces=5))
