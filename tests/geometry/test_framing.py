"""What a slice shows when nobody says: a square along the axes that holds the inputs, or as much of it as fits."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cutaway.cli import run
from cutaway.errors import BudgetError, InputError
from cutaway.geometry import plane_along, plane_through, slice_network, square_holding
from cutaway.geometry.framing import HALVINGS, largest_that_fits
from cutaway.geometry.slice import SliceSettings


def net(inputs=2, width=16):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))


@given(st.integers(0, 10_000), st.integers(1, 3))
def test_the_square_holds_every_input_and_is_no_larger_than_its_margin(seed, many):
    plane = plane_through(np.random.default_rng(seed).standard_normal((many, 5)))
    square = square_holding(plane)
    low, high = square.min(axis=0), square.max(axis=0)
    assert (low < plane.anchors).all() and (plane.anchors < high).all()
    assert np.allclose(square, [low, [high[0], low[1]], high, [low[0], high[1]]])  # along the axes
    side, extent = high - low, np.ptp(plane.anchors, axis=0).max()
    assert side[0] == pytest.approx(side[1]) == pytest.approx(1.2 * extent if many > 1 else 2.0)


def test_a_slice_without_a_domain_is_the_square_or_its_middle():
    model, plane = net(), plane_through(3 * np.random.default_rng(0).standard_normal((3, 2)))
    whole = slice_network(model, plane)
    assert whole.shrunk == 1 and np.allclose(whole.domain, square_holding(plane))
    small = slice_network(model, plane, settings=SliceSettings(max_faces=whole.num_faces // 3))
    assert small.num_faces <= whole.num_faces // 3 and 0 < small.shrunk < 1
    assert np.ptp(small.domain, axis=0) == pytest.approx(small.shrunk * np.ptp(whole.domain, axis=0))
    assert small.domain.mean(axis=0) == pytest.approx(whole.domain.mean(axis=0))


def test_halving_ends():
    tried = []

    def never(polygon):
        tried.append(np.ptp(polygon))
        raise BudgetError("regions", remedy="none")

    with pytest.raises(BudgetError):
        largest_that_fits(never, np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]))
    assert len(tried) == HALVINGS + 1 and tried[-1] == pytest.approx(2.0**-HALVINGS)


def test_a_plane_along_two_numbers_has_them_as_coordinates():
    inputs = np.arange(12.0).reshape(2, 2, 3)
    plane = plane_along((4, 1), inputs)
    lifted = plane.lift([[7.0, -2.0]])[0]
    assert lifted.ravel()[[4, 1]].tolist() == [7, -2]
    assert np.allclose(np.delete(lifted.ravel(), [4, 1]), np.delete(inputs.mean(axis=0).ravel(), [4, 1]))
    assert plane.anchors.tolist() == [[4, 1], [10, 7]]
    for bad in ((0, 0), (0, 6), (-1, 2)):
        with pytest.raises(InputError, match="two different numbers from 0 to 5"):
            plane_along(bad, inputs)


NETS = """
import torch
from torch import nn
def net(inputs):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, 2)).eval()
def two(): return net(2)
def four(): return net(4)
"""


def test_the_command_cuts_along_axes_with_labels_and_says_when_it_shrinks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    x = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    labels = np.array([0, 1] * 10)
    for d in (2, 4):
        np.savez(f"d{d}.npz", x=x[:, :d], y=labels, class_names=np.array(["ant", "bee"]))
    common = ["--no-picture", "--json"]
    assert run(["slice", "nets.py:two", "--data", "d2.npz", "--axes", "0,1", "--out", "two", *common]) == 0
    page = (tmp_path / "two.html").read_text()
    assert json.loads(capsys.readouterr().out)["shrunk"] == 1
    anchors = json.loads(page.partition('"anchors":')[2].partition(',"anchorLabels"')[0])
    assert np.allclose(anchors, x[:, :2]) and '"classes":["ant","bee"]' in page
    assert run(["slice", "nets.py:four", "--data", "d4.npz", "--axes", "1,3", "--out", "four", *common]) == 0
    assert '"anchors":[]' in (tmp_path / "four.html").read_text()
    capsys.readouterr()
    through = ["slice", "nets.py:four", "--data", "d4.npz", "--through", "0,1,2", "--max-faces", "8", "--no-picture"]
    assert run([*through, "--out", "three"]) == 0
    assert "this is its middle, 0." in capsys.readouterr().out
    assert '"anchorLabels":["ant","bee","ant"]' in (tmp_path / "three.html").read_text()
    for axes, words in (("0", "expected i,j"), ("0,9", "from 0 to 3")):
        assert run(["slice", "nets.py:four", "--data", "d4.npz", "--axes", axes]) == 2
        assert words in capsys.readouterr().err
    assert run(["slice", "nets.py:four", "--axes", "0,1"]) == 2 and "--data" in capsys.readouterr().err
