"""`cutaway certify` on models that are no ONNX files, and its bad input."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from cutaway.cli import run

NETS = """
import torch
from torch import nn

def tent():
    '''|x0| + |x1| as the first output, 0 as the second.'''
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1., 0.], [-1., 0.], [0., 1.], [0., -1.]])), model[0].bias.zero_()
        model[2].weight.copy_(torch.tensor([[1., 1., 1., 1.], [0., 0., 0., 0.]])), model[2].bias.zero_()
    return model
"""
SPEC = """
(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
(assert (>= X_0 -1.0))
(assert (<= X_0 1.0))
(assert (>= X_1 0.25))
(assert (<= X_1 1.0))
(assert (<= Y_0 LIMIT))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tents.py").write_text(NETS)
    for name, limit in (("held", 0.2), ("broken", 0.3)):
        (tmp_path / f"{name}.vnnlib").write_text(SPEC.replace("LIMIT", str(limit)))
    return tmp_path


def call(capsys, *words):
    code = run([str(w) for w in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_property_of_a_module_is_proved_or_refuted_by_the_module_itself(place, capsys):
    code, out, _ = call(capsys, "certify", "tents.py:tent", "held.vnnlib", "--json")
    held = json.loads(out)
    assert code == 0 and held["verdict"] == "certified" and 0 < held["bound"] <= 0.05
    code, out, _ = call(capsys, "certify", "tents.py:tent", "broken.vnnlib", "--json")
    broken = json.loads(out)
    assert broken["verdict"] == "falsified" and broken["model_hash"] == held["model_hash"] != ""
    x, y = broken["witness"]
    assert -1 <= x <= 1 and 0.25 <= y <= 1 and abs(x) + abs(y) <= 0.3 + 1e-6
    _, out, _ = call(capsys, "certify", "tents.py:tent", "broken.vnnlib")
    assert "replayed by the model itself" in out


def test_an_exported_program_brings_its_shape(place, capsys):
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(2, 2)).eval()
    torch.export.save(torch.export.export(model, (torch.zeros(1, 1, 2, 2),)), place / "net.pt2")
    names = "".join(f"(declare-const X_{i} Real)\n(assert (>= X_{i} 0.0))\n(assert (<= X_{i} 0.1))\n" for i in range(4))
    spec = names + "(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n(assert (<= Y_0 -1000.0))\n"
    (place / "four.vnnlib").write_text(spec)
    _, out, _ = call(capsys, "certify", "net.pt2", "four.vnnlib", "--json")
    assert json.loads(out)["verdict"] == "certified"
    code, _, err = call(capsys, "certify", "net.pt2", "held.vnnlib")
    assert code == 2 and "found 2 inputs; expected 4" in err


def test_options_that_do_not_go_together_are_named(place, capsys):
    code, _, err = call(capsys, "certify", "tents.py:tent", "held.vnnlib", "--radius", "0.1")
    assert code == 2 and "option --radius; found it beside a property; expected one or the other" in err
    code, _, err = call(
        capsys, "certify", "tents.py:tent", "--data", "digits", "--radius", "0.1", "--norm", "2", "--complete"
    )
    assert code == 2 and "--norm 2" in err and "Branch and bound cuts boxes" in err


def test_labels_beyond_the_outputs_are_bad_input(place, capsys):
    import numpy as np

    np.savez(place / "d.npz", x=np.random.default_rng(0).random((6, 2), dtype=np.float32), y=np.arange(6) % 4)
    code, _, err = call(capsys, "certify", "tents.py:tent", "--data", "d.npz", "--radius", "0.01")
    assert code == 2 and "class 3" in err and "classes 0 to 1" in err


def test_a_small_data_set_is_taken_whole(place, capsys):
    import numpy as np

    np.savez(place / "d.npz", x=np.random.default_rng(0).random((6, 2), dtype=np.float32), y=np.zeros(6, dtype=int))
    code, out, _ = call(capsys, "certify", "tents.py:tent", "--data", "d.npz", "--radius", "0.01", "--json")
    assert code == 0 and json.loads(out)["num"] == 6


START = """
import sys, time, torch
from pathlib import Path
from cutaway.cli.certify import decide_property
before = set(sys.modules)
options = {"timeout": 60, "seed": 0, "deployment": False, "complete": True}
found = decide_property(sys.argv[1], Path(sys.argv[2]), options, {}, 2 * 10**9, deadline=time.monotonic() + 60, progress=print)
made = {name.split(".")[0] for name in set(sys.modules) - before}
print(found.payload["verdict"], len(set(sys.modules) - before), *sorted(made))
"""


def test_certify_of_an_onnx_file_loads_neither_torchs_compiler_nor_what_a_scan_needs(tmp_path):
    """The modules are counted, which a loaded machine does not change: 300 with cyclopts, onnx and onnxruntime; torch's
    compiler alone has 1,200."""
    onnx = pytest.importorskip("onnx")
    body = "w = Constant<value_floats = [1.0, 2.0]>()\\n a = Mul(x, w)\\n r = Relu(a)\\n y = Softmax<axis = 1>(r)"
    text = f'<ir_version: 8, opset_import: ["": 17]> g (float[1, 2] x) => (float[1, 2] y) {{ {body} }}'
    onnx.save(onnx.parser.parse_model(text.replace("\\n", "\n")), tmp_path / "net.onnx")
    (tmp_path / "held.vnnlib").write_text(SPEC.replace("LIMIT", "-0.5"))
    code = [sys.executable, "-c", START, str(tmp_path / "net.onnx"), str(tmp_path / "held.vnnlib")]
    *_, told = subprocess.run(code, capture_output=True, text=True, check=True).stdout.splitlines()
    verdict, number, *packages = told.split()
    assert verdict == "certified"
    assert not {"sympy", "networkx", "xarray", "pandas", "scipy", "altair", "matplotlib"} & set(packages)
    assert int(number) < 400


def test_torch_is_loaded_once_by_the_process_that_searches(place):
    """The process that waits for the answer must not load it as well."""
    onnx = pytest.importorskip("onnx")
    sides = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 1]) for n in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", sides[:1], sides[1:])
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), "one.onnx")
    asked = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (>= X_0 0))(assert (<= X_0 1))(assert (>= Y_0 2))"
    (place / "one.vnnlib").write_text(asked)
    code = "import sys; from cutaway.cli import run; run(sys.argv[1:]); print('torch' in sys.modules)"
    words = [sys.executable, "-c", code, "certify", "one.onnx", "one.vnnlib"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=True)
    assert "certified" in done.stdout and done.stdout.endswith("False\n")
