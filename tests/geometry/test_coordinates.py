"""The two states of a cut, values at vertices and plane coordinates, give the same subdivision; pattern trees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.engines.row_blocks import WIDTH, RowBlocks
from cutaway.errors import BudgetError
from cutaway.geometry.coordinates import PlaneCoordinates
from cutaway.geometry.cutting import CutSettings, Cutter
from cutaway.geometry.face_patterns import pattern_tree
from cutaway.geometry.plane import input_plane, plane_through, square_around
from cutaway.geometry.preview import estimated_regions
from cutaway.geometry.program import StagedProgram
from cutaway.geometry.slice import SliceSettings, slice_network
from cutaway.network.graph import trace


class Everything(nn.Module):
    """Convolution with stride and groups, batch norm, residual, PReLU, clamp, abs, maximum, minimum, both poolings."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
        self.norm, self.slope, self.last = nn.BatchNorm2d(4), nn.PReLU(4), nn.Linear(12, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.a(x)))
        x = self.slope(x + self.b(x))
        x = nn.functional.hardtanh(3 * nn.functional.max_pool2d(x, 3, stride=2, padding=1), -0.5, 2.0)
        x = torch.cat([nn.functional.avg_pool2d(x, 2), nn.functional.pad(x[:, :, 1:, 1:], (0, 0, 0, 0), value=0.3)], 1)
        x = x.flatten(1)
        x = torch.cat([x[:, :4].abs(), torch.maximum(x, 0.7 - x), torch.minimum(x[:, :2], x[:, 2:4])], dim=1)
        return self.last(x[:, :12])


class Maxout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(32, 12), nn.Linear(4, 2)

    def forward(self, x):
        return self.b(self.a(x.flatten(1)).reshape(-1, 4, 3).amax(dim=2))


def build(kind, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind().double().eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


@pytest.fixture(scope="module")
def plane():
    return plane_through(np.random.default_rng(1).standard_normal((3, 2, 4, 4)))


def pair(model, plane, reach):
    return [
        slice_network(model, plane, square_around(plane, reach), SliceSettings(coordinates=c)) for c in (False, True)
    ]


@pytest.mark.parametrize("kind", [Everything, Maxout])
@pytest.mark.parametrize("reach", [1.3, 2.5])
def test_both_states_give_the_same_subdivision(plane, kind, reach):
    """Oracle: second implementation of ours."""
    a, b = pair(build(kind), plane, reach)
    assert (a.num_faces, a.num_edges, a.num_vertices) == (b.num_faces, b.num_edges, b.num_vertices)
    assert a.num_faces > 1 and a.report.crossing == b.report.crossing
    np.testing.assert_allclose(np.sort(a.measures.area), np.sort(b.measures.area), atol=1e-11)
    np.testing.assert_array_equal(np.sort(a.edge_gates), np.sort(b.edge_gates))
    assert b.check.median_residual < 1e-12 and b.check.affine_error < 1e-10
    with torch.no_grad():  # the outputs are the network's own
        direct = build(kind)(torch.from_numpy(plane.lift(b.vertices))).numpy()
    np.testing.assert_allclose(b.outputs, direct, atol=1e-10)


def test_coordinates_of_degenerate_networks(mlp, square):
    """Cones of a network without biases, and a neuron given twice: closed form and equal tags."""
    model = mlp(2, 10, 1, seed=5, bias=False)
    assert slice_network(model, domain=square, settings=SliceSettings(coordinates=True)).num_faces == 20
    deep = mlp(2, 8, 8, 2, seed=1)
    with torch.no_grad():
        deep[2].weight[3] = 2 * deep[2].weight[1]
        deep[2].bias[3] = 2 * deep[2].bias[1]
    a, b = (slice_network(deep, domain=3 * square, settings=SliceSettings(coordinates=c)) for c in (False, True))
    assert a.num_faces == b.num_faces
    tags = [sorted((int(r.edge_gates[e]), *g) for e, g in r.coincident.items()) for r in (a, b)]
    assert tags[0] and tags[0] == tags[1]


def test_wide_networks_take_coordinates_by_themselves_and_narrow_ones_do_not(plane, mlp):
    wide = nn.Sequential(nn.Conv2d(2, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 1024)).double()
    for model, expected in ((wide, True), (build(Everything), False)):
        graph = trace(model, torch.zeros(1, 2, 4, 4))
        cutter = Cutter(StagedProgram(graph), plane, square_around(plane, 0.1), CutSettings())
        assert isinstance(cutter.state, PlaneCoordinates) is expected


def test_memory_budget_says_how_to_go_on(plane):
    settings = SliceSettings(coordinates=True, budget=150_000)
    with pytest.raises(
        BudgetError, match=r"at site.*(in \d+ coordinates|at each corner).*regions lie in this domain.*--pad.*--budget"
    ):
        slice_network(build(Everything), plane, square_around(plane, 2.5), settings)


def test_row_blocks_grow_on_both_sides():
    """Oracle: a plain array."""
    generator = np.random.default_rng(0)
    plain = generator.standard_normal((10, 3))
    blocks = RowBlocks(plain)
    for n in (5, WIDTH, 2 * WIDTH + 1):
        more = generator.standard_normal((len(plain), n))
        blocks.append_columns(more)
        plain = np.concatenate([plain, more], axis=1)
        extra = generator.standard_normal((70, plain.shape[1]))
        blocks.resize_rows(len(plain) + 70)
        for some, part in blocks.parts():
            part[-70:] = extra[:, some]
        plain = np.concatenate([plain, extra])
    blocks.keep(np.arange(0, len(plain), 3))
    plain = plain[::3]
    matrix = generator.standard_normal((WIDTH + 7, 4))
    np.testing.assert_allclose(blocks.dot(matrix), plain[:, : WIDTH + 7] @ matrix, atol=1e-12)
    np.testing.assert_array_equal(blocks.at(np.array([3, 1]), WIDTH + 2), plain[[3, 1], : WIDTH + 2])
    np.testing.assert_array_equal(blocks.over_rows(np.max), plain.max(axis=0))


@pytest.mark.parametrize("case", ["generic", "cones", "pooling"])
def test_pattern_tree_holds_the_patterns_of_all_faces(plane, mlp, square, case):
    """Oracle: one forward pass a face."""
    if case == "generic":
        result = slice_network(mlp(2, 20, 20, 3), domain=square)
    elif case == "cones":
        result = slice_network(mlp(2, 10, 10, 2, seed=1, bias=False), domain=square)
    else:
        result = slice_network(build(Everything), plane, square_around(plane, 2.0))
    tree = pattern_tree(result)
    assert tree.windows_left_out is (case == "pooling") and len(tree.gates) > 5
    np.testing.assert_array_equal(tree.patterns(np.arange(result.num_faces)), result.patterns()[:, tree.gates])


def test_pattern_tree_of_a_slice_without_crossings(mlp, square):
    tree = pattern_tree(slice_network(mlp(2, 5, 2), domain=100 + 1e-4 * square))
    assert tree.patterns([0]).shape == (1, 0)


def test_preview_is_within_a_factor_of_two(mlp, square):
    """Oracle: the slice itself."""
    for widths, seed in (((2, 30, 30, 2), 0), ((2, 60, 2), 1)):
        model = mlp(*widths, seed=seed)
        found = estimated_regions(model, input_plane(), 2 * square, num_segments=64)
        true = slice_network(model, domain=2 * square).num_faces
        assert 0.5 < found.regions / true < 2
        assert found.shrink(int(found.regions / 4)) == pytest.approx(0.5, abs=0.01)
