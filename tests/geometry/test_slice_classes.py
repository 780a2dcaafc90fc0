"""Classes on a slice: ties go to the lower index, and a sign partition paints what the network decides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.path import Path
from torch import nn

from cutaway.cli import run
from cutaway.errors import ModelError
from cutaway.geometry.gate_signs import sign_partition
from cutaway.geometry.plane import rectangle
from cutaway.geometry.slice import slice_network
from cutaway.report.explorer import draw_slice, explorer_page


@pytest.fixture()
def gelu():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(2, 10), nn.GELU(), nn.Linear(10, 3)).double()


def grid_classes(model, reach, steps=400):
    """Points of a fine grid over the square and the class that the network gives each."""
    axis = (np.arange(steps) + 0.5) / steps * 2 * reach - reach
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    with torch.no_grad():
        return points, model(torch.from_numpy(points)).argmax(dim=1).numpy()


def painted(result, points):
    """What the picture shows at each point: the face's class, and the pieces over it."""
    shown, own, pieces = np.full(len(points), -1), result.face_classes, result.class_pieces()
    for face in range(result.num_faces):
        shown[Path(result.vertices[result.corners(face)]).contains_points(points)] = own[face]
    for polygon, c in zip(pieces.polygons, pieces.classes):
        shown[Path(polygon).contains_points(points)] = c
    return shown


def test_a_sign_partition_paints_the_classes_of_the_network(gelu):
    result = sign_partition(gelu, domain=rectangle(-1, 1, -1, 1))
    points, classes = grid_classes(gelu, 1, 150)
    assert (painted(result, points) == classes).mean() > 0.995
    share = np.bincount(grid_classes(gelu, 1)[1], minlength=3) / 400**2
    np.testing.assert_allclose(result.class_areas(), 4 * share, atol=2e-3)


def test_interior_points_of_a_sign_partition_lie_inside_and_its_maps_are_refused(gelu):
    result = sign_partition(gelu, domain=rectangle(-1, 1, -1, 1), resolution=32)
    for face in range(result.num_faces):
        assert Path(result.vertices[result.corners(face)]).contains_point(result.measures.interior[face])
    assert (result.decision.faces < result.num_faces).all() and not result.affine
    with pytest.raises(ModelError, match="not affine on these faces"):
        result.slopes
    with pytest.raises(ModelError, match="affine map of a face"):
        result.affine_map(0)
    np.testing.assert_array_equal(result.locate(result.measures.interior), np.arange(result.num_faces))
    assert '"norm":{' not in explorer_page([result])


def test_areas_of_tied_classes_are_those_of_arg_max(mlp):
    model = mlp(2, 30, 30, 5, seed=3)
    with torch.no_grad():
        model[0].weight *= 4
        model[2].weight *= 4
        model[4].weight[1], model[4].bias[1] = model[4].weight[0], model[4].bias[0]
    result = slice_network(model, domain=rectangle(-2, 2, -2, 2))
    areas = result.class_areas()
    assert areas.sum() == pytest.approx(16) and areas[1] == pytest.approx(0, abs=1e-9)
    share = np.bincount(grid_classes(model, 2)[1], minlength=5) / 400**2
    np.testing.assert_allclose(areas, 16 * share, atol=0.02)
    assert not (result.decision.pairs == 1).any()


def test_legend_names_every_class_in_the_picture():
    model = nn.Linear(2, 3).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0], [-1, 1], [-1, -1]]))
        model.bias.zero_()
    result = slice_network(model, domain=rectangle(-1, 1, -1, 1))
    axes = Figure().add_subplot()
    draw_slice(result, axes)
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["class 0", "class 1", "class 2"]
    assert axes.get_title().startswith("1 affine region:")
    assert '"present":[0,1,2]' in explorer_page([result])


def test_colours_of_maps_are_refused_for_gates(tmp_path, capsys):
    (tmp_path / "nets.py").write_text("from torch import nn\ndef net():\n    return nn.Linear(2, 2)\n")
    command = ["slice", f"{tmp_path}/nets.py:net", "--domain=-1,1,-1,1", "--gates", "--colour", "norm"]
    assert run(command) == 2
    assert "class, area or none" in capsys.readouterr().err


def test_one_output_has_a_boundary_on_every_region_whose_corners_differ_in_sign():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(2, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 1)).double()
        with torch.no_grad():
            model[4].bias -= model(torch.rand(100, 2).double() * 2 - 1).mean()
    result = slice_network(model.eval(), domain=rectangle(-1, 1, -1, 1))
    corners, first = result.outputs[result.measures.rows, 0], result.measures.start[:-1]
    mixed = (np.minimum.reduceat(corners, first) < 0) & (np.maximum.reduceat(corners, first) > 0)
    assert mixed.sum() > 10
    assert np.unique(result.decision.faces).tolist() == np.flatnonzero(mixed).tolist()
