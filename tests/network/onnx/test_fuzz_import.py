"""The fuzzer of the importer: its first models agree, it draws every operator, and it finds a planted fault."""

import dataclasses
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from cutaway.network.onnx import torch_layers
from cutaway.network.onnx.functions import FUNCTIONS
from cutaway.network.onnx.torch_layers import BUILDERS

FOLDER = Path(__file__).parents[3] / "benchmarks"
INTERNAL = {"SoftmaxOfBlock"}


@pytest.fixture
def fuzzer(monkeypatch):
    if not FOLDER.exists():
        pytest.skip("needs the project's benchmarks folder")
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("fuzz_import")


def test_the_first_models_agree_and_every_operator_is_drawn(fuzzer):
    tally = fuzzer.fuzz(seed=0, first=0, models=250, seconds=100)
    assert not tally.broken
    assert tally.models > 200
    assert set(fuzzer.DRAWS) == (set(FUNCTIONS) | set(BUILDERS)) - INTERNAL
    assert sum(tally.refused.values()) < 10


def first_of(fuzzer, operator):
    return sorted(fuzzer.DRAWS).index(operator)


@pytest.mark.parametrize(
    ("operator", "fault"),
    [
        ("Mod", lambda attributes, a, b: torch.remainder(a, b)),  # fmod=1 unread
        ("ReduceSum", lambda attributes, x, axes=None: x.sum(-1, keepdim=True)),
        (
            "InstanceNormalization",
            lambda attributes, x, scale, shift: torch.group_norm(x, x.shape[1], scale, shift, 1e-4),
        ),
        (
            "GroupNormalization",
            lambda attributes, x, scale, shift: torch.group_norm(x, 1, scale[:1].expand(x.shape[1])),
        ),
        ("RMSNormalization", lambda attributes, x, scale: torch.layer_norm(x, x.shape[-1:]) * scale),
        ("LRN", lambda attributes, x: torch.nn.functional.local_response_norm(x, attributes["size"])),
        ("Round", lambda attributes, x: torch.floor(x + 0.5)),
        ("ThresholdedRelu", lambda attributes, x: torch.where(x > 1, x, 0.0)),
        ("Erf", lambda attributes, x: torch.erf(x) + 3e-5),
        ("Concat", lambda attributes, *parts: torch.cat(parts[::-1], attributes["axis"])),
    ],
)
def test_a_planted_fault_is_found_and_the_repeating_command_told(fuzzer, operator, fault, monkeypatch, capsys):
    monkeypatch.setitem(FUNCTIONS, operator, fault)
    step = len(fuzzer.DRAWS)
    models = (str(first_of(fuzzer, operator) + k * step) for k in range(20))
    assert any(fuzzer.main(["--first", model, "--models", "1"]) == 1 for model in models)
    told = capsys.readouterr()
    assert f"BROKEN {operator}" in told.err and "python benchmarks/fuzz_import.py --seed 0 --first" in told.err


WINDOWS = {
    "padding taken for even": ("plain", True),
    "no reach beyond the padding": ("reach", property(lambda window: window.after)),
    "reach one too short": ("reach", property(lambda window: tuple(r - 1 for r in REACH(window)))),
    "reach one too far": ("reach", property(lambda window: tuple(r + 1 for r in REACH(window)))),
    "windows one too short": ("_extent", lambda window, k: EXTENT(window, k) - 1),
    "dilation left out": ("_extent", lambda window, k: window.kernel[k]),
}
REACH, EXTENT = torch_layers.Window.reach.fget, torch_layers.Window._extent


@pytest.mark.parametrize(
    ("operator", "fault"),
    [("MaxPool", fault) for fault in WINDOWS] + [("AveragePool", fault) for fault in list(WINDOWS)[:-1]],
)
def test_a_fault_in_where_windows_end_is_found(fuzzer, operator, fault, monkeypatch):
    monkeypatch.setattr(torch_layers.Window, *WINDOWS[fault])
    first, step = first_of(fuzzer, operator), len(fuzzer.DRAWS)
    assert any(fuzzer.fuzz(0, first + k * step, 1, 60).broken for k in range(150))


def _last_window(keep: bool):
    """The number of windows where the last, which would begin in the padding, is not left out, or one of them is."""

    def outputs(window):
        found = []
        for k, size in enumerate(window.sizes):
            room, stride = size + window.before[k] + window.after[k] - EXTENT(window, k), window.strides[k]
            number = (-(-room // stride) if window.ceil else room // stride) + 1
            found.append(number - (not keep and window.ceil and (number - 1) * stride > size + window.before[k]))
        return tuple(found)

    return outputs


@pytest.mark.parametrize("fault", ["a last window in the padding", "one that begins where the padding does", "VALID"])
def test_a_fault_in_how_many_windows_there_are_is_found(fuzzer, fault, monkeypatch):
    if fault == "VALID":  # its ceil_mode unread
        real = torch_layers._window

        def window(node, operands):
            found = real(node, operands)
            return dataclasses.replace(found, ceil=found.ceil and node.get("auto_pad", "NOTSET") == "NOTSET")

        monkeypatch.setattr(torch_layers, "_window", window)
    else:
        count = _last_window(fault == "a last window in the padding")
        monkeypatch.setattr(torch_layers.Window, "outputs", property(count))
    first, step = first_of(fuzzer, "MaxPool"), len(fuzzer.DRAWS)
    assert any(fuzzer.fuzz(0, first + k * step, 1, 60).broken for k in range(50))


def test_a_model_repeats_itself(fuzzer):
    random = importlib.import_module("random_onnx")
    once, again = (random.random_model(np.random.default_rng([0, 5]), "Conv") for _ in range(2))
    assert once[0].SerializeToString() == again[0].SerializeToString()
