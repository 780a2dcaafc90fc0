"""Every ONNX operator that the importer knows, in small graphs made here. Oracle: onnxruntime, row by row."""

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from cutaway.errors import FileError, InputError, ModelError, UnsupportedOperator  # noqa: E402
from cutaway.network.onnx import load_onnx  # noqa: E402
from cutaway.network.onnx.functions import FUNCTIONS  # noqa: E402
from cutaway.network.onnx.torch_layers import BUILDERS  # noqa: E402
from cutaway.robustness.verify.replay import file_hash  # noqa: E402

rng = np.random.default_rng(0)


def numbers(*shape, positive=False):
    values = rng.normal(size=shape).astype(np.float32)
    return np.abs(values) + 0.5 if positive else values


def ints(*values):
    return np.array(values, dtype=np.int64)


def n(op, inputs="x", outputs="y", **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def save(path, nodes, constants, shape, opset=17, element=TensorProto.FLOAT):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", element, list(shape))],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


def check(path, batch_free=True, tolerance=1e-5, inputs=None):
    """What onnxruntime gives row by row, the import gives for one row, for all at once, and in float64."""
    model = load_onnx(path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    rows = model.example(4, seed=2) if inputs is None else inputs
    if rows.is_floating_point() and inputs is None:
        rows = rows * 3 - 1
    expected = [session.run(None, {name: row[None].numpy()})[0] for row in rows]
    joined = np.concatenate(expected) if expected[0].ndim and expected[0].shape[0] == 1 else np.stack(expected)
    with torch.no_grad():
        found = model(rows).numpy()
        single = model(rows[:1]).numpy()
        doubled = model.double()(rows.double() if rows.is_floating_point() else rows).numpy()
    assert found.shape == joined.shape
    scale = max(np.abs(joined).max(), 1e-3)
    for what in (found, doubled):
        assert np.abs(what - joined).max() <= tolerance * scale
    assert np.abs(single - joined[:1]).max() <= tolerance * scale
    assert model.batch_free is batch_free
    return model


IMAGE, ROW, BLOCK = (1, 4, 9, 8), (1, 6), (1, 3, 4, 5)
PLAIN = """Relu Round Atan ThresholdedRelu LeakyRelu Sigmoid Tanh Elu Celu Selu Softplus HardSwish HardSigmoid
Softsign Abs Neg Exp Erf Sin Cos Floor Ceil Sign Softmax LogSoftmax Identity Dropout Flatten"""
SIMPLE = {
    **{op: ([n(op)], {}, ROW, 17) for op in PLAIN.split()},
    "eight bits": (
        [n("DequantizeLinear", "q s", "w"), n("Add", "x w")],
        {"q": np.arange(-3, 3, dtype=np.int8), "s": np.float32(0.1)},
        ROW,
        10,
    ),
    "eight bits by channel": (
        [n("DequantizeLinear", "q s z", "w", axis=-1), n("MatMul", "x w")],
        {"q": np.arange(12, dtype=np.uint8).reshape(6, 2), "s": np.float32([0.1, 3]), "z": np.uint8([2, 200])},
        ROW,
        17,
    ),
    "eight bits by block": (
        [n("DequantizeLinear", "q s z", "w", axis=0, block_size=4), n("MatMul", "x w")],
        {"q": np.arange(12, dtype=np.int8).reshape(6, 2), "s": numbers(2, 2), "z": np.int8([[1, 2], [3, -4]])},
        ROW,
        21,
    ),
    "mish": ([n("Mish")], {}, ROW, 18),
    "leaky slope": ([n("LeakyRelu", alpha=0.3)], {}, ROW, 17),
    "elu alpha": ([n("Elu", alpha=0.5)], {}, ROW, 17),
    "celu alpha": ([n("Celu", alpha=0.5)], {}, ROW, 17),
    "selu own": ([n("Selu", alpha=1.2, gamma=0.7)], {}, ROW, 17),
    "hard sigmoid own": ([n("HardSigmoid", alpha=0.4, beta=0.3)], {}, ROW, 17),
    "gelu": ([n("Gelu")], {}, ROW, 20),
    "gelu tanh": ([n("Gelu", approximate="tanh")], {}, ROW, 20),
    "sqrt log reciprocal": (
        [
            n("Abs", "x", "a"),
            n("Add", "a c", "b"),
            n("Sqrt", "b", "d"),
            n("Log", "d", "e"),
            n("Add", "e c", "f"),
            n("Reciprocal", "f", "y"),
        ],
        {"c": np.float32(1.5)},
        ROW,
        17,
    ),
    "pow": ([n("Pow", "x c")], {"c": np.float32(3.0)}, ROW, 17),
    "prelu scalar": ([n("PRelu", "x s")], {"s": numbers(1)}, IMAGE, 17),
    "prelu channel": ([n("PRelu", "x s")], {"s": numbers(4, 1, 1)}, IMAGE, 17),
    "prelu full": ([n("PRelu", "x s")], {"s": numbers(4, 9, 8)}, IMAGE, 17),
    "clip relu6": ([n("Clip", "x a b")], {"a": np.float32(0), "b": np.float32(6)}, ROW, 17),
    "clip low": ([n("Clip", "x a")], {"a": np.float32(-0.5)}, ROW, 17),
    "clip high": ([helper.make_node("Clip", ["x", "", "b"], ["y"])], {"b": np.float32(0.5)}, ROW, 17),
    "clip both": ([n("Clip", "x a b")], {"a": np.float32(-0.5), "b": np.float32(0.25)}, ROW, 17),
    "clip attributes": ([n("Clip", min=-0.5, max=0.5)], {}, ROW, 10),
    "softmax axis 1 old": ([n("Softmax", axis=1)], {}, BLOCK, 12),
    "logsoftmax axis 1 old": ([n("LogSoftmax", axis=1)], {}, BLOCK, 12),
    "softmax axis 1 new": ([n("Softmax", axis=1)], {}, BLOCK, 17),
    "two of x": (
        [
            n("Relu", "x", "r"),
            n("Mul", "x r", "m"),
            n("Sub", "m x", "s"),
            n("Div", "s q", "t"),
            n("Max", "t x", "u"),
            n("Min", "u r m", "v"),
            n("Sum", "v x", "w"),
            n("Mean", "w x"),
        ],
        {"q": numbers(6, positive=True)},
        ROW,
        17,
    ),
    "constants left": (
        [n("Sub", "c x", "a"), n("Div", "d a", "b"), n("MatMul", "m b")],
        {"c": np.float32(9.0), "d": numbers(1, 4, 1), "m": numbers(5, 4)},
        (1, 4, 3),
        17,
    ),
    "matmul add": ([n("MatMul", "x w", "m"), n("Add", "m b")], {"w": numbers(6, 5), "b": numbers(5)}, ROW, 17),
    "add first": ([n("MatMul", "x w", "m"), n("Add", "b m")], {"w": numbers(6, 5), "b": numbers(1, 5)}, ROW, 17),
    "matmul used twice": (
        [n("MatMul", "x w", "m"), n("Add", "m b", "a"), n("Mul", "a m")],
        {"w": numbers(6, 5), "b": numbers(5)},
        ROW,
        17,
    ),
    "matmul wide bias": ([n("MatMul", "x w", "m"), n("Add", "m b")], {"w": numbers(6, 1), "b": numbers(3)}, ROW, 17),
    "matmul blocks": ([n("MatMul", "x w")], {"w": numbers(3, 5, 7)}, BLOCK, 17),
    "matmul of two": ([n("Transpose", "x", "t", perm=[0, 1, 3, 2]), n("MatMul", "x t")], {}, BLOCK, 17),
    "gemm": ([n("Gemm", "x w b")], {"w": numbers(6, 5), "b": numbers(5)}, ROW, 17),
    "gemm scaled": (
        [n("Gemm", "x w b", alpha=0.5, beta=2.0, transB=1)],
        {"w": numbers(5, 6), "b": numbers(1, 5)},
        ROW,
        17,
    ),
    "gemm scalar bias": ([n("Gemm", "x w b")], {"w": numbers(6, 5), "b": numbers(1)}, ROW, 17),
    "gemm no bias": ([n("Gemm", "x w")], {"w": numbers(6, 5)}, ROW, 17),
    "einsum": ([n("Einsum", "x w", equation="bij,jk->bik")], {"w": numbers(4, 5)}, (1, 3, 4), 17),
    "batch norm": (
        [n("BatchNormalization", "x s b m v", epsilon=1e-3)],
        {"s": numbers(4), "b": numbers(4), "m": numbers(4), "v": numbers(4, positive=True)},
        IMAGE,
        17,
    ),
    "batch norm flat": (
        [n("BatchNormalization", "x s b m v")],
        {"s": numbers(6), "b": numbers(6), "m": numbers(6), "v": numbers(6, positive=True)},
        ROW,
        13,
    ),
    "layer norm": ([n("LayerNormalization", "x s b", epsilon=1e-3)], {"s": numbers(5), "b": numbers(5)}, BLOCK, 17),
    "layer norm two": ([n("LayerNormalization", "x s", axis=-2)], {"s": numbers(4, 5)}, BLOCK, 17),
    "thresholded relu own": ([n("ThresholdedRelu", alpha=0.3)], {}, ROW, 22),
    "thresholded relu below zero": ([n("ThresholdedRelu", alpha=-0.7)], {}, ROW, 10),
    "round halves": (
        [n("Mul", "x t", "m"), n("Floor", "m", "f"), n("Mul", "f h", "g"), n("Round", "g")],
        {"t": np.float32(4), "h": np.float32(0.5)},
        ROW,
        11,
    ),
    "instance norm": (
        [n("InstanceNormalization", "x s b", epsilon=1e-2)],
        {"s": numbers(4), "b": numbers(4)},
        IMAGE,
        17,
    ),
    "instance norm of signals": (
        [n("InstanceNormalization", "x s b")],
        {"s": numbers(3), "b": numbers(3)},
        (1, 3, 7),
        22,
    ),
    "group norm of groups": (
        [n("GroupNormalization", "x s b", num_groups=2)],
        {"s": numbers(2), "b": numbers(2)},
        IMAGE,
        18,
    ),
    "group norm of channels": (
        [n("GroupNormalization", "x s b", num_groups=2, epsilon=1e-2, stash_type=1)],
        {"s": numbers(4), "b": numbers(4)},
        IMAGE,
        21,
    ),
    "rms norm": ([n("RMSNormalization", "x s", epsilon=1e-2)], {"s": numbers(5)}, BLOCK, 23),
    "rms norm of two": ([n("RMSNormalization", "x s", axis=-2, stash_type=1)], {"s": numbers(4, 5)}, BLOCK, 23),
    "rms norm with one scale": ([n("RMSNormalization", "x s", axis=1)], {"s": numbers(1)}, BLOCK, 24),
    "rms norm spelled out": (
        [
            n("Pow", "x two", "q"),
            n("ReduceMean", "q", "m", axes=[-1]),
            n("Add", "m e", "v"),
            n("Sqrt", "v", "r"),
            n("Div", "x r", "z"),
            n("Mul", "z s"),
        ],
        {"two": np.float32(2), "e": np.float32(1e-3), "s": numbers(5)},
        BLOCK,
        17,
    ),
    "local response norm": ([n("LRN", size=3, alpha=0.7, beta=0.6, bias=1.5)], {}, IMAGE, 17),
    "local response norm beyond": ([n("LRN", size=9)], {}, IMAGE, 17),
    "global pools": ([n("GlobalAveragePool", "x", "a"), n("GlobalMaxPool", "x", "b"), n("Add", "a b")], {}, IMAGE, 17),
}
CONVOLUTION = {
    "conv": {"w": numbers(5, 4, 3, 3), "b": numbers(5)},
    "conv strided": {"w": numbers(5, 4, 3, 2), "strides": [2, 1], "pads": [1, 0, 1, 0]},
    "conv uneven": {"w": numbers(5, 4, 3, 3), "pads": [1, 0, 2, 1]},
    "conv groups dilated": {"w": numbers(6, 2, 2, 3), "group": 2, "dilations": [2, 1], "b": numbers(6)},
    "conv same upper": {"w": numbers(5, 4, 4, 2), "auto_pad": "SAME_UPPER", "strides": [2, 1]},
    "conv same lower": {"w": numbers(5, 4, 4, 2), "auto_pad": "SAME_LOWER"},
    "conv valid": {"w": numbers(5, 4, 4, 2), "auto_pad": "VALID"},
    "transposed": {"op": "ConvTranspose", "w": numbers(4, 3, 3, 3), "b": numbers(3)},
    "transposed strided": {
        "op": "ConvTranspose",
        "w": numbers(4, 3, 3, 3),
        "strides": [2, 2],
        "pads": [1, 1, 1, 1],
        "output_padding": [1, 0],
        "group": 2,
    },
}
for _name, _options in CONVOLUTION.items():
    _op, _w, _b = _options.pop("op", "Conv"), _options.pop("w"), _options.pop("b", None)
    _constants = {"w": _w} if _b is None else {"w": _w, "b": _b}
    SIMPLE[_name] = ([n(_op, "x w" + (" b" if _b is not None else ""), **_options)], _constants, IMAGE, 17)
SIMPLE["conv 1d"] = ([n("Conv", "x w", pads=[1, 1])], {"w": numbers(3, 4, 3)}, (1, 4, 9), 17)
SIMPLE["conv 3d"] = ([n("Conv", "x w")], {"w": numbers(3, 2, 2, 2, 2)}, (1, 2, 3, 4, 4), 17)
for _op in ("MaxPool", "AveragePool"):
    for _name, _options in {
        "": {},
        "strided": {"strides": [2, 2], "pads": [1, 1, 1, 1]},
        "uneven": {"strides": [2, 2], "pads": [0, 1, 1, 2]},
        "same": {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        "ceil": {"strides": [2, 2], "ceil_mode": 1},
    }.items():
        SIMPLE[f"{_op} {_name}"] = ([n(_op, kernel_shape=[3, 3], **_options)], {}, IMAGE, 17)
SIMPLE["AveragePool counted"] = (
    [n("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)],
    {},
    IMAGE,
    17,
)
SIMPLE["AveragePool counted uneven"] = (
    [n("AveragePool", kernel_shape=[3, 3], pads=[0, 1, 2, 1], count_include_pad=1)],
    {},
    IMAGE,
    17,
)
SIMPLE["MaxPool dilated"] = ([n("MaxPool", kernel_shape=[2, 2], dilations=[2, 3])], {}, IMAGE, 17)

MOVES = {
    "reshape": ([n("Reshape", "x s")], {"s": ints(1, 12, 5)}, BLOCK, 17),
    "reshape open": ([n("Reshape", "x s")], {"s": ints(-1, 60)}, BLOCK, 17),
    "reshape zero": ([n("Reshape", "x s")], {"s": ints(0, -1, 5)}, BLOCK, 17),
    "reshape computed": (
        [
            n("Shape", "x", "s"),
            n("Gather", "s zero", "b", axis=0),
            n("Unsqueeze", "b ax", "u"),
            n("Concat", "u rest", "t", axis=0),
            n("Reshape", "x t"),
        ],
        {"zero": np.int64(0), "ax": ints(0), "rest": ints(-1)},
        BLOCK,
        17,
    ),
    "shape arithmetic": (
        [
            n("Shape", "x", "s"),
            n("Slice", "s one big", "tail"),
            n("ReduceProd", "tail", "p", keepdims=1),
            n("Slice", "s zero one", "b"),
            n("Concat", "b p", "t", axis=0),
            n("Cast", "t", "c", to=TensorProto.INT64),
            n("Reshape", "x c"),
        ],
        {"zero": ints(0), "one": ints(1), "big": ints(2**62)},
        BLOCK,
        17,
    ),
    "shape where": (
        [
            n("Shape", "x", "s"),
            n("Equal", "s minus", "e"),
            n("Where", "e one s", "t"),
            n("Div", "t one", "u"),
            n("Mul", "u one", "v"),
            n("ConstantOfShape", "v", "z", value=numpy_helper.from_array(numbers(1))),
            n("Add", "x z"),
        ],
        {"minus": ints(-1), "one": ints(1)},
        BLOCK,
        17,
    ),
    "constant": ([n("Constant", "", "c", value=numpy_helper.from_array(numbers(5))), n("Add", "x c")], {}, BLOCK, 17),
    "constant float": ([n("Constant", "", "c", value_float=0.7), n("Mul", "x c")], {}, BLOCK, 17),
    "folded": (
        [
            n("Transpose", "w", "t", perm=[1, 0]),
            n("Mul", "t two", "u"),
            n("Unsqueeze", "u a", "v"),
            n("Squeeze", "v a", "z"),
            n("ConstantOfShape", "n", "o"),
            n("Add", "z o", "q"),
            n("MatMul", "x q"),
        ],
        {"w": numbers(7, 5), "two": np.float32(2), "a": ints(0), "n": ints(7)},
        BLOCK,
        17,
    ),
    "transpose": ([n("Transpose", perm=[0, 3, 1, 2])], {}, BLOCK, 17),
    "flatten 2": ([n("Flatten", "x", "f", axis=2), n("Reshape", "f s")], {"s": ints(-1, 60)}, BLOCK, 17),
    "squeeze unsqueeze": (
        [n("Unsqueeze", "x a", "u"), n("Squeeze", "u b", "v"), n("Unsqueeze", "v c")],
        {"a": ints(1, -1), "b": ints(1), "c": ints(2)},
        BLOCK,
        17,
    ),
    "squeeze old": ([n("Unsqueeze", "x", "u", axes=[1, 2]), n("Squeeze", "u", "y", axes=[2])], {}, BLOCK, 11),
    "concat": ([n("Relu", "x", "r"), n("Concat", "x r x", axis=-1)], {}, BLOCK, 17),
    "slice": (
        [n("Slice", "x s e a t")],
        {"s": ints(1, -4), "e": ints(3, 2**62), "a": ints(2, -1), "t": ints(1, 2)},
        BLOCK,
        17,
    ),
    "slice back": (
        [n("Slice", "x s e a t")],
        {"s": ints(-1), "e": ints(-(2**62)), "a": ints(3), "t": ints(-1)},
        BLOCK,
        17,
    ),
    "slice back part": (
        [n("Slice", "x s e a t")],
        {"s": ints(3), "e": ints(0), "a": ints(3), "t": ints(-2)},
        BLOCK,
        17,
    ),
    "slice back from before the start": (
        [n("Slice", "x s e a t")],
        {"s": ints(-9), "e": ints(-(2**62)), "a": ints(3), "t": ints(-1)},
        BLOCK,
        17,
    ),
    "slice old": ([n("Slice", starts=[1], ends=[3], axes=[2])], {}, BLOCK, 9),
    "gather": ([n("Gather", "x i", axis=2)], {"i": ints(3, 0, -1)}, BLOCK, 17),
    "gather one": ([n("Gather", "x i", axis=-1)], {"i": np.int64(2)}, BLOCK, 17),
    "gather block": ([n("Gather", "x i", axis=3)], {"i": np.array([[0, 1], [4, -2]])}, BLOCK, 17),
    "pad": ([n("Pad", "x p v")], {"p": ints(0, 0, 1, 2, 0, 1, 0, 1), "v": np.float32(1.5)}, BLOCK, 17),
    "pad axes": (
        [helper.make_node("Pad", ["x", "p", "", "a"], ["y"])],
        {"p": ints(1, 2, 0, 1), "a": ints(2, -1)},
        BLOCK,
        18,
    ),
    "pad reflect": ([n("Pad", "x p", mode="reflect")], {"p": ints(0, 0, 1, 2, 0, 0, 0, 1)}, BLOCK, 17),
    "pad edge": ([n("Pad", "x p", mode="edge")], {"p": ints(0, 0, 1, 2, 0, 0, 0, 1)}, BLOCK, 17),
    "pad old": ([n("Pad", pads=[0, 0, 1, 2, 0, 1, 0, 1], value=0.5)], {}, BLOCK, 10),
    "expand": ([n("Unsqueeze", "x a", "u"), n("Expand", "u s")], {"a": ints(2), "s": ints(1, 3, 2, 4, 5)}, BLOCK, 17),
    "tile": ([n("Tile", "x r")], {"r": ints(1, 2, 1, 3)}, BLOCK, 17),
    "split": (
        [n("Split", "x s", "a b", axis=3), n("MatMul", "c a", "d"), n("Concat", "d b", axis=3)],
        {"s": ints(2, 3), "c": numbers(4, 4)},
        BLOCK,
        17,
    ),
    "split even": ([n("Split", "x", "a b", axis=2), n("Sub", "a b")], {}, BLOCK, 13),
    "split num": ([n("Split", "x", "a b c", axis=3, num_outputs=3), n("Add", "a b")], {}, BLOCK, 18),
    "split old": ([n("Split", "x", "a b", axis=3, split=[4, 1]), n("Mul", "a b")], {}, BLOCK, 11),
    "where": (
        [
            n("Greater", "x z", "g"),
            n("Where", "g x n", "w"),
            n("Less", "w n", "l"),
            n("Not", "l", "m"),
            n("Cast", "m", "f", to=TensorProto.FLOAT),
            n("Mul", "f w"),
        ],
        {"z": np.float32(0.2), "n": numbers(5)},
        BLOCK,
        17,
    ),
    "logic": (
        [
            n("GreaterOrEqual", "x z", "g"),
            n("LessOrEqual", "x o", "l"),
            n("And", "g l", "a"),
            n("Or", "a g", "b"),
            n("Where", "b x z"),
        ],
        {"z": np.float32(0.2), "o": np.float32(0.7)},
        BLOCK,
        17,
    ),
    "arg": (
        [
            n("ArgMax", "x", "a", axis=3),
            n("ArgMin", "x", "b", axis=3),
            n("Sub", "a b", "c"),
            n("Mod", "c m", "d"),
            n("Cast", "d", "y", to=TensorProto.FLOAT),
        ],
        {"m": ints(3)},
        BLOCK,
        17,
    ),
    "size and range": (
        [
            n("Size", "w", "n"),
            n("Range", "zero n one", "r"),
            n("Cast", "r", "f", to=TensorProto.FLOAT),
            n("Add", "x f"),
        ],
        {"w": numbers(5), "zero": np.int64(0), "one": np.int64(1)},
        BLOCK,
        17,
    ),
    **{
        f"{op} {name}": (
            [n(op, "x" if opset < 18 or op == "ReduceSum" else "x a", **options)],
            {} if opset < 18 else {"a": ints(2, -1)},
            BLOCK,
            opset,
        )
        for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceProd")
        for name, opset, options in (("old", 12, {"axes": [1, 3], "keepdims": 0}), ("new", 18, {}))
    },
    "ReduceSum new": ([n("ReduceSum", "x a", keepdims=0)], {"a": ints(1, -1)}, BLOCK, 13),
    "ReduceSum old": ([n("ReduceSum", axes=[2])], {}, BLOCK, 11),
    "ReduceSum noop": ([n("ReduceSum", noop_with_empty_axes=1)], {}, BLOCK, 13),
}


@pytest.mark.parametrize("name", [*SIMPLE, *MOVES])
def test_agrees_with_onnxruntime(name, tmp_path):
    nodes, constants, shape, opset = {**SIMPLE, **MOVES}[name]
    check(save(tmp_path / "m.onnx", nodes, constants, shape, opset))


def test_every_known_operator_is_tried():
    tried = {entry.op_type for nodes, *_ in {**SIMPLE, **MOVES}.values() for entry in nodes}
    internal = {"SoftmaxOfBlock"}
    assert set(FUNCTIONS) - internal | set(BUILDERS) == tried


def test_embedding(tmp_path):
    nodes = [n("Gather", "w x", "e"), n("ReduceMean", "e", "y", axes=[1], keepdims=0)]
    path = save(tmp_path / "m.onnx", nodes, {"w": numbers(9, 4)}, (1, 5), 17, TensorProto.INT64)
    check(path, inputs=torch.randint(0, 9, (4, 5)))


def test_an_opset_that_onnxruntime_lacks_is_compared_with_the_reference_evaluator(tmp_path):
    constants = {"s": numbers(4), "b": numbers(4)}
    newest = onnx.defs.onnx_opset_version()
    path = save(tmp_path / "m.onnx", [n("GroupNormalization", "x s b", num_groups=2)], constants, IMAGE, newest)
    model = load_onnx(path)
    try:
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert model.checked_by == "onnxruntime"
    except Exception:
        assert model.checked_by == "onnx's reference evaluator"


@pytest.mark.parametrize(
    ("op", "point", "value"),
    [
        ("LeakyRelu", -1e6, -1e6 * float(np.float32(0.01))),
        ("HardSigmoid", 1.0, float(np.float32(0.2)) + 0.5),
        ("Selu", 1e6, 1e6 * float(np.float32(1.05070102214813))),
        ("Selu", -1e6, -float(np.float32(1.05070102214813)) * float(np.float32(1.67326319217681))),
    ],
)
def test_what_a_file_leaves_out_is_what_onnx_has_in_float32(op, point, value, tmp_path):
    path = save(tmp_path / "m.onnx", [n(op)], {}, (1, 1))
    model = load_onnx(path, dtype=torch.float64)
    assert model(torch.tensor([[point]], dtype=torch.float64)).item() == pytest.approx(value, rel=1e-15)


def test_a_fixed_batch_is_told_as_such(tmp_path):
    model = load_onnx(save(tmp_path / "m.onnx", [n("Relu")], {}, (16, 1, 4, 4)))
    assert model(torch.zeros(16, 1, 4, 4)).shape == (16, 1, 4, 4)
    with pytest.raises(InputError, match="found 2 rows of shape .*16, the size that the file fixes.*batch of 1 or an"):
        model(torch.zeros(2, 1, 4, 4))


def test_weights_elsewhere_are_not_read_for_a_hash(tmp_path, monkeypatch):
    secret = tmp_path / "secret"
    secret.write_bytes(b"0" * 400)
    (tmp_path / "net").mkdir()
    path = save(tmp_path / "net" / "m.onnx", [n("Add", "x c")], {"c": numbers(100)}, (1, 100))
    whole = file_hash(path)
    proto = onnx.load(path)
    (tensor,) = proto.graph.initializer
    onnx.external_data_helper.set_external_data(tensor, "../secret", length=400)
    tensor.ClearField("raw_data")
    path.write_bytes(proto.SerializeToString())
    changed = file_hash(path)
    secret.write_bytes(b"1" * 400)
    assert whole != changed == file_hash(path), "the file outside is no part of it"
    with pytest.raises(FileError, match="outside the file's folder"):
        load_onnx(path)


def test_a_window_of_lrn_that_no_program_runs_is_refused(tmp_path):
    """onnxruntime has none of even size, and the reference evaluator takes the batch for the channels."""
    with pytest.raises(UnsupportedOperator, match="LRN.*even size"):
        load_onnx(save(tmp_path / "m.onnx", [n("LRN", size=4)], {}, IMAGE, 17))


def test_roundings_are_granted_to_a_normalisation_by_its_own_steepness(tmp_path):
    """The data of a channel are equal, so that onnxruntime's x * scale - mean * scale is off by 1 / sqrt(epsilon)."""
    from cutaway.network.onnx.agreement import refuse_difference
    from cutaway.network.onnx.normalisations import gain

    x = torch.full((1, 1, 4), 1.7)
    assert gain("InstanceNormalization", {"epsilon": 1e-6}, x, torch.tensor([2.0])) == pytest.approx(2000)
    assert gain("GroupNormalization", {"epsilon": 1e-2, "num_groups": 1}, x, torch.ones(1)) == pytest.approx(
        180, rel=0.1
    )
    assert gain("RMSNormalization", {"epsilon": 0.0}, x, torch.tensor([3.4])) == pytest.approx(2)
    assert gain("LayerNormalization", {"epsilon": 1.0}, x, torch.ones(4)) == 1.0
    assert gain("LRN", {"size": 3}, x) == gain("Reshape", {}, x, (1, 4)) == 1.0
    nodes = [n("InstanceNormalization", "x s b", epsilon=1e-6)]
    path = save(tmp_path / "m.onnx", nodes, {"s": np.float32([2.0]), "b": np.float32([1.0])}, (1, 1, 4))
    refuse_difference(path, load_onnx(path, check=False), x[0])


def test_another_operator_in_place_of_the_files_is_no_fault_of_the_import(tmp_path):
    """onnxruntime multiplies int8 weights as integers, with an input that it rounds to 8 bits."""
    weights = np.random.default_rng(0).integers(-100, 100, size=(5, 3)).astype(np.int8)
    nodes = [n("DequantizeLinear", "w s z", "d", axis=1), n("MatMul", "x d", "m"), n("Relu", "m")]
    constants = {"w": weights, "s": np.float32([0.01, 0.02, 0.03]), "z": np.int8([0, 3, -2])}
    with pytest.raises(ModelError, match="runs other operators in place of the file's.*export the network in float"):
        load_onnx(save(tmp_path / "m.onnx", nodes, constants, (1, 5), 17))
