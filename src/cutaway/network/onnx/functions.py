"""ONNX operators as functions of torch tensors, and of shapes (host values, see `host`).

Every function here is called as function(attributes, *operands); a missing optional operand is None.
Semantics: the ONNX operator specification, https://onnx.ai/onnx/operators/ (opsets 7 to 23; differences between
opsets are settled in layers.py).
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from cutaway.errors import UnsupportedOperator
from cutaway.network.onnx.host import as_tensors, as_tuple, elementwise, is_host, on_host
from cutaway.network.onnx.moves import MOVES
from cutaway.network.onnx.normalisations import (
    onnx_group_norm,
    onnx_instance_norm,
    onnx_layer_norm,
    onnx_local_response_norm,
    onnx_rms_norm,
)


def _divide(a: Tensor, b: Any) -> Tensor:
    if not a.is_floating_point() and not (isinstance(b, Tensor) and b.is_floating_point()):
        return torch.div(a, b, rounding_mode="trunc")
    return a / b


def _host_divide(a: int, b: int):
    return a // b if (a >= 0) == (b > 0) else -(-a // b)


def _modulo(attributes: dict[str, Any], a: Any, b: Any):
    """fmod 1: the sign of `a` (C's fmod); 0: the sign of `b` (integers only)."""
    if attributes.get("fmod", 0):
        return elementwise(torch.fmod, lambda x, y: int(math.fmod(x, y)))(attributes, a, b)
    return elementwise(torch.remainder, operator.mod)(attributes, a, b)


def _cast(attributes: dict[str, Any], x: Any):
    return x if is_host(x) and not attributes["to"].is_floating_point else torch.as_tensor(x).to(attributes["to"])


def _dropout(_attributes: dict[str, Any], x: Tensor, _ratio: Any = None, training: Any = None):
    """The identity of inference; a file that says `training_mode` draws at random and is refused."""
    if training is not None and bool(torch.as_tensor(training).any()):
        raise UnsupportedOperator(
            "Dropout", found="training_mode true", expected="inference", remedy="export the model in evaluation mode"
        )
    return x


def _dequantize(attributes: dict[str, Any], x: Tensor, scale: Tensor, zero: Tensor | None = None):
    """(x - zero) scale, with one scale for all, for each index of `axis`, or for each `block_size` of them."""
    axis, block = attributes.get("axis", 1), attributes.get("block_size", 0)
    whole = x.to(scale.dtype)
    if zero is not None:
        whole = whole - _along(zero, x, axis, block).to(scale.dtype)
    return whole * _along(scale, x, axis, block)


def _along(values: Tensor, x: Tensor, axis: int, block: int) -> Tensor:
    if block:
        return values.index_select(axis, torch.arange(x.shape[axis]) // block)
    if values.numel() == 1:
        return values.reshape(())
    return values.reshape(-1, *[1] * (x.ndim - 1 - axis % x.ndim))


def _constant_of_shape(attributes: dict[str, Any], shape: Any):
    value = attributes.get("value")
    fill = 0.0 if value is None else value.reshape(-1)[0].item()
    return torch.full(as_tuple(shape), fill, dtype=attributes["to"])


def _range(attributes: dict[str, Any], start: Any, limit: Any, delta: Any):
    numbers = [o.item() if isinstance(o, Tensor) else o for o in (start, limit, delta)]
    return torch.arange(*numbers)


def _where(attributes: dict[str, Any], condition: Any, a: Any, b: Any):
    if all(is_host(o) for o in (condition, a, b)):
        return on_host(lambda c, x, y: x if c else y, condition, a, b)
    condition, a, b = as_tensors((condition, a, b))
    return torch.where(condition.bool(), a, b)


def _reduce(function: Callable) -> Callable:
    def apply(attributes: dict[str, Any], x: Tensor, axes: Any = None):
        keep = bool(attributes.get("keepdims", 1))
        dims = () if axes is None else tuple(as_tuple(axes))
        if not dims and attributes.get("noop_with_empty_axes"):
            return function(x.unsqueeze(-1), (-1,), False)  # every number alone: |x| of a norm, x**2 of squares
        return function(x, dims or tuple(range(x.ndim)), keep)

    return apply


def _reduce_product(x: Tensor, dims: Sequence[int], keep: bool):
    for dim in sorted((d % x.ndim for d in dims), reverse=True):
        x = x.prod(dim, keepdim=keep)
    return x


def _host_product(attributes: dict[str, Any], x: Any, axes: Any = None):
    if is_host(x):
        product = functools.reduce(operator.mul, as_tuple(x), 1)
        return (product,) if attributes.get("keepdims", 1) else product
    return _reduce(_reduce_product)(attributes, x, axes)


def _gemm(attributes: dict[str, Any], a: Any, b: Any, c: Any = None):
    a = a.transpose(-1, -2) if attributes.get("transA") else a
    b = b.transpose(-1, -2) if attributes.get("transB") else b
    result = attributes.get("alpha", 1.0) * (a @ b)
    return result if c is None else result + attributes.get("beta", 1.0) * c


def _softmax_of_block(attributes: dict[str, Any], x: Tensor):
    """Softmax before opset 13: over all dimensions from axis on, together."""
    axis = attributes["axis"] % x.ndim
    block = x.flatten(axis)
    function = F.log_softmax if attributes.get("log") else F.softmax
    return function(block, -1).reshape(x.shape)


def _einsum(attributes: dict[str, Any], *operands: Any):
    return torch.einsum(attributes["equation"], *operands)


def _arg(function: Callable) -> Callable:
    def apply(attributes: dict[str, Any], x: Tensor):
        axis, keep = attributes.get("axis", 0), bool(attributes.get("keepdims", 1))
        if attributes.get("select_last_index", 0):
            return x.shape[axis] - 1 - function(x.flip(axis), axis, keep)
        return function(x, axis, keep)

    return apply


def _fold(function: Callable) -> Callable:
    return lambda _attributes, *operands: functools.reduce(function, operands)


def _selu(attributes: dict[str, Any], x: Tensor):
    alpha, gamma = attributes.get("alpha", 1.6732632), attributes.get("gamma", 1.0507010)
    return gamma * F.elu(x, alpha)


def _hard_sigmoid(attributes: dict[str, Any], x: Tensor):
    return torch.clamp(attributes.get("alpha", 0.2) * x + attributes.get("beta", 0.5), 0, 1)


def _prelu(attributes: dict[str, Any], x: Tensor, slope: Tensor):
    return torch.where(x >= 0, x, slope * x)


FUNCTIONS: dict[str, Callable] = {
    **MOVES,
    "Add": elementwise(torch.add, operator.add),
    "Sub": elementwise(torch.sub, operator.sub),
    "Mul": elementwise(torch.mul, operator.mul),
    "Div": elementwise(_divide, _host_divide),
    "Mod": _modulo,
    "Pow": elementwise(torch.pow),
    "Neg": elementwise(torch.neg, operator.neg),
    "Abs": elementwise(torch.abs),
    "Exp": elementwise(torch.exp),
    "Log": elementwise(torch.log),
    "Sqrt": elementwise(torch.sqrt),
    "Reciprocal": elementwise(torch.reciprocal),
    "Erf": elementwise(torch.erf),
    "Sin": elementwise(torch.sin),
    "Cos": elementwise(torch.cos),
    "Floor": elementwise(torch.floor),
    "Ceil": elementwise(torch.ceil),
    "Round": elementwise(torch.round),
    "Atan": elementwise(torch.atan),
    "ThresholdedRelu": lambda attributes, x: F.threshold(x, attributes.get("alpha", 1.0), 0.0),
    "Sign": elementwise(torch.sign),
    "Softsign": elementwise(F.softsign),
    "Not": elementwise(torch.logical_not),
    "And": elementwise(torch.logical_and),
    "Or": elementwise(torch.logical_or),
    "Equal": elementwise(torch.eq, operator.eq),
    "Greater": elementwise(torch.gt, operator.gt),
    "GreaterOrEqual": elementwise(torch.ge, operator.ge),
    "Less": elementwise(torch.lt, operator.lt),
    "LessOrEqual": elementwise(torch.le, operator.le),
    "Clip": lambda _attributes, x, low=None, high=None: x if low is high is None else torch.clamp(x, low, high),
    "Max": _fold(torch.maximum),
    "Min": _fold(torch.minimum),
    "Sum": _fold(torch.add),
    "Mean": lambda _attributes, *operands: functools.reduce(torch.add, operands) / len(operands),
    "MatMul": elementwise(torch.matmul),
    "Gemm": _gemm,
    "Einsum": _einsum,
    "Identity": lambda _attributes, x: x,
    "Dropout": _dropout,
    "Size": lambda _attributes, x: functools.reduce(operator.mul, x.shape, 1),
    "Tile": lambda _attributes, x, repeats: x.repeat(as_tuple(repeats)),
    "Cast": _cast,
    "DequantizeLinear": _dequantize,
    "Constant": lambda attributes: attributes["value"],
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Where": _where,
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMin": _reduce(torch.amin),
    "ReduceProd": _host_product,
    "ReduceL1": _reduce(lambda x, dims, keep: x.abs().sum(dims, keep)),
    "ReduceL2": _reduce(lambda x, dims, keep: x.square().sum(dims, keep).sqrt()),
    "ReduceSumSquare": _reduce(lambda x, dims, keep: x.square().sum(dims, keep)),
    "ArgMax": _arg(torch.argmax),
    "ArgMin": _arg(torch.argmin),
    "LayerNormalization": onnx_layer_norm,
    "GroupNormalization": onnx_group_norm,
    "InstanceNormalization": onnx_instance_norm,
    "RMSNormalization": onnx_rms_norm,
    "LRN": onnx_local_response_norm,
    "PRelu": _prelu,
    "Selu": _selu,
    "HardSigmoid": _hard_sigmoid,
    "SoftmaxOfBlock": _softmax_of_block,
}
