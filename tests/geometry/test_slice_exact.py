"""Slices against oracles: closed forms, the naive splitter, activation patterns on a grid, the network itself."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.geometry.plane import input_plane, plane_of, plane_through, square_around
from cutaway.geometry.slice import SliceSettings, slice_network

NUMBA = importlib.util.find_spec("numba") is not None
PATHS = [False, pytest.param(True, marks=pytest.mark.skipif(not NUMBA, reason="needs the extra `fast` (numba)"))]


def hidden(model):
    linear = [m for m in model if isinstance(m, nn.Linear)][:-1]
    bias = [m.bias.detach().numpy() if m.bias is not None else np.zeros(m.out_features) for m in linear]
    return [m.weight.detach().numpy() for m in linear], bias


def sorted_areas(polygons):
    areas = []
    for p in polygons:
        x, y = (p - p[0]).T
        areas.append((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)
    return np.sort(areas)


@pytest.mark.parametrize("compiled", PATHS)
@pytest.mark.parametrize("widths", [(2, 10, 1), (2, 10, 10, 10, 1), (2, 20, 20, 3), (2, 40, 40, 2)])
def test_equals_naive_splitter(mlp, square, naive, widths, compiled):
    """Oracle: second implementation (region-wise, with affine maps)."""
    model = mlp(*widths, seed=3)
    result = slice_network(model, domain=square, settings=SliceSettings(compiled=compiled))
    polygons = naive.naive_slice(*hidden(model), square, np.zeros(2), np.eye(2))
    assert result.num_faces == len(polygons)
    np.testing.assert_allclose(np.sort(result.measures.area), sorted_areas(polygons), atol=1e-12)


def test_two_paths_give_the_same_subdivision(mlp, square):
    """Oracle: second implementation (numba beside NumPy), up to numbering."""
    pytest.importorskip("numba", reason="needs the extra `fast`")
    model = mlp(2, 30, 30, 3, seed=1)
    a, b = (slice_network(model, domain=square, settings=SliceSettings(compiled=c)) for c in (True, False))
    assert (a.num_faces, a.num_edges, a.num_vertices) == (b.num_faces, b.num_edges, b.num_vertices)
    order = [np.lexsort(np.round(s.vertices, 9).T) for s in (a, b)]
    np.testing.assert_allclose(a.vertices[order[0]], b.vertices[order[1]], atol=1e-12)
    np.testing.assert_array_equal(np.sort(a.edge_gates), np.sort(b.edge_gates))


def test_central_arrangement_has_twenty_cones(mlp, square):
    """Oracle: closed form, 2 n cones for n lines through the origin, on skew domains too."""
    model = mlp(2, 10, 1, seed=5, bias=False)
    for turn in (0.0, 0.3, 1.1):
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        assert slice_network(model, domain=square @ rotation.T + 0.03).num_faces == 20


def test_deep_bias_free_network_is_made_of_cones(mlp, square):
    """Every face touches the origin, so scaling the domain changes no count."""
    model = mlp(2, 10, 10, 10, 2, seed=1, bias=False)
    small, large = slice_network(model, domain=square * 0.1), slice_network(model, domain=square * 10)
    assert small.num_faces == large.num_faces
    origin = np.flatnonzero(np.abs(small.vertices).max(axis=1) < 1e-15)
    assert len(origin) == 1
    assert all(origin[0] in small.corners(f) for f in range(small.num_faces))


def degenerate():
    layer = nn.Linear(2, 12).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(12, 2, generator=generator))
        layer.bias.copy_(0.2 * torch.randn(12, generator=generator))
        for row, factor in ((3, 1.0), (4, -2.0)):  # duplicates of neuron 1
            layer.weight[row], layer.bias[row] = factor * layer.weight[1], factor * layer.bias[1]
        layer.weight[5], layer.bias[5] = 0.0, 0.0  # zero row
        layer.weight[6], layer.bias[6] = 0.0, -1.0  # dead unit
        layer.weight[7], layer.bias[7] = torch.tensor([1.0, 1.0]), 0.0  # through two corners
        layer.weight[8], layer.bias[8] = torch.tensor([1.0, -1.0]), 0.0  # through the others
        layer.weight[9], layer.bias[9] = torch.tensor([1.0, 0.0]), 0.0  # all three through the origin
        layer.weight[10], layer.bias[10] = torch.tensor([1.0, 0.0]), -1.0  # along a side
        layer.weight[11], layer.bias[11] = torch.tensor([1.0, 1.0]), -2.0  # touches a corner
    return layer


@pytest.mark.parametrize("compiled", PATHS)
def test_degenerate_arrangement(square, compiled):
    """Oracle: closed form by Euler's formula on distinct lines: F = 1 + sum over lines of the pieces it adds."""
    layer = degenerate()
    model = nn.Sequential(layer, nn.ReLU(), nn.Linear(12, 2).double())
    result = slice_network(model, domain=square, settings=SliceSettings(compiled=compiled))
    lines = [(layer.weight[i].tolist(), layer.bias[i].item()) for i in (0, 1, 2, 7, 8, 9)]
    assert result.num_faces == faces_by_counting(lines)
    gates = {frozenset(result.coincident.get(e, ()) + (int(g),)) for e, g in enumerate(result.edge_gates)}
    assert frozenset({1, 3, 4}) in gates
    assert any(10 in s and min(s) < 0 for s in gates)  # the neuron along the side is noted on the side
    assert result.report.snapped == 0


