"""The ONNX operators that torch has as layers, each with a builder: node and operands in, `nn.Module` (or None) out.

A builder gives None when the node is not of the plain kind (weights computed from the data, for instance); `Apply`
takes it then. Padding that differs between the sides, or exceeds half a pooling window, becomes a Pad before the layer.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.network.onnx.nodes import Apply, OnnxNode, Operand
from cutaway.network.onnx.windows import Window


def linear(matrix: Tensor, bias: Tensor | None) -> nn.Linear:
    """x @ matrix + bias, matrix (in, out)."""
    layer = nn.Linear(matrix.shape[0], matrix.shape[1], bias=bias is not None, dtype=matrix.dtype)
    layer.weight.data = matrix.t().contiguous().clone()
    if bias is not None:
        layer.bias.data = bias.clone()
    return layer


def _matmul(node: OnnxNode, operands: list[Operand | None], _batched: bool) -> nn.Module | None:
    data, matrix = operands
    if data is None or matrix is None or data.constant or not matrix.constant or matrix.value.ndim != 2:
        return None
    return linear(matrix.value, None)


def _gemm(node: OnnxNode, operands: list[Operand | None], _batched: bool) -> nn.Module | None:
    data, matrix = operands[0], operands[1]
    offset = operands[2] if len(operands) > 2 else None
    plain = data is not None and not data.constant and matrix is not None and matrix.constant and not node.get("transA")
    if not plain or matrix is None or (offset is not None and not offset.constant):
        return None
    weight = node.get("alpha", 1.0) * (matrix.value.t() if node.get("transB") else matrix.value)
    bias = None
    if offset is not None:
        if offset.value.ndim > 1 and offset.value.shape[:-1].numel() != 1:
            return None
        bias = (node.get("beta", 1.0) * offset.value).reshape(-1).expand(weight.shape[1])
    return linear(weight, bias)


def _padding(node: OnnxNode, data: Tensor, kernel: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Padding before and after in every spatial dimension, from `pads` or `auto_pad` (which needs the sizes)."""
    num = len(kernel)
    mode = node.get("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        pads = list(node.get("pads", [0] * (2 * num)))
        return pads[:num], pads[num:]
    if mode == "VALID":
        return [0] * num, [0] * num
    before, after = [], []
    for size, extent, stride, step in zip(
        data.shape[2:], kernel, _of(node, "strides", num), _of(node, "dilations", num)
    ):
        needed = max(0, (-(-size // stride) - 1) * stride + (extent - 1) * step + 1 - size)
        small, large = needed // 2, needed - needed // 2
        before.append(small if mode == "SAME_UPPER" else large)
        after.append(large if mode == "SAME_UPPER" else small)
    return before, after


def _of(node: OnnxNode, name: str, num: int) -> tuple[int, ...]:
    return tuple(node.get(name, [1] * num))


def _spatial(node: OnnxNode, data: Tensor, layers: tuple[type, ...]) -> Any:
    num = data.ndim - 2
    if not 1 <= num <= len(layers):
        raise node.refuse(f"data of {data.ndim} dimensions", "use 1 to 3 spatial dimensions")
    return layers[num - 1]


def _convolution(node: OnnxNode, operands: list[Operand | None], _batched: bool) -> nn.Module | None:
    data, weight = operands[0], operands[1]
    offset = operands[2] if len(operands) > 2 else None
    if data is None or weight is None or not weight.constant or (offset is not None and not offset.constant):
        raise node.refuse("weights computed from the data")
    kernel = tuple(weight.value.shape[2:])
    before, after = _padding(node, data.value, kernel)
    transposed = node.op_type == "ConvTranspose"
    kinds = (
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        if transposed
        else (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    )
    groups, even = node.get("group", 1), before == after
    options: dict[str, Any] = {"dtype": weight.value.dtype, "bias": offset is not None, "groups": groups}
    options["padding"] = tuple(before) if even else 0
    if transposed:
        if (
            not even
            or node.get("output_shape") is not None
            or node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
        ):
            raise node.refuse("uneven padding or a given output shape", "export it with even padding")
        options["output_padding"] = tuple(node.get("output_padding", [0] * len(kernel)))
        channels = weight.value.shape[0], weight.value.shape[1] * groups
    else:
        channels = weight.value.shape[1] * groups, weight.value.shape[0]
    strides, dilations = _of(node, "strides", len(kernel)), _of(node, "dilations", len(kernel))
    layer = _spatial(node, data.value, kinds)(*channels, kernel, stride=strides, dilation=dilations, **options)
    layer.weight.data = weight.value.clone()
    if offset is not None:
        layer.bias.data = offset.value.clone()
    return layer if even else nn.Sequential(Apply("Pad", {}, _pad_operands(before, after, 0.0)), layer)


def _pad_operands(before: Sequence[int], after: Sequence[int], value: float) -> list[Operand | None]:
    pads = torch.tensor([0, 0, *before, 0, 0, *after])
    return [Operand(None, False), Operand(pads, True), Operand(torch.tensor(value), True)]


def _window(node: OnnxNode, operands: list[Operand | None]) -> Window:
    data = operands[0]
    assert data is not None
    kernel = tuple(node.get("kernel_shape"))
    before, after = _padding(node, data.value, kernel)
    if node.get("auto_pad", "NOTSET") not in ("NOTSET", "") and any(
        step != 1 for step in _of(node, "dilations", len(kernel))
    ):
        raise node.refuse("dilated windows padded by auto_pad, which programs read differently", "export it with pads")
    window = Window(
        sizes=tuple(data.value.shape[2:]),
        kernel=kernel,
        strides=_of(node, "strides", len(kernel)),
        steps=_of(node, "dilations", len(kernel)),
        before=tuple(before),
        after=tuple(after),
        ceil=bool(node.get("ceil_mode", 0)) and node.get("auto_pad") not in ("SAME_UPPER", "SAME_LOWER"),
    )
    if min(window.outputs) < 1:
        raise node.refuse("windows larger than the data")
    return window


def _max_pool(node: OnnxNode, operands: list[Operand | None], _batched: bool) -> nn.Module | None:
    data = operands[0]
    assert data is not None
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.refuse("indices as a second output", "export the model without unpooling")
    window = _window(node, operands)
    if any(int(count.min()) == 0 for count in window.counts(padding=False)):
        raise node.refuse("a window that holds padding alone")
    kind = _spatial(node, data.value, (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d))
    options: dict[str, Any] = {"stride": window.strides, "dilation": window.steps}
    if window.plain and window.fits:
        return kind(window.kernel, padding=window.before, ceil_mode=window.ceil, **options)
    pads = _pad_operands(window.before, window.reach, -math.inf)
    return nn.Sequential(Apply("Pad", {}, pads), kind(window.kernel, **options))


def _average_pool(node: OnnxNode, operands: list[Operand | None], _batched: bool) -> nn.Module | None:
    """Where a window reaches over an edge, the mean of zeros and data, times the window's size, over the exact number
    of what counts."""
    data = operands[0]
    assert data is not None
    window, counted = _window(node, operands), bool(node.get("count_include_pad", 0))
    if any(step != 1 for step in window.steps):
        raise node.refuse("dilated average pooling")
    kind = _spatial(node, data.value, (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d))
    if window.plain and window.fits and not window.ceil:
        return kind(window.kernel, window.strides, padding=window.before, count_include_pad=counted)
    counts = functools.reduce(lambda a, b: a[..., None] * b, window.counts(padding=counted))
    if int(counts.min()) == 0:
        raise node.refuse("a window that holds padding alone")
    layers: list[nn.Module] = [Apply("Pad", {}, _pad_operands(window.before, window.reach, 0.0))]
    layers.append(kind(window.kernel, window.strides))
    size = math.prod(window.kernel)
    if bool((counts != size).any()):
        for word, number in (("Mul", torch.tensor(float(size))), ("Div", counts)):
            layers.append(Apply(word, {}, [Operand(None, False), Operand(number.to(data.value), True)]))
    return nn.Sequential(*layers)


def _global_pool(node: OnnxNode, operands: list[Operand | None], _batched: bool) -> nn.Module | None:
    data = operands[0]
    assert data is not None
    average = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
    maximum = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)
    return _spatial(node, data.value, average if node.op_type == "GlobalAveragePool" else maximum)(1)


def _batch_norm(node: OnnxNode, operands: list[Operand | None], _batched: bool) -> nn.Module | None:
    data, *numbers = operands
    if data is None or len(numbers) != 4 or any(o is None or not o.constant for o in numbers):
        raise node.refuse("statistics computed from the data")
    if node.get("training_mode", 0) or any(node.outputs[1:]):
        raise node.refuse("training mode", "export the model in inference mode")
    if data.value.ndim > 5:
        raise node.refuse("data of more than five dimensions")
    scale, bias, mean, variance = (operand.value for operand in numbers if operand is not None)
    kind = nn.BatchNorm1d if data.value.ndim <= 3 else nn.BatchNorm2d if data.value.ndim == 4 else nn.BatchNorm3d
    layer = kind(len(scale), eps=node.get("epsilon", 1e-5), dtype=scale.dtype).eval()
    layer.weight.data, layer.bias.data = scale.clone(), bias.clone()
    layer.running_mean, layer.running_var = mean.clone(), variance.clone()
    return layer


def _clip(node: OnnxNode, operands: list[Operand | None], _batched: bool) -> nn.Module | None:
    ends = [node.get("min"), node.get("max")]
    for k in (1, 2):
        operand = operands[k] if k < len(operands) else None
        if operand is not None:
            if not operand.constant:
                return None
            ends[k - 1] = float(operand.value)
    low, high = ends
    if high is None or high >= 3.4e38:
        return nn.ReLU() if low == 0 else None
    if low is None or low <= -3.4e38 or low >= high:
        return None
    return nn.ReLU6() if (low, high) == (0, 6) else nn.Hardtanh(low, high)


def _softmax(node: OnnxNode, operands: list[Operand | None], _batched: bool) -> nn.Module | None:
    data = operands[0]
    assert data is not None
    log = node.op_type == "LogSoftmax"
    axis = node.get("axis", 1 if node.opset < 13 else -1)
    if node.opset < 13 and axis % data.value.ndim != data.value.ndim - 1:
        return Apply("SoftmaxOfBlock", {"axis": axis, "log": log}, [Operand(None, False)])
    return (nn.LogSoftmax if log else nn.Softmax)(axis)


def _prelu(node: OnnxNode, operands: list[Operand | None], _batched: bool) -> nn.Module | None:
    data, slope = operands
    if data is None or slope is None or not slope.constant:
        return None
    per_channel = slope.value.ndim == data.value.ndim - 1 > 0 and slope.value.shape[0] == slope.value.numel()
    if slope.value.numel() != 1 and not (per_channel and slope.value.numel() == data.value.shape[1]):
        return None
    layer = nn.PReLU(slope.value.numel(), dtype=slope.value.dtype)
    layer.weight.data = slope.value.reshape(-1).clone()
    return layer


def _plain(make: Callable[[OnnxNode], nn.Module]) -> Callable:
    return lambda node, _operands, _batched: make(node)


BUILDERS: dict[str, Callable[[OnnxNode, list[Operand | None], bool], nn.Module | None]] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "PRelu": _prelu,
    "Relu": _plain(lambda node: nn.ReLU()),
    "LeakyRelu": _plain(lambda node: nn.LeakyReLU(node.get("alpha", 0.01))),
    "Sigmoid": _plain(lambda node: nn.Sigmoid()),
    "Tanh": _plain(lambda node: nn.Tanh()),
    "Elu": _plain(lambda node: nn.ELU(node.get("alpha", 1.0))),
    "Celu": _plain(lambda node: nn.CELU(node.get("alpha", 1.0))),
    "Softplus": _plain(lambda node: nn.Softplus()),
    "HardSwish": _plain(lambda node: nn.Hardswish()),
    "Mish": _plain(lambda node: nn.Mish()),
    "Gelu": _plain(lambda node: nn.GELU(node.get("approximate", "none"))),
    "Identity": _plain(lambda node: nn.Identity()),
}
