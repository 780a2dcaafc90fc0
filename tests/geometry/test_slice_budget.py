"""A slice keeps to its budget: what it holds is counted, what cannot fit is refused before it is cut, and the network
is traced once."""

import ctypes
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.errors import BudgetError
from cutaway.geometry import slice as slicing
from cutaway.geometry.cutting import CutSettings, Cutter
from cutaway.geometry.plane import input_plane, plane_through, rectangle, square_around
from cutaway.geometry.preview import estimated_regions
from cutaway.geometry.program import StagedProgram
from cutaway.geometry.slice import SliceSettings, largest_slice, slice_network
from cutaway.network.graph import trace

BUDGET = 40_000_000
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(reset=False):
    """Peak resident bytes since the last reset, or with `reset` those of now (an oracle that sees torch and NumPy)."""
    if reset:
        ctypes.CDLL(None).malloc_trim(0)
        RESET.write_text("5")
    words = dict(line.split(":", 1) for line in STATUS.read_text().splitlines() if ":" in line)
    return 1024 * int(words["VmRSS" if reset else "VmHWM"].split()[0])


@pytest.fixture(scope="module")
def wide():
    """A convolutional network whose first layer has 55,296 values, and a plane; libraries loaded."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 24, 3, stride=2, padding=1), nn.ReLU()]
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 10)).double().eval()
    plane = plane_through(np.random.default_rng(0).random((3, 3, 48, 48)))
    assert slice_network(model, plane, square_around(plane, 1e-4)).num_faces >= 1
    return model, plane


@pytest.mark.skipif(not RESET.exists(), reason="needs Linux's record of peak memory")
def test_the_peak_of_a_slice_is_within_its_budget(wide):
    model, plane = wide
    before = resident(reset=True)
    found = largest_slice(model, plane, square_around(plane, 0.01), SliceSettings(budget=BUDGET))
    assert resident() - before < 1.2 * BUDGET
    assert found.num_faces > 20 and found.check.sound


def test_layers_in_coordinates_count(wide):
    model, plane = wide
    program = StagedProgram(trace(model, torch.zeros(1, 3, 48, 48)))
    with pytest.raises(BudgetError, match=r"of it the layers' values in these coordinates.*beside the network"):
        Cutter(program, plane, square_around(plane, 1.0), CutSettings(budget=BUDGET)).run()


def test_what_cannot_fit_is_refused_before_it_is_cut(wide, monkeypatch):
    model, plane = wide
    monkeypatch.setattr(slicing, "_sliced", lambda *_, **__: pytest.fail("cut"))
    with pytest.raises(BudgetError, match=r"of a slice of this network; found 1 MB; expected at least .*--budget 15MB"):
        slice_network(model, plane, square_around(plane, 1.0), SliceSettings(budget=1_000_000))
    monkeypatch.setattr(slicing, "trace_for", lambda *_: pytest.fail("traced"))
    with pytest.raises(BudgetError, match=r"which takes the network in float64; found 50 KB; expected at least"):
        largest_slice(model, plane, square_around(plane, 1.0), SliceSettings(budget=50_000))


def test_a_slice_that_is_halved_traces_its_network_once(mlp, square, monkeypatch):
    traced, real = [], slicing.trace_for
    monkeypatch.setattr(slicing, "trace_for", lambda *some: traced.append(0) or real(*some))
    found = largest_slice(mlp(2, 30, 30, 2), input_plane(), 4 * square, SliceSettings(max_faces=60))
    assert found.shrunk <= 0.5 and found.num_faces <= 60 and len(traced) == 1


def test_regions_that_values_leave_no_room_for_are_a_matter_of_memory(mlp, square):
    """40 gates at some thousand corners: 2 MB hold the network, not the corners."""
    model, domain = mlp(2, 40, 40, 2), 4 * square
    free = slice_network(model, domain=domain)
    with pytest.raises(BudgetError, match=r"memory budget|gates at each corner|gates at \d+ vertices"):
        slice_network(model, domain=domain, settings=SliceSettings(budget=400 * free.num_faces))


def test_an_estimate_of_regions_takes_segments_in_parts(mlp, square, monkeypatch):
    from cutaway.geometry import preview

    rows, real = [], preview.crossings
    monkeypatch.setattr(preview, "crossings", lambda p, a, b, **k: rows.append(len(a)) or real(p, a, b, **k))
    model = mlp(2, 30, 30, 2)
    whole = estimated_regions(model, input_plane(), square, num_segments=64)
    together, rows[:] = max(rows), []
    parts = estimated_regions(model, input_plane(), square, num_segments=64, budget=1280)
    assert parts == whole and together == 64 and max(rows) == 10


class WideSkip(nn.Module):
    """Few gates beside values that every vertex carries past them."""

    def __init__(self, bend):
        super().__init__()
        self.bend = bend
        self.wide, self.a, self.b, self.out = nn.Linear(2, 500), nn.Linear(2, 6), nn.Linear(6, 6), nn.Linear(506, 3)

    def forward(self, x):
        skip = self.wide(x)
        return self.out(torch.cat([skip, self.bend(self.b(self.bend(self.a(x))))], 1))


def cutter_of(bend, budget, compiled=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        program = StagedProgram(trace(WideSkip(bend), torch.zeros(1, 2)), allow_jumps=True)
    plane = input_plane()
    return Cutter(program, plane, rectangle(-2, 2, -2, 2), CutSettings(budget=budget, compiled=compiled))


@pytest.mark.parametrize("compiled", [None, False])
def test_values_that_do_not_fit_are_computed_again_and_the_slice_is_the_same(compiled):
    small, large = (cutter_of(torch.relu, budget, compiled) for budget in (30_000, 1 << 30))
    outputs = [c.run()[0] for c in (small, large)]
    assert small.report.recomputed > 0 == large.report.recomputed
    a, b = small.cells, large.cells
    assert (a.num_faces, a.num_edges, a.num_vertices) == (b.num_faces, b.num_edges, b.num_vertices) != (1, 4, 4)
    np.testing.assert_allclose(np.sort(a.position[:, 0]), np.sort(b.position[:, 0]), atol=1e-10)
    np.testing.assert_allclose(np.sort(outputs[0][:, 0]), np.sort(outputs[1][:, 0]), atol=1e-10)


def test_values_of_a_network_that_jumps_must_fit():
    with pytest.raises(BudgetError, match="a network that jumps"):
        cutter_of(torch.sign, 30_000).run()
    assert cutter_of(torch.sign, 1 << 30).run()[0].shape[1] == 3