def faces_by_counting(lines):
    """Faces of an arrangement on the square: each line adds one more than its distinct inner crossings with earlier
    ones."""
    total, earlier = 1, []
    for w, b in lines:
        points = set()
        hits = 0
        for axis in range(2):
            for side in (-1.0, 1.0):
                if w[1 - axis] != 0:
                    value = -(b + w[axis] * side) / w[1 - axis]
                    hits += abs(value) <= 1
        if not hits:
            continue
        for v, c in earlier:
            matrix = np.array([w, v])
            if abs(np.linalg.det(matrix)) > 1e-12:
                p = np.linalg.solve(matrix, -np.array([b, c]))
                if np.abs(p).max() < 1 - 1e-12:
                    points.add((round(p[0], 9), round(p[1], 9)))
        total += 1 + len(points)
        earlier.append((w, b))
    return total


def test_line_nearly_through_a_vertex_is_decided_exactly(square):
    """Three lines that meet in exact arithmetic, and three that miss by one unit in the last place."""
    weight = torch.tensor([[0.1, 0.3], [0.7, -0.2], [0.8, 0.1]], dtype=torch.float64)
    bias = torch.tensor([0.01, 0.03, 0.0], dtype=torch.float64)
    weight[2] = weight[0] + weight[1]  # rounded: the sum of the stored numbers may not be exact
    model = nn.Sequential(nn.Linear(2, 3).double(), nn.ReLU(), nn.Linear(3, 1).double())
    from fractions import Fraction

    def determinant():
        m = [[Fraction(float(x)) for x in (*w, b)] for w, b in zip(weight, bias)]
        return (
            m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
            - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
        )

    for third in (float(bias[0] + bias[1]), np.nextafter(float(bias[0] + bias[1]), 1)):
        bias[2] = third
        with torch.no_grad():
            model[0].weight.copy_(weight)
            model[0].bias.copy_(bias)
        result = slice_network(model, domain=square)
        assert result.report.decided >= 1
        assert result.num_faces == (6 if determinant() == 0 else 7)


def test_grid_patterns_are_a_lower_bound_and_faces_have_distinct_patterns(mlp, square):
    """Oracle: third implementation, activation patterns counted on a grid."""
    model = mlp(2, 20, 20, 2, seed=2)
    result = slice_network(model, domain=square)
    axis = np.linspace(-1, 1, 400)
    grid = torch.tensor(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2))
    with torch.no_grad():
        first = model[0](grid)
        second = model[2](torch.relu(first))
    seen = torch.unique(torch.cat([first > 0, second > 0], dim=1), dim=0)
    assert len(seen) <= result.num_faces
    ours = result.patterns()
    assert len(np.unique(ours, axis=0)) == result.num_faces
    assert {tuple(r) for r in seen.tolist()} <= {tuple(r) for r in ours.tolist()}


