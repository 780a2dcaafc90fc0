"""Units by where they bend: closed forms, planted units, units left out, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import InputError, ModelError
from cutaway.geometry import input_plane, ray_migration, rectangle, slice_network
from cutaway.geometry.rays import as_program
from cutaway.instruments import UnitBoundaries
from cutaway.network import Network
from cutaway.structure import wire
from cutaway.structure.live import live_connections
from cutaway.structure.units import (
    UnitMask,
    geometry_score,
    least_units,
    magnitude_score,
    slice_densities,
    unit_crossings,
    units_of,
    without_units,
)

PLACES = [0.05, 0.48, 0.97, 2.0]
"""Where units bend: around data at 0, at the decision boundary 1/2, around data at 1, nowhere between."""


def bends_at(places: list[float], weights: list[float] | None = None) -> nn.Sequential:
    """x - 1/2 and the units relu(x - place), each with its weight in the second logit."""
    count = len(places)
    model = nn.Sequential(nn.Linear(2, count + 1), nn.ReLU(), nn.Linear(count + 1, 2)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0]]).expand(count + 1, 2))
        model[0].bias.copy_(torch.tensor([9.0, *(-p for p in places)]))
        model[2].weight.copy_(torch.tensor([[0.0] * (count + 1), [1.0, *(weights or [1e-9] * count)]]))
        model[2].bias.copy_(torch.tensor([0.0, -9.5]))
    return model.eval()


def test_densities_are_those_of_the_closed_form():
    starts, ends = torch.tensor([[0.0, 0.0], [1.0, 0.4]]).double(), torch.tensor([[1.0, 0.0], [0.0, 0.4]]).double()
    model = bends_at(PLACES)
    program = as_program(model, starts[:1])
    units = units_of(program)
    assert units.count == 5 and units.layer.tolist() == [0] * 5
    crossed = unit_crossings(units, ray_migration(program, starts, ends), 0.1)
    around, decisive = crossed.densities()
    np.testing.assert_allclose(around, [0, 2 / 0.4, 0, 2 / 0.4, 0], rtol=1e-6)
    np.testing.assert_allclose(decisive, [0, 0, 2 / 0.4, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(crossed.densities(np.array([0]))[1], [0, 0, 1 / 0.2, 0, 0], rtol=1e-6)
    score = geometry_score(around, decisive, np.array([1, 1, 1, 1, 0.0]))
    assert least_units(units, score, 0.6) == {units.sites[0].name: pytest.approx(np.array([1, 3, 4]))}
    with pytest.raises(InputError, match="radius"):
        unit_crossings(units, ray_migration(program, starts, ends), 0.5)


def test_lengths_in_a_slice_are_those_of_the_closed_form():
    model = bends_at(PLACES)
    units = units_of(as_program(model, torch.zeros(1, 2).double()))
    result = slice_network(model, input_plane(), rectangle(0, 1, 0, 1))
    around, decisive = slice_densities(units, result, np.array([[0.0, 0.5]]), 0.1)
    half_disc = np.pi * 0.01 / 2
    np.testing.assert_allclose(around, [0, 2 * np.sqrt(0.01 - 0.0025) / half_disc, 0, 0, 0], rtol=2e-3)
    np.testing.assert_allclose(decisive, [0, 0, 1 / 0.2, 0, 0], rtol=1e-6)


class Two(nn.Module):
    """Convolution with a normalisation, a clamp, and a dense layer whose weight is no module's."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.middle = nn.Sequential(nn.Linear(16, 7), nn.ReLU6())
        self.weight = nn.Parameter(torch.randn(5, 7))

    def forward(self, x):
        return F.relu(F.linear(self.middle(self.front(x)), self.weight)).sum(dim=1, keepdim=True) * torch.ones(1, 3)


