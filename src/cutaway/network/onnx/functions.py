"""ONNX operators as functions of torch tensors, and of shapes.

A *host* value is a Python int or tuple of ints: what `Shape` gives, and what arithmetic on it gives. Host values stay
exact and symbolic when `torch.export` traces with a free batch, so that Reshape(Concat(Shape(x)[0], 512)) keeps the
batch open. Every function here is called as function(attributes, *operands); a missing optional operand is None.
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

from cutaway.network.onnx.normalisations import group_norm, instance_norm, layer_norm, local_response_norm, rms_norm

MOST_SIZES = 10**6
HOST = (int, tuple, torch.SymInt)


def is_host(value: Any) -> bool:
    """Whether a value is a shape or a size rather than a tensor."""
    return isinstance(value, HOST)


def as_tuple(value: Any) -> tuple:
    """A host value, list or integer tensor as a tuple of ints."""
    if isinstance(value, Tensor):
        value = to_host(value)
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def to_host(value: Tensor) -> Any:
    """An integer tensor of at most one dimension as int or tuple. Raises ValueError for more than a million sizes."""
    if value.numel() > MOST_SIZES:
        raise ValueError(f"{value.numel()} sizes or positions, more than {MOST_SIZES}")
    listed = value.tolist()
    return tuple(listed) if isinstance(listed, list) else listed


def as_tensors(operands: Sequence[Any]) -> list[Any]:
    """Sizes beside tensors are data, as tensors."""
    return [torch.tensor(o) if is_host(o) else o for o in operands]


def _elementwise(tensor_function: Callable, host_function: Callable | None = None) -> Callable:
    def apply(_attributes, *operands):
        if host_function is not None and all(is_host(o) for o in operands):
            return _on_host(host_function, *operands)
        return tensor_function(*as_tensors(operands))

    return apply


def _on_host(function: Callable, *operands) -> Any:
    if not any(isinstance(o, tuple) for o in operands):
        return function(*operands)
    return tuple(function(*entries) for entries in columns(operands))


def columns(operands: Sequence[Any]) -> list[tuple]:
    """The entries of host values side by side, one number or a tuple of one broadcast."""
    listed = [as_tuple(o) for o in operands]
    length = next((len(o) for o in listed if len(o) != 1), 1)
    return list(zip(*(o * length if len(o) == 1 else o for o in listed)))


def _divide(a: Tensor, b: Any) -> Tensor:
    if not a.is_floating_point() and not (isinstance(b, Tensor) and b.is_floating_point()):
        return torch.div(a, b, rounding_mode="trunc")
    return a / b


def _host_divide(a, b):
    return a // b if (a >= 0) == (b > 0) else -(-a // b)


def _modulo(attributes, a, b):
    """fmod 1: the sign of `a` (C's fmod); 0: the sign of `b` (integers only)."""
    if attributes.get("fmod", 0):
        return _elementwise(torch.fmod, lambda x, y: int(math.fmod(x, y)))(attributes, a, b)
    return _elementwise(torch.remainder, operator.mod)(attributes, a, b)


def _shape(attributes, x):
    start, end = attributes.get("start", 0), attributes.get("end")
    return tuple(x.shape)[start:end]


def _reshape(attributes, x, shape):
    if is_host(x):
        return as_tuple(x) if as_tuple(shape) else as_tuple(x)[0]
    target = list(as_tuple(shape))
    if not attributes.get("allowzero", 0):
        target = [x.shape[k] if isinstance(size, int) and size == 0 else size for k, size in enumerate(target)]
    if attributes.get("keep_batch"):
        target[0] = x.shape[0]
    return x.reshape(target)


def _flatten(attributes, x):
    axis = attributes.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    if axis == 1:
        return x.flatten(1) if x.ndim > 1 else x[:, None]
    head = functools.reduce(operator.mul, x.shape[:axis], 1)
    return x.reshape(head, -1)


def _transpose(attributes, x):
    return x.permute(tuple(attributes.get("perm", range(x.ndim)[::-1])))


def _squeeze(attributes, x, axes=None):
    if is_host(x):
        return as_tuple(x)[0] if isinstance(x, tuple) and len(x) == 1 else x
    if axes is None:
        return x.squeeze()
    return x.squeeze(tuple(as_tuple(axes)))


def _unsqueeze(attributes, x, axes):
    if is_host(x):
        return as_tuple(x)
    ndim = x.ndim + len(as_tuple(axes))
    for axis in sorted(axis % ndim for axis in as_tuple(axes)):
        x = x.unsqueeze(axis)
    return x


def _concat(attributes, *parts):
    if any(is_host(part) for part in parts):
        return tuple(entry for part in parts for entry in as_tuple(part))
    return torch.cat(parts, attributes["axis"])


def _slice(attributes, x, starts, ends, axes=None, steps=None):
    starts, ends = as_tuple(starts), as_tuple(ends)
    axes = range(len(starts)) if axes is None else as_tuple(axes)
    steps = (1,) * len(starts) if steps is None else as_tuple(steps)
    if is_host(x):
        return as_tuple(x)[starts[0] : ends[0] : steps[0]]
    for start, end, axis, step in zip(starts, ends, axes, steps):
        axis = axis % x.ndim
        if step > 0:
            index: list[Any] = [slice(None)] * x.ndim
            index[axis] = slice(start, end, step)
            x = x[tuple(index)]
        else:  # torch has no negative steps
            size = x.shape[axis]
            first = min(max(start + size if start < 0 else start, 0), size - 1)
            last = min(max(end + size if end < 0 else end, -1), size - 1)
            rows = torch.tensor(list(range(first, last, step)), dtype=torch.int64, device=x.device)
            x = x.index_select(axis, rows)
    return x


def _gather(attributes, x, indices):
    axis = attributes.get("axis", 0)
    if is_host(x):
        listed = as_tuple(x)
        chosen = to_host(indices) if isinstance(indices, Tensor) else indices
        return tuple(listed[k] for k in chosen) if isinstance(chosen, tuple) else listed[chosen]
    axis = axis % x.ndim
    if is_host(indices):
        if not isinstance(indices, tuple):
            return x.select(axis, indices)
        indices = torch.tensor(indices, device=x.device)
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    picked = x.index_select(axis, indices.reshape(-1))
    return picked.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _pad(attributes, x, pads, value=None, axes=None):
    pads = as_tuple(pads)
    half = len(pads) // 2
    axes = range(x.ndim) if axes is None else [axis % x.ndim for axis in as_tuple(axes)]
    flat = [0] * (2 * x.ndim)
    for k, axis in enumerate(axes):
        at = 2 * (x.ndim - 1 - axis)
        flat[at], flat[at + 1] = pads[k], pads[half + k]
    while len(flat) > 2 and flat[-2:] == [0, 0]:
        flat = flat[:-2]
    mode = attributes.get("mode", "constant")
    if mode == "constant":
        return F.pad(x, flat, value=0.0 if value is None else float(value))
    for axis in axes:
        at = 2 * (x.ndim - 1 - axis)
        if at < len(flat) and flat[at : at + 2] != [0, 0]:
            x = x.index_select(axis, _padded(x.shape[axis], flat[at], flat[at + 1], mode).to(x.device))
    return x


def _padded(size: int, before: int, after: int, mode: str) -> Tensor:
    """Which entry stands at each position of a padded dimension."""
    at = torch.arange(-before, size + after)
    if mode == "edge":
        return at.clamp(0, size - 1)
    if mode == "wrap":
        return at % size
    period = max(1, 2 * (size - 1))
    return torch.minimum(at % period, -at % period)


def _expand(attributes, x, shape):
    return x.expand(torch.broadcast_shapes(tuple(x.shape), as_tuple(shape)))


def _split(attributes, x, sizes=None):
    axis = attributes.get("axis", 0) % x.ndim
    if sizes is None:
        parts = attributes["num_outputs"]
        sizes = -(-x.shape[axis] // parts)
        return list(x.split(sizes, axis))
    return list(x.split(list(as_tuple(sizes)), axis))


def _cast(attributes, x):
    return x if is_host(x) and not attributes["to"].is_floating_point else torch.as_tensor(x).to(attributes["to"])


def _constant_of_shape(attributes, shape):
    value = attributes.get("value")
    fill = 0.0 if value is None else value.reshape(-1)[0].item()
    return torch.full(as_tuple(shape), fill, dtype=attributes["to"])


def _range(attributes, start, limit, delta):
    numbers = [o.item() if isinstance(o, Tensor) else o for o in (start, limit, delta)]
    return torch.arange(*numbers)


def _where(attributes, condition, a, b):
    if all(is_host(o) for o in (condition, a, b)):
        return _on_host(lambda c, x, y: x if c else y, condition, a, b)
    condition, a, b = as_tensors((condition, a, b))
    return torch.where(condition.bool(), a, b)


def _reduce(function: Callable) -> Callable:
    def apply(attributes, x, axes=None):
        keep = bool(attributes.get("keepdims", 1))
        dims = () if axes is None else tuple(as_tuple(axes))
        if not dims and attributes.get("noop_with_empty_axes"):
            return function(x.unsqueeze(-1), (-1,), False)  # every number alone: |x| of a norm, x**2 of squares
        return function(x, dims or tuple(range(x.ndim)), keep)

    return apply


def _reduce_product(x, dims, keep):
    for dim in sorted((d % x.ndim for d in dims), reverse=True):
        x = x.prod(dim, keepdim=keep)
    return x


def _host_product(attributes, x, axes=None):
    if is_host(x):
        product = functools.reduce(operator.mul, as_tuple(x), 1)
        return (product,) if attributes.get("keepdims", 1) else product
    return _reduce(_reduce_product)(attributes, x, axes)


def _gemm(attributes, a, b, c=None):
    a = a.transpose(-1, -2) if attributes.get("transA") else a
    b = b.transpose(-1, -2) if attributes.get("transB") else b
    result = attributes.get("alpha", 1.0) * (a @ b)
    return result if c is None else result + attributes.get("beta", 1.0) * c


def _softmax_of_block(attributes, x):
    """Softmax before opset 13: over all dimensions from axis on, together."""
    axis = attributes["axis"] % x.ndim
    block = x.flatten(axis)
    function = F.log_softmax if attributes.get("log") else F.softmax
    return function(block, -1).reshape(x.shape)


def _einsum(attributes, *operands):
    return torch.einsum(attributes["equation"], *operands)


def _arg(function: Callable) -> Callable:
    def apply(attributes, x):
        axis, keep = attributes.get("axis", 0), bool(attributes.get("keepdims", 1))
        if attributes.get("select_last_index", 0):
            return x.shape[axis] - 1 - function(x.flip(axis), axis, keep)
        return function(x, axis, keep)

    return apply


def _fold(function: Callable) -> Callable:
    return lambda _attributes, *operands: functools.reduce(function, operands)


def _selu(attributes, x):
    alpha, gamma = attributes.get("alpha", 1.6732632), attributes.get("gamma", 1.0507010)
    return gamma * F.elu(x, alpha)


def _hard_sigmoid(attributes, x):
    return torch.clamp(attributes.get("alpha", 0.2) * x + attributes.get("beta", 0.5), 0, 1)


def _prelu(attributes, x, slope):
    return torch.where(x >= 0, x, slope * x)


FUNCTIONS: dict[str, Callable] = {
    "Add": _elementwise(torch.add, operator.add),
    "Sub": _elementwise(torch.sub, operator.sub),
    "Mul": _elementwise(torch.mul, operator.mul),
    "Div": _elementwise(_divide, _host_divide),
    "Mod": _modulo,
    "Pow": _elementwise(torch.pow),
    "Neg": _elementwise(torch.neg, operator.neg),
    "Abs": _elementwise(torch.abs),
    "Exp": _elementwise(torch.exp),
    "Log": _elementwise(torch.log),
    "Sqrt": _elementwise(torch.sqrt),
    "Reciprocal": _elementwise(torch.reciprocal),
    "Erf": _elementwise(torch.erf),
    "Sin": _elementwise(torch.sin),
    "Cos": _elementwise(torch.cos),
    "Floor": _elementwise(torch.floor),
    "Ceil": _elementwise(torch.ceil),
    "Round": _elementwise(torch.round),
    "Atan": _elementwise(torch.atan),
    "ThresholdedRelu": lambda attributes, x: F.threshold(x, attributes.get("alpha", 1.0), 0.0),
    "Sign": _elementwise(torch.sign),
    "Softsign": _elementwise(F.softsign),
    "Not": _elementwise(torch.logical_not),
    "And": _elementwise(torch.logical_and),
    "Or": _elementwise(torch.logical_or),
    "Equal": _elementwise(torch.eq, operator.eq),
    "Greater": _elementwise(torch.gt, operator.gt),
    "GreaterOrEqual": _elementwise(torch.ge, operator.ge),
    "Less": _elementwise(torch.lt, operator.lt),
    "LessOrEqual": _elementwise(torch.le, operator.le),
    "Clip": lambda _attributes, x, low=None, high=None: x if low is high is None else torch.clamp(x, low, high),
    "Max": _fold(torch.maximum),
    "Min": _fold(torch.minimum),
    "Sum": _fold(torch.add),
    "Mean": lambda _attributes, *operands: functools.reduce(torch.add, operands) / len(operands),
    "MatMul": _elementwise(torch.matmul),
    "Gemm": _gemm,
    "Einsum": _einsum,
    "Identity": lambda _attributes, x: x,
    "Dropout": lambda _attributes, x: x,
    "Shape": _shape,
    "Size": lambda _attributes, x: functools.reduce(operator.mul, x.shape, 1),
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
    "Expand": _expand,
    "Tile": lambda _attributes, x, repeats: x.repeat(as_tuple(repeats)),
    "Split": _split,
    "Cast": _cast,
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
    "LayerNormalization": layer_norm,
    "GroupNormalization": group_norm,
    "InstanceNormalization": instance_norm,
    "RMSNormalization": rms_norm,
    "LRN": local_response_norm,
    "PRelu": _prelu,
    "Selu": _selu,
    "HardSigmoid": _hard_sigmoid,
    "SoftmaxOfBlock": _softmax_of_block,
}
