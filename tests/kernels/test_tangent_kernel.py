"""Instrument `tangent-kernel`: contract, drift from a checkpoint, what it refuses, pictures."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cutaway.errors import InputError
from cutaway.instruments import TangentKernel
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


def test_distances_over_training_are_cosines():
    kernels = [np.eye(3), 2 * np.eye(3), np.ones((3, 3))]
    found = distances(kernels)
    assert found[0, 1] == pytest.approx(0.0) and found[0, 2] == pytest.approx(1 - 3 / (np.sqrt(3) * 3))
    assert motion_marks([0, 10, 100], found).to_dict()["mark"]["type"] == "rect"