def test_units_left_out_are_zero_in_the_program_and_in_the_copy():
    torch.manual_seed(0)
    model = Two().double().eval()
    for tensor in (model.front[1].running_mean, model.front[1].bias):
        tensor.data.normal_()
    inputs = torch.randn(6, 1, 6, 6, dtype=torch.float64)
    program = as_program(model, inputs[:1])
    units = units_of(program)
    assert [s.count for s in units.sites] == [4, 7, 5]
    assert ["max_pool" in s.what or "front.3" in s.what for s in units.skipped] == [True]
    assert magnitude_score(units)[:4] == pytest.approx(
        torch.cat([model.front[0].weight.flatten(1), model.front[0].bias[:, None]], dim=1).norm(dim=1).tolist()
    )
    gone = {units.sites[0].name: np.array([1, 3]), units.sites[1].name: np.array([0])}
    masked, copied = UnitMask(program, units).outputs(inputs, gone, batch_size=4), without_units(model, units, gone)
    assert (masked - UnitMask(program, units).outputs(inputs, {})).abs().max() > 1e-3
    torch.testing.assert_close(masked, copied(inputs), rtol=0, atol=1e-12)
    torch.testing.assert_close(UnitMask(program, units).outputs(inputs, {}), model(inputs), rtol=0, atol=1e-12)
    live = live_connections(wire(Network(copied, inputs[:2])))
    assert live.units["middle.0.weight"][0] == 6
    share = UnitMask(program, units).active_share(inputs)
    want = (model.middle(model.front(inputs)) != 0).double().mean(dim=0)
    np.testing.assert_allclose(share[4:11], want)
    with pytest.raises(ModelError, match="a row a unit"):
        without_units(model, units, {units.sites[2].name: np.array([0])})


def rows(count: int = 80) -> Dataset:
    """Samples left and right of the change of class, none near it."""
    inputs = torch.rand(count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inputs[:, 0] = 0.05 * inputs[:, 0] + (torch.arange(count) % 2) * 0.95
    return Dataset(inputs=inputs, labels=torch.arange(count) % 2, name="two sides")


def test_units_that_bend_around_data_alone_go_first():
    around = [0.03, 0.06, 0.08, 0.92, 0.95, 0.97]
    model = bends_at([*around, 0.49, 0.5, 0.51], [1e-9] * 6 + [8.0] * 3)
    with torch.no_grad():  # magnitude sees large weights where nothing depends on them
        model[0].weight[1:7] *= 20
        model[0].bias[1:7] *= 20
        model[2].weight[1, 0], model[2].bias[1] = 0.0, -0.3  # the decision is the last three units' alone
    reading = UnitBoundaries(num_segments=60).measure(model, rows())
    value = {f.name: f.value for f in reading.figures}
    assert value["around_share"] == pytest.approx(6 / 9) and value["idle_share"] == 0
    assert value["removable_geometry"] >= 0.6 > 0.3 > value["removable_magnitude"]
    assert value["gain"] >= 0.4 and "geometry removes more" in UnitBoundaries().describe(reading)
    assert set(np.flatnonzero(reading.values["gone"])) >= set(range(1, 7))
    assert [s.reason for s in reading.coverage.skipped] == ["need samples of three classes and two dimensions"]
    assert reading.plot() is not None


def test_slices_agree_with_segments_on_a_planted_network():
    draw = torch.Generator().manual_seed(1)
    torch.manual_seed(4)
    model = nn.Sequential(nn.Linear(2, 30), nn.ReLU(), nn.Linear(30, 4)).double().eval()
    data = Dataset(inputs=2 * torch.randn(200, 2, generator=draw, dtype=torch.float64), name="plane")
    reading = UnitBoundaries(num_segments=300, num_slices=6).measure(model, data)
    assert reading.figure("slice_agreement").value > 0.3
    tight = UnitBoundaries(num_segments=20, max_regions=2).measure(model, data)
    assert "slice_agreement" not in {f.name for f in tight.figures} and "slice 0" in tight.coverage.skipped[0].what


def test_what_has_no_units_is_unsupported():
    assert "no units" in UnitBoundaries().measure(nn.Linear(2, 2).double(), rows()).reason
    pooled = nn.Sequential(nn.Unflatten(1, (1, 2)), nn.MaxPool1d(2, stride=1), nn.Flatten(), nn.Linear(1, 2)).double()
    assert "no units" in UnitBoundaries().measure(pooled, rows()).reason
    one = Dataset(inputs=rows().inputs[::2], name="one side")
    assert "one class" in UnitBoundaries().measure(bends_at(PLACES), one).reason
    for bad in (nn.GELU(), nn.LayerNorm(4), nn.Softmax(dim=1)):
        smooth = nn.Sequential(nn.Linear(2, 4), bad, nn.Linear(4, 2)).double()
        assert type(bad).__name__.lower()[:4] in UnitBoundaries().measure(smooth, rows()).reason.lower()
