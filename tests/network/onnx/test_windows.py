"""Where the windows of a pooling lie, for any padding, dilation and ceil_mode. Oracle: onnxruntime, and for what is
refused the windows counted one by one."""

import itertools

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import helper  # noqa: E402

from cutaway.errors import UnsupportedOperator  # noqa: E402
from cutaway.network.onnx import load_onnx  # noqa: E402

rng = np.random.default_rng(0)


def settings():
    """What one dimension's pooling may be; 150 of them, in random order."""
    found = []
    for size, kernel, stride, dilation in itertools.product(range(1, 8), range(1, 5), range(1, 4), range(1, 4)):
        for before, after, ceil in itertools.product(range(kernel), range(kernel), (0, 1)):
            if (kernel - 1) * dilation + 1 <= size + before + after:
                found.append((size, kernel, stride, dilation, before, after, ceil))
    return [found[k] for k in rng.permutation(len(found))[:150]]


def pooling(path, op, shape, **attributes):
    node = helper.make_node(op, ["x"], ["y"], **attributes)
    value = helper.make_tensor_value_info("x", 1, [1, 1, *shape])
    graph = helper.make_graph([node], "g", [value], [helper.make_empty_tensor_value_info("y")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=8), path)
    return onnxruntime.InferenceSession(str(path), log_options()).run


def log_options():
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return options


def growing(*shape):
    """Two inputs of which every window's largest number is its last, or its first."""
    up = torch.linspace(-1, 2.5, int(np.prod(shape))).reshape(1, 1, *shape)
    return [up, up.flatten().flip(0).reshape(up.shape)]


def holds_padding_alone(size, kernel, stride, dilation, before, number):
    """Whether a window of the `number` that there are has no data in it."""
    places = [[n * stride + j * dilation - before for j in range(kernel)] for n in range(number)]
    return any(all(not 0 <= p < size for p in window) for window in places)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_windows_lie_where_onnxruntime_has_them(tmp_path, op):
    compared = 0
    for size, kernel, stride, dilation, before, after, ceil in settings():
        options = {"kernel_shape": [kernel], "strides": [stride], "pads": [before, after], "ceil_mode": ceil}
        if op == "MaxPool":
            options["dilations"] = [dilation]
        elif dilation > 1:
            continue
        run = pooling(tmp_path / "m.onnx", op, (size,), **options)
        theirs = [run(None, {"x": x.numpy()})[0] for x in growing(size)]
        if holds_padding_alone(size, kernel, stride, dilation, before, theirs[0].shape[2]):
            with pytest.raises(UnsupportedOperator, match="holds padding alone"):
                load_onnx(tmp_path / "m.onnx", check=False)
            continue
        compared, model = compared + 1, load_onnx(tmp_path / "m.onnx", check=False)
        for x, expected in zip(growing(size), theirs):
            np.testing.assert_allclose(model(x).numpy(), expected, atol=1e-6, err_msg=str((size, options)))
    assert compared > (40 if op == "AveragePool" else 100)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("padding", ["VALID", "SAME_UPPER", "SAME_LOWER"])
def test_padding_given_by_a_word_and_ceil_mode_go_together_as_in_onnxruntime(tmp_path, op, padding):
    for size, kernel, stride, ceil in itertools.product((3, 6, 7), (2, 3), (2, 3), (0, 1)):
        options = {"kernel_shape": [kernel] * 2, "strides": [stride, 1], "auto_pad": padding, "ceil_mode": ceil}
        if stride > kernel and padding != "VALID":
            continue  # onnxruntime cannot run all of these
        run = pooling(tmp_path / "m.onnx", op, (size, 5), **options)
        theirs = [run(None, {"x": x.numpy()})[0] for x in growing(size, 5)]
        for x, expected in zip(growing(size, 5), theirs):
            ours = load_onnx(tmp_path / "m.onnx", check=False)(x)
            np.testing.assert_allclose(ours.numpy(), expected, atol=1e-6, err_msg=str((size, options)))
