"""Networks that nobody here wrote: every classifier of the real data, an ACAS Xu network, a language model."""

import json

import pytest

from cutaway.cli.subject import Subject
from cutaway.instruments import Accuracy, BoundaryDistance, LocalComplexity, NeuralCollapse, RobustAccuracy, Sparsity
from cutaway.scanning import ScanSettings, default_instruments, scan

NAMES = [
    "mnist_cnn_a_adv", "mnist_conv_small_nat", "mnist_6_100_nat", "cifar_cnn_a_adv", "cifar_cnn_a_mix",
    "cifar_marabou_small", "cifar_resnet2b", "cifar_resnet20", "cifar_lenet_captum",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_classifier_is_read(real_data, tmp_path, name):
    info = json.loads((real_data / "classifiers" / "models.json").read_text())[name]
    spec = f"{real_data / 'classifiers' / 'load.py'}:load('{name}')"
    data_name = "mnist" if name.startswith("mnist") else "cifar10"
    network, data = Subject(spec, data=data_name, num=60).open()
    few = [
        Accuracy(),
        Sparsity(),
        LocalComplexity(num_points=4, num_directions=5),
        BoundaryDistance(num_points=2, probes=2, candidates=3),
        RobustAccuracy(radius=0.02, steps=3, num_points=20),
        NeuralCollapse(steps=2, num_points=40),
    ]
    run = scan(network, data, tmp_path / "run", instruments=few, settings=ScanSettings(nulls=0))
    figures = {f.name: f for r in run.readings for f in r.figures}
    stated = next(v for k, v in info["measured_accuracy"].items() if "test" in k)
    low, high = figures["accuracy"].low, figures["accuracy"].high
    assert low - 0.05 <= stated <= high + 0.05
    assert all(r.figures for r in run.readings), [r.reason for r in run.readings]
    assert network.piecewise_affine
    assert network.affine_at(data.inputs[0]).check() < 1e-7


def test_an_acas_network_without_data(real_data, tmp_path):
    path = next((real_data / "vnncomp2022" / "acasxu" / "onnx").glob("*.onnx"))
    network, data = Subject(str(path), num=40).open()
    run = scan(network, data, tmp_path / "run", instruments=default_instruments(data), settings=ScanSettings(nulls=0))
    read = {r.instrument for r in run.readings if r.figures}
    assert {"sparsity", "local-complexity", "boundary-distance"} <= read
    assert any("labels" in r.reason for r in run.readings)


def test_a_language_model_is_read_where_it_applies(real_data, tmp_path):
    pytest.importorskip("transformers")
    texts = str(real_data / "text" / "safety_prompts.parquet")
    network, data = Subject(str(real_data / "stories260k"), data=texts, num=12).open()
    chosen = default_instruments(data)
    run = scan(network, data, tmp_path / "run", instruments=chosen, settings=ScanSettings(nulls=0))
    read = {r.instrument for r in run.readings if r.figures}
    assert "sparsity" in read
    assert all(r.reason for r in run.readings if not r.figures)
    assert not network.piecewise_affine
