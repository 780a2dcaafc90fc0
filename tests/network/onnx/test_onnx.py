"""load_onnx: real networks against onnxruntime, names and modes, the free batch, export, and every refusal in its
wording."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from cutaway.errors import FileError, InputError, MissingExtra, ModelError, UnsupportedOperator  # noqa: E402
from cutaway.network.onnx import load_onnx  # noqa: E402
from cutaway.network.sources import load_model  # noqa: E402

DATA = os.environ.get("CUTAWAY_DATA")
FOLDERS = ("vnncomp2022", "safenlp")
FILES = sorted(f for folder in FOLDERS for f in Path(DATA or "none").glob(f"{folder}/**/*.onnx*"))
needs_data = pytest.mark.skipif(not FILES, reason="CUTAWAY_DATA names no folder with vnncomp2022 and safenlp")


def make(path, nodes, constants=None, shape=(1, 4), opset=17, inputs=("x",), outputs=("y",), imports=()):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in inputs],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in imports)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def mlp(path, shape=(1, 4)):
    rng = np.random.default_rng(1)
    weights = {
        name: rng.normal(size=size).astype(np.float32) for name, size in (("w", (4, 8)), ("b", 8), ("v", (8, 3)))
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], name="/fc.1/Gemm"),
        helper.make_node("Relu", ["h"], ["r"], name="forward"),
        helper.make_node("MatMul", ["r", "v"], ["y"]),
    ]
    return make(path, nodes, weights, shape)


def refused(error, path, *words):
    with pytest.raises(error) as caught:
        load_onnx(path)
    for word in words:
        assert word in str(caught.value), f"{word!r} not in: {caught.value}"


@needs_data
@pytest.mark.parametrize("path", FILES, ids=[f.name for f in FILES])
def test_real_networks_agree_with_onnxruntime(path):
    model = load_onnx(path)
    raw = path.read_bytes()
    session = onnxruntime.InferenceSession(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    name = session.get_inputs()[0].name
    inputs = model.example(8, seed=3) * 2 - 0.5
    expected = np.concatenate([session.run(None, {name: row[None].numpy()})[0] for row in inputs])
    scale = np.abs(expected).max()
    with torch.no_grad():
        assert np.abs(model(inputs).numpy() - expected).max() <= 1e-5 * scale
        assert np.abs(model.double()(inputs.double()).numpy() - expected).max() <= 1e-5 * scale
    assert model.batch_free
    kept = {p.dtype for p in load_onnx(path).parameters()}
    assert kept == {torch.float32}


@needs_data
@pytest.mark.parametrize("kind", ["acasxu", "mnist_fc", "oval21", "sri_resnet_b", "tllverifybench", "safenlp"])
def test_real_networks_can_be_exported_with_a_free_batch(kind):
    model = load_onnx(next(f for f in FILES if kind in str(f)))
    program = torch.export.export(model, (model.example(3),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    inputs = model.example(7, seed=5)
    with torch.no_grad():
        assert torch.allclose(program.module()(inputs), model(inputs), rtol=1e-5, atol=1e-6)


class TestModel:
    def test_layers_carry_the_names_of_the_nodes(self, tmp_path):
        model = load_onnx(mlp(tmp_path / "m.onnx"))
        names = [name for name, _ in model.named_children()]
        assert names == ["fc_1_Gemm", "node_forward", "MatMul_2"]
        assert model.node_names["fc_1_Gemm"] == "/fc.1/Gemm"
        assert [type(layer) for layer in model.children()] == [nn.Linear, nn.ReLU, nn.Linear]
        assert not model.training

    def test_gzipped_and_through_load_model(self, tmp_path):
        path = mlp(tmp_path / "net.onnx")
        (tmp_path / "net.onnx.gz").write_bytes(gzip.compress(path.read_bytes()))
        plain, packed = load_model(path), load_model(tmp_path / "net.onnx.gz")
        assert plain.name == packed.name == "net"
        assert plain.kind == "onnx"
        assert torch.equal(plain.model(plain.example), packed.model(packed.example))
        assert plain.example.shape == (1, 4)

    def test_nan_weights(self, tmp_path):
        weights = np.full((4, 2), np.nan, dtype=np.float32)
        make(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")], {"w": weights})
        with pytest.raises(ModelError, match=r"parameter 'fc.weight'.*NaN in 8 of 8"):
            load_model(tmp_path / "m.onnx")

    def test_gradients_reach_inputs_and_weights(self, tmp_path):
        model = load_onnx(mlp(tmp_path / "m.onnx"))
        inputs = model.example(3).requires_grad_()
        model(inputs).sum().backward()
        assert inputs.grad.abs().sum() > 0
        assert model.fc_1_Gemm.weight.grad.abs().sum() > 0

    def test_wrong_input_shape(self, tmp_path):
        model = load_onnx(mlp(tmp_path / "m.onnx"))
        with pytest.raises(InputError, match=r"shape \(2, 1, 4\); expected \(N, 4\)"):
            model(torch.zeros(2, 1, 4))

    def test_survives_pickling(self, tmp_path):
        import pickle

        model = load_onnx(mlp(tmp_path / "m.onnx"))
        again = pickle.loads(pickle.dumps(model))
        assert torch.equal(again(again.example(2)), model(model.example(2)))

    def test_unused_nodes_are_left_out(self, tmp_path):
        nodes = [helper.make_node("Exp", ["x"], ["e"]), helper.make_node("Relu", ["x"], ["y"], name="kept")]
        assert [name for name, _ in load_onnx(make(tmp_path / "m.onnx", nodes)).named_children()] == ["kept"]

    def test_export_from_torch_itself(self, tmp_path):
        """A residual block with batch norm, as torch would write it (operators made by hand: the exporter is no
        dependency)."""
        rng = np.random.default_rng(0)
        f = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
        nodes = [
            helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"], name="norm"),
            helper.make_node("Add", ["n", "x"], ["a"], name="add"),
            helper.make_node("Relu", ["a"], ["r"], name="relu"),
            helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
            helper.make_node("Flatten", ["p"], ["y"], name="flat"),
        ]
        constants = {"w": f(3, 3, 3, 3), "s": f(3), "b": f(3), "m": f(3), "v": np.abs(f(3)) + 0.1}
        model = load_onnx(make(tmp_path / "m.onnx", nodes, constants, (1, 3, 6, 6)))
        inputs = model.example(5)
        norm = nn.functional.batch_norm(model.conv(inputs), *(torch.from_numpy(constants[k]) for k in "mvsb"))
        expected = (norm + inputs).relu().mean((2, 3))
        assert torch.allclose(model(inputs), expected, atol=1e-5)
        assert isinstance(model.norm, nn.BatchNorm2d)


class TestBatch:
    def test_open_batch(self, tmp_path):
        assert load_onnx(mlp(tmp_path / "m.onnx", ("N", 4))).batch_free

    def test_rows_that_would_mix_are_run_one_by_one(self, tmp_path):
        """A mean over the batch dimension is harmless at batch size 1 only."""
        node = helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1)
        path = make(tmp_path / "m.onnx", [node, helper.make_node("Mul", ["m", "x"], ["y"])], opset=13)
        model = load_onnx(path)
        assert not model.batch_free
        inputs = model.example(5)
        assert torch.allclose(model(inputs), inputs**2)

    def test_result_without_a_batch_dimension(self, tmp_path):
        model = load_onnx(make(tmp_path / "m.onnx", [helper.make_node("Squeeze", ["x"], ["y"])]))
        assert not model.batch_free
        inputs = model.example(5)
        assert torch.equal(model(inputs), inputs)

    def test_file_without_a_batch_dimension(self, tmp_path):
        weights = np.arange(8, dtype=np.float32).reshape(4, 2)
        path = make(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weights}, (4,))
        model = load_onnx(path)
        assert not model.batched
        inputs = torch.rand(3, 4)
        assert torch.allclose(model(inputs), inputs @ torch.from_numpy(weights))
        assert torch.allclose(model(inputs[0]), inputs[0] @ torch.from_numpy(weights))

    def test_transposed_batch_is_not_called_free(self, tmp_path):
        nodes = [helper.make_node("Transpose", ["x"], ["t"]), helper.make_node("Softmax", ["t"], ["s"], axis=1)]
        path = make(tmp_path / "m.onnx", [*nodes, helper.make_node("Transpose", ["s"], ["y"])])
        model = load_onnx(path)
        assert not model.batch_free
        assert torch.equal(model(model.example(5)), torch.ones(5, 4))


class TestRefusals:
    def test_unknown_operator(self, tmp_path):
        nodes = [
            helper.make_node("Relu", ["x"], ["h"]),
            helper.make_node("NonMaxSuppression", ["h", "h"], ["y"], name="box/nms"),
        ]
        path = make(tmp_path / "m.onnx", nodes)
        refused(UnsupportedOperator, path, "NonMaxSuppression", "'box/nms'", str(path), "opset 17", "onnxsim")

    def test_custom_domain(self, tmp_path):
        node = helper.make_node("FancyGelu", ["x"], ["y"], domain="com.example", name="gelu")
        path = make(tmp_path / "m.onnx", [node], imports=("com.example",))
        refused(UnsupportedOperator, path, "com.example.FancyGelu", "'gelu'", "without custom operators")

    def test_sizes_computed_from_the_data(self, tmp_path):
        nodes = [
            helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
            helper.make_node("Squeeze", ["i"], ["s"]),
        ]
        path = make(tmp_path / "m.onnx", [*nodes, helper.make_node("Reshape", ["x", "s"], ["y"], name="move")])
        refused(UnsupportedOperator, path, "Reshape", "'move'", "computed from the data")

    def test_training_mode(self, tmp_path):
        names = ["s", "b", "m", "v"]
        node = helper.make_node("BatchNormalization", ["x", *names], ["y"], training_mode=1, name="bn")
        path = make(tmp_path / "m.onnx", [node], {name: np.ones(4, np.float32) for name in names})
        refused(UnsupportedOperator, path, "BatchNormalization", "'bn'", "training mode", "inference mode")

    def test_truncated(self, tmp_path):
        raw = mlp(tmp_path / "m.onnx").read_bytes()
        for keep in (0, 3, len(raw) // 2, len(raw) - 5):
            (tmp_path / "t.onnx").write_bytes(raw[:keep])
            refused(FileError, tmp_path / "t.onnx", "t.onnx", "not a complete ONNX file", "truncated")
        packed = gzip.compress(raw)
        (tmp_path / "t.onnx.gz").write_bytes(packed[: len(packed) // 2])
        refused(FileError, tmp_path / "t.onnx.gz", "not a complete ONNX file")
        (tmp_path / "w.onnx").write_bytes(b"PK\x03\x04 something else entirely")
        refused(FileError, tmp_path / "w.onnx", "not a complete ONNX file")

    def test_missing_file_weights_and_values(self, tmp_path):
        refused(FileError, tmp_path / "none.onnx", "no such file")
        path = make(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "gone"], ["y"], name="fc")])
        refused(FileError, path, "'fc' needs 'gone'")
        model = onnx.load(mlp(tmp_path / "e.onnx"))
        external = {"save_as_external_data": True, "location": "e.bin", "size_threshold": 0}
        onnx.save(model, tmp_path / "e.onnx", **external)
        assert load_onnx(tmp_path / "e.onnx").example().shape == (1, 4)
        (tmp_path / "e.bin").unlink()
        refused(FileError, tmp_path / "e.onnx", "not a complete ONNX file", "e.bin")

    def test_several_inputs_or_outputs(self, tmp_path):
        path = make(tmp_path / "i.onnx", [helper.make_node("Add", ["x", "z"], ["y"])], inputs=("x", "z"))
        refused(ModelError, path, "2 inputs (x, z)", "extract_model")
        nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["z"])]
        refused(ModelError, make(tmp_path / "o.onnx", nodes, outputs=("y", "z")), "2 outputs (y, z)")

    def test_open_dimensions(self, tmp_path):
        path = make(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], shape=("N", 3, "height", 8))
        refused(ModelError, path, "open dimensions", "height", "make_dynamic_shape_fixed")

    def test_output_that_is_constant(self, tmp_path):
        path = make(tmp_path / "m.onnx", [helper.make_node("Relu", ["c"], ["y"])], {"c": np.ones(2, np.float32)})
        refused(ModelError, path, "'y' that does not depend on the input")

    def test_operands_that_do_not_fit(self, tmp_path):
        path = make(
            tmp_path / "m.onnx",
            [helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")],
            {"w": np.ones((5, 2), np.float32)},
        )
        refused(ModelError, path, "'fc' (MatMul)", "cannot work on")

    def test_without_the_extra(self, tmp_path, monkeypatch):
        import sys

        monkeypatch.setitem(sys.modules, "onnx", None)
        refused(MissingExtra, tmp_path / "m.onnx", "'onnx' is not installed", "pip install 'cutaway[onnx]'")


class TestRows:
    def test_rows_that_are_counted_are_not_given_together(self, tmp_path):
        """The minimum hides the count wherever the input is small."""
        nodes = [
            helper.make_node("Size", ["x"], ["s"]),
            helper.make_node("Cast", ["s"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["x", "f"], ["m"]),
            helper.make_node("Min", ["m", "c"], ["y"]),
        ]
        model = load_onnx(make(tmp_path / "m.onnx", nodes, {"c": np.float32(-1)}, ("n", 1)))
        rows = torch.tensor([[-5.0], [-3.0], [1.0]])
        assert not model.batch_free
        torch.testing.assert_close(model(rows), torch.tensor([[-5.0], [-3.0], [-1.0]]))

    def test_rows_that_mix_only_where_they_are_large(self, tmp_path):
        nodes = [
            helper.make_node("ReduceMax", ["x"], ["m"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["m", "c"], ["d"]),
            helper.make_node("Relu", ["d"], ["r"]),
            helper.make_node("Add", ["x", "r"], ["y"]),
        ]
        assert not load_onnx(make(tmp_path / "m.onnx", nodes, {"c": np.float32(3)}, ("n", 2), 13)).batch_free
