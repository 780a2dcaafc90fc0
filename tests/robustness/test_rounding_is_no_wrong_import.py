"""Where float32 is far from real arithmetic the import is not called wrong; but what is proved of real arithmetic and
refuted by the file as it runs is no certificate."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from cutaway.errors import ModelError  # noqa: E402
from cutaway.network.onnx import load_onnx  # noqa: E402
from cutaway.network.onnx.torch_layers import BUILDERS  # noqa: E402
from cutaway.robustness.verify.import_check import explain_module  # noqa: E402
from cutaway.robustness.verify.onnx_query import verify_vnnlib  # noqa: E402
from cutaway.robustness.verify.verdict import VerifySettings  # noqa: E402

EPSILON = float(np.float32(1e-5))
NORM = 1e4 - 1e4 / math.sqrt(1 + EPSILON)  # of 0, in real arithmetic: .05; float32 gives .0498
CASES = {
    "batch norm of mean 1e4": (
        (1, 1, 1, 1),
        [("BatchNormalization", "x s b m v", "y")],
        {"s": 1.0, "b": 1e4, "m": 1e4, "v": 1.0},
        (0, 1e-4),
        f"(<= Y_0 {NORM - 1e-4:.9f})",
    ),
    "sigmoid far below": (
        (1, 1),
        [("Sigmoid", "x", "a"), ("Mul", "a k", "y")],
        {"k": 1e9},
        (-20, -19),
        "(<= Y_0 1)",
    ),
    "one minus a sigmoid": (
        (1, 1),
        [("Sigmoid", "x", "a"), ("Sub", "one a", "b"), ("Mul", "b k", "y")],
        {"one": 1.0, "k": 1e9},
        (20, 21),
        "(<= Y_0 0.3)",
    ),
}


def files(folder, name):
    shape, nodes, constants, (low, high), claim = CASES[name]
    graph = helper.make_graph(
        [helper.make_node(op, given.split(), [out]) for op, given, out in nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.array([v], np.float32), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "m.onnx")
    (folder / "m.vnnlib").write_text(
        f"(declare-const X_0 Real)(declare-const Y_0 Real)(assert (>= X_0 {low}))(assert (<= X_0 {high}))(assert {claim})"
    )
    return folder / "m.onnx", folder / "m.vnnlib"


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_certified_that_the_file_as_it_runs_refutes(name, tmp_path):
    real, _ = verify_vnnlib(*files(tmp_path, name), VerifySettings(timeout=60))
    assert real.status.value == "falsified" or "rounding changes the model's outputs" in real.reason
    deployed, _ = verify_vnnlib(*files(tmp_path, name), VerifySettings(timeout=60, deployment=torch.float32))
    assert deployed.status.value != "certified"


def test_what_rounding_cannot_explain_is_still_refused(tmp_path, monkeypatch):
    """A mean of 1e4 that is off by .02, ten times what float32 loses there."""
    honest = BUILDERS["BatchNormalization"]

    def shifted(node, operands, batched):
        layer = honest(node, operands, batched)
        layer.running_mean += 0.02
        return layer

    path, _ = files(tmp_path, "batch norm of mean 1e4")
    load_onnx(path)
    monkeypatch.setitem(BUILDERS, "BatchNormalization", shifted)
    with pytest.raises(ModelError, match="BatchNormalization"):
        load_onnx(path)


def test_a_module_without_numbers_of_its_own_is_compared_in_float64():
    class Plain(torch.nn.Module):
        def forward(self, x):
            return (1 - torch.sigmoid(x)) * 1e9

    x = torch.tensor([20.0], dtype=torch.float64)
    explain_module(Plain(), (1,))(x, (1 - torch.sigmoid(x)) * 1e9)
    with pytest.raises(ModelError):
        explain_module(Plain(), (1,))(x, (1 - torch.sigmoid(x.float())).double() * 1e9)
