"""The instruments on affine pieces keep the shared contract, and say why where they do not apply."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cutaway import Network
from cutaway.data import Dataset
from cutaway.geometry.plane import plane_through, square_around
from cutaway.geometry.slice import slice_network
from cutaway.instruments import AffineSlice, RayCrossings, SampleRegion
from cutaway.status import Status
from cutaway.testing import check_instrument

KINDS = [RayCrossings(num_segments=12), AffineSlice(max_regions=2000), SampleRegion(num_points=6)]


@pytest.mark.parametrize("instrument", KINDS, ids=lambda i: i.name)
def test_contract(instrument):
    assert check_instrument(instrument).status is not Status.UNSUPPORTED


@pytest.mark.parametrize("instrument", KINDS, ids=lambda i: i.name)
def test_says_why_a_smooth_network_has_no_pieces(instrument):
    state = torch.get_rng_state()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2)).eval()
    torch.set_rng_state(state)
    inputs = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    reading = instrument.measure(model, Dataset(name="noise", inputs=inputs))
    assert reading.status is Status.UNSUPPORTED and "gelu" in reading.reason


def test_slice_figures_are_those_of_the_slice(mlp):
    """Oracle: the pure function on the same three samples."""
    model = mlp(5, 12, 12, 3, seed=4)
    inputs = torch.randn(9, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    reading = AffineSlice().measure(model, Dataset(name="noise", inputs=inputs), seed=2)
    rows = reading.values["sample"].values
    plane = plane_through(inputs[torch.tensor(rows.tolist())].numpy())
    reach = max((plane.anchors**2).sum(axis=1)) ** 0.5
    assert reading.figure("regions").value == slice_network(model, plane, square_around(plane, reach)).num_faces


def test_rays_take_any_pairs_where_no_class_has_two_samples(mlp):
    """Every sample a class of its own: no pair of one class is there."""
    data = Dataset(name="d", inputs=torch.rand(6, 2, dtype=torch.float64), labels=torch.arange(6))
    reading = RayCrossings(num_segments=12).measure(Network(mlp(2, 8, 3), data.inputs[:2]), data)
    assert reading.status.value == "estimate" and reading.figure("crossing_density").value > 0


def test_the_picture_of_an_affine_slice_is_the_slice():
    """As many pieces as regions and their parts, of the areas that the reading gives; the chart draws every one."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 12), torch.nn.ReLU(), torch.nn.Linear(12, 3))
    inputs = torch.randn(30, 6)
    reading = AffineSlice(reach=2.0).measure(model, (inputs, model(inputs).argmax(1)))
    values = reading.values
    x, y, piece = (values[name].values for name in ("corner_x", "corner_y", "corner_piece"))
    areas = []
    for k in range(len(values["area"])):
        a, b = x[piece == k], y[piece == k]
        areas.append(abs(np.dot(a, np.roll(b, -1)) - np.dot(b, np.roll(a, -1))) / 2)
    np.testing.assert_allclose(areas, values["area"].values, rtol=1e-6, atol=1e-12)
    assert len(values["piece_class"]) >= len(values["area"]) and len(values["boundary"]) > 0
    chart = AffineSlice().draw(reading).to_dict()
    drawn = next(rows for rows in chart["datasets"].values() if "piece" in rows[0])
    assert len({row["piece"] for row in drawn}) == len(values["piece_class"])
    assert {row["class"] for row in drawn} == {f"class {c}" for c in values["piece_class"].values}
