"""Certified accuracy lies between nothing and attacked accuracy, by class, with intervals and a picture."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.certified_share import _complete, certified_accuracy, data_region, radius_curve
from cutaway.robustness.curve_figure import draw_curve, draw_together
from cutaway.robustness.verify.verdict import VerifySettings


@pytest.fixture(scope="module")
def subject():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (60,), generator=generator)
    inputs = 0.5 + 0.35 * torch.eye(3)[labels] - 0.1 + 0.08 * torch.randn(60, 3, generator=generator)
    data = Dataset(name="corners", inputs=inputs.clamp(0, 1), labels=labels, value_range=(0.0, 1.0))
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight.copy_(torch.eye(3)), layer.bias.zero_()
    return model.eval(), data


def test_exact_for_a_network_that_picks_the_largest_input(subject):
    """Closed form: inside the range, a sample is robust for radius r exactly when its two largest inputs differ by > 2 r."""
    model, data = subject
    top = data.inputs.topk(2, dim=1).values
    right = data.inputs.argmax(1) == data.labels
    for radius in (0.0, 0.03, 0.08):
        found = certified_accuracy(model, data, radius=radius)
        expected = right & (top[:, 0] - top[:, 1] > 2 * radius)
        assert (found.certified == expected.numpy()).all() and (found.certified <= found.robust).all()


@pytest.mark.parametrize("norm", ["inf", "2", "1"])
def test_summary_has_the_promised_keys_and_order(subject, norm):
    model, data = subject
    told = certified_accuracy(model, data, radius=0.05, norm=norm).summary()
    assert {"clean", "attacked", "certified", "intervals", "seconds"} <= set(told)
    assert 0 <= told["certified"] <= told["attacked"] <= told["clean"] <= 1
    low, high = told["intervals"]["certified"]
    assert low <= told["certified"] <= high and len(told["by_class"]) == 3


def test_smaller_norm_balls_certify_more(subject):
    model, data = subject
    shares = [certified_accuracy(model, data, radius=0.1, norm=n).summary()["certified"] for n in ("inf", "2", "1")]
    assert shares[0] <= shares[1] <= shares[2]


def test_branch_and_bound_only_adds(subject):
    model, data = subject
    part = data.first(12)
    plain = certified_accuracy(model, part, radius=0.08)
    more = certified_accuracy(model, part, radius=0.08, settings=VerifySettings(timeout=5, complete=True))
    assert (more.certified >= plain.certified).all()


def test_a_witness_that_only_the_search_finds_counts_as_an_attack(subject):
    model, data = subject
    top = data.inputs.topk(2, dim=1).values
    right = data.inputs.argmax(1) == data.labels
    open_ = right.clone()
    settings = VerifySettings(timeout=5, complete=True)
    part = data.first(12)
    net = bound_network(model, part.inputs[:1])
    proved, refuted = _complete(net, model, part, 0.08, open_[:12], settings, lambda text: None)
    robust = (right & (top[:, 0] - top[:, 1] > 2 * 0.08))[:12]
    assert bool(refuted.any()) and bool(proved.any())
    assert torch.equal(proved, robust) and torch.equal(refuted, open_[:12] & ~robust)


def test_normalised_data_gives_the_same_answer(subject):
    model, data = subject
    normal = Dataset(name="n", inputs=data.inputs[:, :, None], labels=data.labels, value_range=(0.0, 1.0)).normalised(
        (0.1, 0.2, 0.3), (0.5, 0.5, 0.5)
    )

    class Undo(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x.squeeze(-1) * 0.5 + torch.tensor([0.1, 0.2, 0.3], dtype=x.dtype))

    plain = certified_accuracy(model, data, radius=0.05).summary()
    undone = certified_accuracy(Undo(), normal, radius=0.05).summary()
    assert plain["certified"] == undone["certified"]
    assert data_region(normal, 0.05, "inf").upper.shape == (60, 3)


def test_curve_and_picture(subject, tmp_path):
    model, data = subject
    curve = radius_curve(model, data.first(20), radius=0.1, norm="inf", settings=VerifySettings(complete=False))
    assert [p["certified"] for p in curve] == sorted((p["certified"] for p in curve), reverse=True)
    draw_curve({"a": curve, "b": curve}, tmp_path / "curve.png", norm="inf")
    assert (tmp_path / "curve.png").stat().st_size > 5000
    assert all(p["certified_low"] <= p["certified"] <= p["certified_high"] for p in curve)
    draw_together({"a": curve, "b": curve}, tmp_path / "both.svg", norm="inf", units="pixels")
    assert (tmp_path / "both.svg").stat().st_size > 5000


def test_refusals(subject):
    model, data = subject
    with pytest.raises(InputError, match="no labels"):
        certified_accuracy(model, Dataset(name="x", inputs=data.inputs), radius=0.1)
    with pytest.raises(InputError, match="norm; found '7'"):
        certified_accuracy(model, data, radius=0.1, norm="7")
    with pytest.raises(InputError, match="radius; found -1"):
        certified_accuracy(model, data, radius=-1.0)


@pytest.mark.parametrize(
    ("plot", "message"),
    [("curve.doc", "expected a file name that ends in .png"), ("gone/curve.png", "found no folder")],
)
def test_a_picture_that_cannot_be_written_is_refused_before_the_work(plot, message, tmp_path, capsys):
    from cutaway.cli import run

    command = ["certify", "no.pt2", "--data", "digits", "--radius", "0.1", "--plot", str(tmp_path / plot)]
    assert run(command) == 2
    told = capsys.readouterr().err
    assert message in told and "no.pt2" not in told
