"""CONTRIBUTING's recipes as they stand there: what one file, or one entry, adds, works at once and everywhere.

The recipe of an instrument is in `instruments/test_recipe.py`.
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import cutaway
import cutaway.cli
import cutaway.reproductions
from cutaway.cli import run
from cutaway.errors import UnsupportedOperator
from cutaway.network import Network
from cutaway.network.graph import facts

GUIDE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()


def recipe(title: str) -> str:
    """The code under a heading."""
    return GUIDE.split(f"## {title}")[1].split("```python\n")[1].split("```")[0]


def beside(package, name: str, code: str, tmp_path, monkeypatch) -> None:
    """The recipe's one file, in a folder that is looked into beside the package's own."""
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()


def test_a_reproduction_is_one_file(tmp_path, monkeypatch, capsys):
    assert run(["reproduce", "coin", "--short"]) == 2
    capsys.readouterr()
    beside(cutaway.reproductions, "coin", recipe("A new reproduction"), tmp_path, monkeypatch)
    assert run(["reproduce", "--list", "--json"]) == 0
    (row,) = [r for r in json.loads(capsys.readouterr().out)["reproductions"] if r["name"] == "coin"]
    assert (row["title"], row["source"]) == ("A fair coin", "Bernoulli 1713")
    assert run(["reproduce", "coin", "--short", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True
    sys.modules.pop("cutaway.reproductions.coin", None)


def test_a_command_is_one_file(tmp_path, monkeypatch, capsys):
    from cutaway.testing.contract import small_classifier, small_data

    assert run(["sites"]) == 2
    capsys.readouterr()
    beside(cutaway.cli, "sites", recipe("A new command"), tmp_path, monkeypatch)
    monkeypatch.setattr("cutaway.demo.train_digits", lambda seed=0: (small_classifier(), small_data()))
    assert run(["--help"]) == 0
    assert "  sites        the activation sites of a network\n" in capsys.readouterr().out
    assert run(["sites", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"sites": ["1:relu#0", "4:relu#0"]}
    assert run(["site"]) == 2 and "Did you mean 'sites'?" in capsys.readouterr().err
    sys.modules.pop("cutaway.cli.sites", None)


def test_a_file_that_does_not_begin_as_a_command_is_none(tmp_path, monkeypatch):
    beside(cutaway.cli, "helper", '"""What commands share."""\n', tmp_path, monkeypatch)
    assert "helper" not in cutaway.cli.commands() and "scan" in cutaway.cli.commands()


def test_an_onnx_operator_is_one_entry(tmp_path, monkeypatch):
    onnx = pytest.importorskip("onnx")
    import onnxruntime

    from cutaway.network.onnx import functions
    from cutaway.network.sources import load_model

    make = onnx.helper
    sides = [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 5]) for name in ("x", "y")]
    graph = make.make_graph([make.make_node("Asinh", ["x"], ["y"])], "g", sides[:1], sides[1:])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(UnsupportedOperator, match="Asinh"):
        load_model(str(tmp_path / "net.onnx"))
    (name, function), *_ = eval(recipe("A new ONNX operator"), vars(functions)).items()
    monkeypatch.setitem(functions.FUNCTIONS, name, function)
    x = torch.linspace(-3, 3, 5)[None]
    wanted = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, {"x": x.numpy()})[0]
    loaded = load_model(str(tmp_path / "net.onnx"))
    torch.testing.assert_close(loaded.model(x), torch.from_numpy(wanted))


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.b(torch.asinh(self.a(x)))


USE = """
import dataclasses, torch
from cutaway.network import Network
from cutaway.network.graph import facts
from cutaway.robustness.bounds.deployment import deployment_radius
from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.bounds.sweep import SweepSettings, sweep
from cutaway.robustness.regions import box
from test_recipes import Own
model, x = Own().double().eval(), torch.tensor([[0.3, -0.8, 1.5]], dtype=torch.float64)
network = Network(model, x)
assert [s.kind for s in network.sites] == ["asinh"] and not network.piecewise_affine
low, high = network.bounds(x, 0.4).output
points = x + 0.8 * torch.rand(2000, 3, dtype=torch.float64) - 0.4
seen = model(points)
assert bool(((low <= seen) & (seen <= high)).all())
assert float((high - low).max()) < 3 * float((seen.amax(0) - seen.amin(0)).max())
t = torch.linspace(-40, 40, 400001, dtype=torch.float64)
bend, curve = (t / (1 + t**2) ** 1.5).abs(), facts.FACTS["asinh"].curve
bounded = bound_network(model, x)
limits = sweep(bounded, box(x - 0.4, x + 0.4), SweepSettings(method="ibp"))
error = deployment_radius(bounded, limits)[0]
wrong = (Own().eval()(points.float()).double() - model(points.float().double())).abs().amax(0)
assert bool((wrong > 0).all() & (wrong <= error).all()) and float(error.max()) < 1e-5, (wrong, error)
facts.CURVES["asinh"] = dataclasses.replace(curve, float32=None)
assert bool(deployment_radius(bounded, limits).isinf().all())
assert float(bend.max()) <= curve.curvature and float(bend[t.abs() > curve.core].max()) <= curve.tail
"""


def test_an_operator_for_bounds_is_one_record(tmp_path):
    x = torch.zeros(1, 3)
    assert facts.of("asinh").form is facts.Form.UNKNOWN
    with pytest.raises(UnsupportedOperator, match="asinh"):
        Network(Own().eval(), x).bounds(x, 0.1)
    shutil.copytree(Path(cutaway.__file__).parent, tmp_path / "cutaway", ignore=shutil.ignore_patterns("__pycache__"))
    home = tmp_path / "cutaway" / "network" / "graph" / "facts.py"
    text = home.read_text()
    assert text.count("SMOOTH = [\n") == 1
    home.write_text(text.replace("SMOOTH = [\n", f"SMOOTH = [\n    {recipe('A new operator for bounds').strip()},\n"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parent)])}
    done = subprocess.run([sys.executable, "-c", USE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
