"""Boundary migration: closed forms, dense sampling, planted networks, and what it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.evidence import Reinitialised, replicates
from cutaway.geometry import input_plane, near_length, ray_migration, rectangle, slice_migration, slice_network
from cutaway.geometry.plane import chords
from cutaway.instruments import BoundaryMigration
from cutaway.network import Network


def bends_at(places: list[float]) -> nn.Sequential:
    """f(x, y) = x - 1/2, up to a thousandth, with a bend at every x of `places`; classes change at x = 1/2."""
    model = nn.Sequential(nn.Linear(2, len(places) + 1), nn.ReLU(), nn.Linear(len(places) + 1, 2)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0]]).expand(len(places) + 1, 2))
        model[0].bias.copy_(torch.tensor([9.0, *(-p for p in places)]))
        model[2].weight.copy_(torch.tensor([[0.0] * (len(places) + 1), [1.0] + [1e-9] * len(places)]))
        model[2].bias.copy_(torch.tensor([0.0, -9.5]))
    return model.eval()


PLACES = [0.1, 0.42, 0.45, 0.55, 0.9]


def test_distances_on_a_segment_are_those_of_the_closed_form():
    starts, ends = torch.tensor([[0.0, 0.3], [1.0, 0.0]]), torch.tensor([[1.0, 0.3], [0.0, 0.0]])
    found = ray_migration(bends_at(PLACES), starts.double(), ends.double())
    assert [c.tolist() for c in found.changes] == [pytest.approx([0.5]), pytest.approx([0.5])]
    np.testing.assert_allclose(found.distance[:5], [0.4, 0.08, 0.05, 0.05, 0.4], atol=1e-8)
    np.testing.assert_allclose(found.distance[5:], [0.4, 0.05, 0.05, 0.08, 0.4], atol=1e-8)
    radius = np.array([0.06, 0.1])
    assert found.near(radius).tolist() == [False, False, True, True, False, False, True, True, True, False]
    np.testing.assert_allclose(found.length_near(radius), [0.12, 0.2], atol=1e-9)
    crossed, far = found.cells(8)
    assert crossed[0].tolist() == [1, 0, 0, 2, 1, 0, 0, 1]
    np.testing.assert_allclose(far[1], np.abs((np.arange(8) + 0.5) / 8 - 0.5), atol=1e-9)


def random_net(seed: int, sizes=(3, 12, 12, 4)) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [m for a, b in zip(sizes, sizes[1:]) for m in (nn.Linear(a, b), nn.ReLU())][:-1]
        return nn.Sequential(*layers).double().eval()


def test_changes_of_class_are_those_of_dense_sampling():
    generator = torch.Generator().manual_seed(3)
    starts, ends = (3 * torch.randn(40, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    model, dense = random_net(5), torch.linspace(0, 1, 10_001, dtype=torch.float64)[:, None]
    found, seen = ray_migration(model, starts, ends), 0
    for start, end, changes in zip(starts, ends, found.changes, strict=True):
        best = model((1 - dense) * start + dense * end).argmax(dim=1)
        naive = dense[1:, 0][best[1:] != best[:-1]].numpy()
        assert len(naive) == len(changes)
        np.testing.assert_allclose(changes, naive, atol=2e-4)
        seen += len(naive)
    assert seen > 5
    whole = ray_migration(model, starts, ends, budget=1 << 16)
    np.testing.assert_allclose(whole.distance, found.distance, rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), radius=st.floats(0.02, 0.8))
def test_length_near_a_boundary_is_that_of_dense_sampling(seed, radius):
    draw = np.random.default_rng(seed)
    edges, boundary = draw.random((6, 2, 2)), draw.random((5, 2, 2)) * 1.5
    boundary[0, 1] = boundary[0, 0]  # a point
    edges[0, 1, 0], boundary[1, 1, 0] = edges[0, 0, 0], boundary[1, 0, 0]  # parallel to each other
    t = (np.arange(2000) + 0.5) / 2000
    points = edges[:, None, 0] + t[:, None] * (edges[:, None, 1] - edges[:, None, 0])
    a, along = boundary[:, 0], boundary[:, 1] - boundary[:, 0]
    off = points[:, :, None] - a
    share = np.clip((off * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-12), 0, 1)
    distance = np.linalg.norm(off - share[..., None] * along, axis=-1).min(axis=2)
    length = np.linalg.norm(edges[:, 1] - edges[:, 0], axis=1)
    naive = (distance <= radius).mean(axis=1) * length
    np.testing.assert_allclose(near_length(edges, boundary, radius, batch_size=4), naive, atol=8e-3)


def test_a_slice_of_parallel_lines_has_the_shares_of_the_closed_form():
    result = slice_network(bends_at(PLACES), input_plane(), rectangle(0, 1, 0, 1))
    found = slice_migration(result, 0.06)
    assert found.near_share == pytest.approx(2 / 5, abs=1e-6) and found.length.sum() == pytest.approx(5, abs=1e-6)
    assert found.area_share == pytest.approx(0.12, abs=1e-6)
    assert found.concentration == pytest.approx(0.4 / 0.12, abs=1e-4)
    with pytest.raises(InputError, match="positive distance"):
        slice_migration(result, 0.0)
    with pytest.raises(InputError, match="one class takes all"):
        slice_migration(slice_network(bends_at(PLACES), input_plane(), rectangle(0, 0.4, 0, 1)), 0.1)


def test_chords_add_up_to_the_area():
    triangle = np.array([[0.0, 0.0], [2.0, 0.5], [0.5, 1.5]])
    found = chords(triangle, 400)
    lengths, height = found[:, 1, 0] - found[:, 0, 0], 1.5
    assert (lengths > 0).all() and (found[:, 0, 1] == found[:, 1, 1]).all()
    assert lengths.sum() * height / 400 == pytest.approx(1.375, rel=1e-4)


def rows(count: int = 60) -> Dataset:
    """Samples left and right of the change of class, none near it."""
    draw = torch.Generator().manual_seed(0)
    inputs = torch.rand(count, 2, generator=draw, dtype=torch.float64)
    inputs[:, 0] = 0.05 * inputs[:, 0] + (torch.arange(count) % 2) * 0.95
    return Dataset(inputs=inputs, labels=torch.arange(count) % 2, name="two sides")


@pytest.mark.parametrize(
    ("places", "word"),
    [
        ([0.46, 0.48, 0.5, 0.52, 0.54], "times as dense there as on the whole way"),
        ([0.1, 0.15, 0.2, 0.8, 0.85, 0.9], "sparser there"),
    ],
)
def test_planted_bends_are_told_where_they_are(places, word):
    reading = BoundaryMigration(radius=0.1).measure(bends_at(places), rows())
    assert word in BoundaryMigration(radius=0.1).describe(reading)
    correlation = reading.figure("distance_correlation")
    assert (correlation.high < -0.3) if "dense" in word else (correlation.low > 0.05)
    near, total = (float(reading.values[n].sum()) for n in ("near", "crossings"))
    assert reading.figure("near_share").value == near / total
    assert list(reading.values["class"].values) == [0, 1] and reading.values.sizes["site"] == 1
    assert reading.plot() is not None


def test_bends_spread_evenly_are_as_dense_everywhere():
    places = ((np.arange(200) + 0.5) / 200).tolist()
    reading = BoundaryMigration(radius=0.1).measure(bends_at(places), rows())
    assert reading.figure("concentration").value == pytest.approx(1, abs=0.06)
    assert abs(reading.figure("distance_correlation").value) < 0.2


def test_untrained_networks_are_its_null_and_slices_need_three_classes():
    generator = torch.Generator().manual_seed(1)
    data = Dataset(inputs=3 * torch.randn(120, 3, generator=generator), name="noise")
    instrument = BoundaryMigration(num_segments=24)
    network = Network(random_net(5).float(), data.inputs[:2])
    reading = instrument.measure(network, data)
    assert {"slice_near_share", "slice_concentration"} <= {f.name for f in reading.figures}
    rays = dataclasses.replace(instrument, num_slices=0)
    against = reading.against(replicates(rays, network, data, Reinitialised(), count=4))
    assert against.figure("concentration").p_value > 0.1  # it is untrained itself
    two = instrument.measure(bends_at(PLACES), rows())
    assert [s.reason for s in two.coverage.skipped] == ["need samples of three classes and two dimensions"]
    small = dataclasses.replace(instrument, max_regions=3, num_segments=4).measure(network, data)
    assert "slice_near_share" not in {f.name for f in small.figures} and "slice 0" in small.coverage.skipped[0].what


def test_what_has_no_boundaries_is_unsupported():
    assert "no kinks" in BoundaryMigration().measure(nn.Linear(2, 2), rows()).reason
    one = Dataset(inputs=rows().inputs[::2], name="one side")
    assert "one class" in BoundaryMigration().measure(bends_at(PLACES), one).reason
    smooth = nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 2)).double()
    assert "gelu" in BoundaryMigration().measure(smooth, rows()).reason.lower()
