"""ATen's normalisations in the words of the graph: layer, group, instance and RMS norms, local response norms.

Weights may be constants or depend on the input. `handler(builder, *args)` as in `normalise`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cutaway.network.graph.arithmetic import add, scale_shift
from cutaway.network.graph.builder import Builder, Ref
from cutaway.network.graph.node import Node


def _weighted(b: Builder, y: Ref, weight: Any, bias: Any) -> Ref:
    """y * weight + bias, each a constant, a value that depends on the input, or None."""
    if isinstance(weight, Ref):
        y, weight = b.emit("mul", y, weight), None
    if isinstance(bias, Ref):
        y = y if weight is None else scale_shift(b, y, weight)
        return add(b, y, bias)
    return y if weight is None and bias is None else scale_shift(b, y, weight, bias)


def _along_channels(b: Builder, weight: Any, rank: int) -> Any:
    """One number a channel, shaped to multiply data of `rank` dimensions."""
    if weight is None or rank <= 2:
        return weight
    tail = (1,) * (rank - 2)
    if isinstance(weight, Ref):
        return b.emit("reshape", weight, shape=(*b.shape(weight), *tail))
    return weight.reshape(-1, *tail)


def layer_norm(
    b: Builder, x: Ref, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Ref:
    options = {"num_dims": len(shape), "eps": float(eps)}
    if isinstance(weight, Ref) or isinstance(bias, Ref):
        return _weighted(b, b.emit("layer_norm", x, **options), weight, bias)
    return b.emit("layer_norm", x, constants={"weight": weight, "bias": bias}, **options)


def group_norm(
    b: Builder, x: Ref, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Ref:
    shape = b.shape(x)
    grouped = b.emit("reshape", x, shape=(shape[0], groups, math.prod(shape[1:]) // groups))
    y = b.emit("reshape", b.emit("layer_norm", grouped, num_dims=1, eps=float(eps)), shape=shape)
    return _weighted(b, y, *(_along_channels(b, v, len(shape)) for v in (weight, bias)))


def instance_norm(b: Builder, x: Ref, weight: Any, bias: Any, *rest: Any) -> Any:
    """Batch norm by the sample's own statistics, which is what InstanceNorm becomes."""
    shape = b.shape(x)
    if len(rest) != 3 or not rest[0] or shape[0] != 1:  # running statistics, or a batch inside the sample
        return NotImplemented
    return group_norm(b, x, shape[1], weight, bias, rest[2]), None, None


def rms_norm(b: Builder, x: Ref, shape: Sequence[int], weight: Any = None, eps: float | None = None) -> Ref:
    rank = len(b.shape(x))
    dims = tuple(range(rank - len(shape), rank))
    eps = torch.finfo(b.value(x).dtype).eps if eps is None else eps
    size = b.emit("mean", b.emit("square", x), dims=dims, keepdim=True)
    y = b.emit("mul", x, b.emit("rsqrt", scale_shift(b, size, shift=float(eps))))
    return _weighted(b, y, weight, None)


EXPONENTS = {"sqrt": 0.5, "square": 2.0}


def local_response_norm(b: Builder, x: Ref, y: Ref) -> Ref | None:
    """The word for x / y where torch has spelled a local response norm out: y = (k + alpha * mean of x^2)^beta, the
    mean being an average pooling over neighbouring channels with a padding of zeros. None for any other division."""
    node, beta = b.nodes[y.index], 1.0
    if node.op == "power" or node.op in EXPONENTS:
        beta = EXPONENTS.get(node.op) or float(node.attributes["exponent"])
        node = b.nodes[node.inputs[0]]
    k, alpha = _number(node, "shift"), 1.0
    if node.op != "scale_shift" or k is None or "scale" in node.constants:
        return None
    node = b.nodes[node.inputs[0]]
    if node.op == "scale_shift" and "shift" not in node.constants:
        alpha, node = _number(node, "scale"), b.nodes[node.inputs[0]]
    pool = _without_reshapes(b, node)
    pad = _without_reshapes(b, b.nodes[pool.inputs[0]]) if pool.op == "avg_pool" else pool
    square = _without_reshapes(b, b.nodes[pad.inputs[0]]) if pad.op == "pad" else pad
    if alpha is None or pool.op != "avg_pool" or square.op != "square" or square.inputs != (x.index,):
        return None
    size = pool.attributes["kernel"][0]
    if not _over_channels(b.shape(x), b.nodes[pad.inputs[0]].shape, pad, pool):
        return None
    return b.emit("local_response_norm", x, size=size, alpha=alpha, beta=beta, k=k)


def _over_channels(shape: tuple[int, ...], wide: tuple[int, ...], pad: Node, pool: Node) -> bool:
    """Whether the pooling of data of shape `wide`, once (rows, channels, ...), takes windows of channels, as torch
    pads them."""
    size, *ones = pool.attributes["kernel"]
    expected = (shape[0], 1, *shape[1:]) if len(ones) == 1 else (shape[0], 1, *shape[1:3], math.prod(shape[3:]))
    margins = (*(0,) * (2 * len(ones)), size // 2, (size - 1) // 2)
    plain = {"stride": (1,) * (1 + len(ones)), "padding": (0,) * (1 + len(ones)), "divisor": None}
    return (
        wide == expected
        and set(ones) <= {1}
        and tuple(pad.attributes["pad"]) == margins
        and pad.attributes["value"] == 0
        and all((tuple(v) if isinstance(v := pool.attributes[k], list) else v) == w for k, w in plain.items())
    )


def _number(node: Node, name: str) -> float | None:
    constant: Tensor | None = node.constants.get(name)
    return float(constant) if constant is not None and constant.numel() == 1 else None


def _without_reshapes(b: Builder, node: Node) -> Node:
    while node.op == "reshape":
        node = b.nodes[node.inputs[0]]
    return node
