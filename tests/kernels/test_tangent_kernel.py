"""Instrument `tangent-kernel`: contract, drift from a checkpoint, what it refuses, pictures."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cutaway.errors import InputError
from cutaway.instruments import Curvature, KernelFeatures, TangentKernel
from cutaway.kernels import class_halves, first_equal
from cutaway.kernels.chart import distances, motion_marks
from cutaway.network import Network
from cutaway.testing import check_instrument
from cutaway.testing.contract import small_classifier, small_data


def test_contract_words_and_picture(tmp_path):
    reading = check_instrument(TangentKernel())
    assert "_" not in TangentKernel().describe(reading)
    reading.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_drift_is_zero_at_the_start_and_grows(tmp_path):
    model, data = small_classifier(), small_data()
    save_file(model.state_dict(), tmp_path / "start.safetensors")
    instrument = TangentKernel(start=str(tmp_path / "start.safetensors"))
    assert instrument.measure(model, data).figure("drift").value == pytest.approx(0.0, abs=1e-12)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    moved = instrument.measure(model, data)
    assert moved.figure("drift").value > 0.01
    assert "its start" in instrument.describe(moved)
    with pytest.raises(Exception, match="none"):
        TangentKernel(start=str(tmp_path / "none.safetensors")).measure(model, data)


def test_no_labels_one_class_and_no_gradient():
    model, data = small_classifier(), small_data()
    with pytest.raises(InputError, match="without labels"):
        TangentKernel().measure(model, dataclasses.replace(data, labels=None, num_classes=None))
    one = dataclasses.replace(data, labels=torch.zeros_like(data.labels))
    assert "two classes" in TangentKernel().measure(model, one).reason
    double = dataclasses.replace(data, inputs=data.inputs[:1].repeat(len(data.inputs), 1, 1, 1))
    assert "nothing tells rows apart" in TangentKernel().measure(model, double).reason
    halved = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).half().eval()
    assert np.isfinite(TangentKernel().measure(Network(halved, data.inputs[:2]), data).figure("alignment").value)


def test_rows_in_turns_are_learned_and_judged_in_every_class():
    model, data = small_classifier(), small_data()
    order = (
        torch.argsort(data.labels, stable=True).view(3, -1).T.flatten()
    )  # 0 1 2 0 1 2: of two in turn, one class each
    turns = data.subset(order)
    apart = turns.labels.unique(return_counts=True)[1]
    learn, judge = class_halves(turns.labels.numpy(), first_equal(turns.inputs))
    for rows in (learn, judge):
        assert (torch.bincount(turns.labels[rows], minlength=3) >= apart // 2).all()
    reading = TangentKernel().measure(model, turns)
    assert reading.figure("kernel_accuracy").value > 0.5
    assert [f.name for f in reading.figures] == ["alignment", "effective_rank", "top_mass", "kernel_accuracy"]


def test_equal_rows_are_told_and_never_judged():
    model, data = small_classifier(), small_data()
    once = TangentKernel().measure(model, data)
    twice = dataclasses.replace(data, inputs=data.inputs.repeat(2, 1, 1, 1), labels=data.labels.repeat(2))
    reading = TangentKernel().measure(model, twice)
    assert reading.figure("equal_rows").value == len(data)
    assert reading.figure("eigenvalues_under_floor").value >= len(data)
    assert reading.figure("kernel_accuracy").value == once.figure("kernel_accuracy").value < 1
    assert "rows equal an earlier one" in TangentKernel().describe(reading)


@pytest.mark.parametrize(
    "instrument", [TangentKernel(), KernelFeatures(num_features=1, steps=1), Curvature(num_probes=2)]
)
def test_batch_normalisation_is_said_to_be_held(instrument):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).eval()
    reading = instrument.measure(model, small_data(), intervals=False)
    assert "statistics are held as they are stored" in reading.summary() and "'1'" in reading.summary()
    assert "statistics" not in instrument.measure(small_classifier(), small_data(), intervals=False).summary()


def test_distances_over_training_are_cosines():
    kernels = [np.eye(3), 2 * np.eye(3), np.ones((3, 3))]
    found = distances(kernels)
    assert found[0, 1] == pytest.approx(0.0) and found[0, 2] == pytest.approx(1 - 3 / (np.sqrt(3) * 3))
    assert motion_marks([0, 10, 100], found).to_dict()["mark"]["type"] == "rect"


def test_rows_without_a_gradient_are_counted():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False)).eval()
    data = small_data()
    data.inputs[[1, 5, 9]] = 0
    reading = TangentKernel(num_points=48).measure(model, data)
    assert reading.figure("silent_rows").value == 3 and reading.figure("equal_rows").value == 2
    assert "On 3 rows no output depends on a parameter" in TangentKernel().describe(reading)
    reading.plot()
    assert "silent_rows" not in {f.name for f in TangentKernel(num_points=48).measure(model, small_data()).figures}