def test_edges_separate_patterns_that_differ_in_their_gate_only(mlp, square):
    result = slice_network(mlp(2, 15, 15, 2, seed=4), domain=square)
    pattern = result.patterns()
    half = result.edge_half_edges
    left, right = result.cells.face[half], result.cells.face[result.cells.twin[half]]
    inner = (left >= 0) & (right >= 0)
    differ = pattern[left[inner]] ^ pattern[right[inner]]
    assert (differ.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(differ.argmax(axis=1), result.edge_gates[inner])


def test_affine_map_reproduces_the_network_on_a_face(mlp):
    model = mlp(6, 12, 12, 3, seed=7)
    points = np.random.default_rng(0).standard_normal((3, 6))
    plane = plane_through(points)
    result = slice_network(model, plane, square_around(plane, 2.0))
    for face in (0, result.num_faces // 2, result.num_faces - 1):
        matrix, offset = result.affine_map(face)
        corners = plane.lift(result.vertices[result.corners(face)])
        with torch.no_grad():
            actual = model(torch.from_numpy(corners)).numpy()
        np.testing.assert_allclose(corners @ matrix.T + offset, actual, atol=1e-12)


def test_permuting_and_rescaling_neurons_changes_nothing(mlp, square):
    model = mlp(2, 20, 20, 2, seed=8)
    first = slice_network(model, domain=square)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        order, scale = torch.randperm(20, generator=generator), 0.5 + torch.rand(20, generator=generator).double()
        model[0].weight.copy_(model[0].weight[order] * scale[:, None])
        model[0].bias.copy_(model[0].bias[order] * scale)
        model[2].weight.copy_(model[2].weight[:, order] / scale)
    second = slice_network(model, domain=square)
    assert first.num_faces == second.num_faces
    np.testing.assert_allclose(np.sort(first.measures.area), np.sort(second.measures.area), atol=1e-12)


def test_decision_boundary_is_where_the_two_largest_logits_tie(mlp, square):
    model = mlp(2, 30, 30, 5, seed=0)
    with torch.no_grad():
        model[4].bias.zero_()
        model[4].weight.mul_(20)
        model[4].weight.sub_(model[4].weight.mean(dim=1, keepdim=True))
    result = slice_network(model, domain=square)
    assert len(result.decision.segments) > 20
    with torch.no_grad():
        logits = model(torch.from_numpy(result.decision.segments.reshape(-1, 2))).numpy()
    rows = np.arange(len(logits))
    c, d = np.repeat(result.decision.pairs, 2, axis=0).T
    np.testing.assert_allclose(logits[rows, c], logits[rows, d], atol=1e-10)
    np.testing.assert_allclose(logits.max(axis=1), logits[rows, c], atol=1e-10)
    axis = np.linspace(-1, 1, 200)  # classes change along grid rows exactly where the row crosses a segment
    for y in (-0.71, 0.13, 0.55):
        with torch.no_grad():
            found = model(torch.tensor([[x, y] for x in axis])).argmax(dim=1).numpy()
        changes = np.count_nonzero(np.diff(found))
        y0, y1 = result.decision.segments[:, 0, 1], result.decision.segments[:, 1, 1]
        assert np.count_nonzero((y0 - y) * (y1 - y) < 0) >= changes


def test_plane_of_directions_agrees_with_the_input_plane(mlp, square):
    model = mlp(2, 12, 12, 2, seed=9)
    turned = plane_of(np.zeros(2), np.array([[0.6, 0.8], [-0.8, 0.6]]))
    there = slice_network(model, turned, square @ turned.directions.T)
    assert slice_network(model, input_plane(), square).num_faces == there.num_faces
