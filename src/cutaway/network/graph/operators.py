"""What every operator of the graph vocabulary computes, on one sample (see `cutaway.network.graph` for the table)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.network.graph.node import Node

Values = list[Tensor]

AFFINE_OPERATORS = frozenset(
    [
        "linear",
        "convolution",
        "constant_matmul",
        "scale_shift",
        "add",
        "sum",
        "mean",
        "avg_pool",
        "adaptive_avg_pool",
        "reshape",
        "permute",
        "expand",
        "slice",
        "cat",
        "pad",
        "take",
    ]
)
"""Operators of the vocabulary that are affine in their inputs; slices and bounds read the same list."""


def apply_node(node: Node, values: Values) -> Tensor:
    """The node's value for given input values; unknown operators run their own ATen target."""
    known = OPERATORS.get(node.op)
    if known is not None:
        return known(node, values)
    return _run_target(node, values)


def resolve_target(name: str):
    """`aten.add.Tensor` -> the operator object of torch."""
    found = torch.ops
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _run_target(node: Node, values: Values) -> Tensor:
    def fill(item):
        if isinstance(item, Slot):
            return values[item.position]
        if isinstance(item, list | tuple):
            return type(item)(fill(i) for i in item)
        return item

    arguments = [fill(a) for a in node.attributes["args"]]
    result = resolve_target(node.attributes["target"])(  # pyright: ignore[reportCallIssue]
        *arguments, **{k: fill(v) for k, v in node.attributes["kwargs"].items()}
    )
    position = node.attributes.get("output")
    return result if position is None else result[position]


class Slot:
    """Stands for the i-th input node inside the kept arguments of an unknown operator."""

    __slots__ = ("position",)

    def __init__(self, position: int) -> None:
        self.position = position

    def __repr__(self) -> str:
        return f"Slot({self.position})"


def _scale_shift(node: Node, v: Values) -> Tensor:
    y = v[0]
    if "scale" in node.constants:
        y = y * node.constants["scale"]
    if "shift" in node.constants:
        y = y + node.constants["shift"]
    return y


def _add(node: Node, v: Values) -> Tensor:
    total = None
    for coefficient, value in zip(node.attributes["coefficients"], v):
        term = value if coefficient == 1 else coefficient * value
        total = term if total is None else total + term
    assert total is not None
    return total


def _convolution(node: Node, v: Values) -> Tensor:
    a, c = node.attributes, node.constants
    spatial = len(a["stride"])
    x = v[0] if v[0].ndim == spatial + 2 else v[0][None]
    y = torch.convolution(
        x,
        c["weight"],
        c.get("bias"),
        a["stride"],
        a["padding"],
        a["dilation"],
        a["transposed"],
        a["output_padding"],
        a["groups"],
    )
    return y if v[0].ndim == spatial + 2 else y[0]


def _constant_matmul(node: Node, v: Values) -> Tensor:
    matrix = node.constants["matrix"]
    return matrix @ v[0] if node.attributes["left"] else v[0] @ matrix


_AVG = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_ADAPTIVE = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def _avg_pool(node: Node, v: Values) -> Tensor:
    a = node.attributes
    options = {} if len(a["kernel"]) == 1 else {"divisor_override": a["divisor"]}
    return _AVG[len(a["kernel"])](
        v[0], a["kernel"], a["stride"], a["padding"], a["ceil_mode"], a["count_include_pad"], **options
    )


def _max_pool(node: Node, v: Values) -> Tensor:
    a = node.attributes
    return _MAX[len(a["kernel"])](v[0], a["kernel"], a["stride"], a["padding"], a["dilation"], a["ceil_mode"])


def _take(node: Node, v: Values) -> Tensor:
    return v[0].reshape(-1)[node.constants["index"]].reshape(node.shape)


def _slice(node: Node, v: Values) -> Tensor:
    a = node.attributes
    where = [slice(None)] * v[0].ndim
    where[a["dim"]] = slice(a["start"], a["end"], a["step"])
    return v[0][tuple(where)]


def _leaky_relu(node: Node, v: Values) -> Tensor:
    return v[0].clamp(min=0) + node.constants["slope"] * v[0].clamp(max=0)


def _elu(node: Node, v: Values) -> Tensor:
    a = node.attributes
    return a["scale"] * (v[0].clamp(min=0) + a["alpha"] * torch.expm1(a["input_scale"] * v[0].clamp(max=0)))


def _softplus(node: Node, v: Values) -> Tensor:
    z = node.attributes["beta"] * v[0]
    return (z.clamp(min=0) + torch.log1p(torch.exp(-z.abs()))) / node.attributes["beta"]


def _layer_norm(node: Node, v: Values) -> Tensor:
    shape = v[0].shape[v[0].ndim - node.attributes["num_dims"] :]
    c = node.constants
    return F.layer_norm(v[0], shape, c.get("weight"), c.get("bias"), node.attributes["eps"])


def _elementwise(function: Callable[[Tensor], Tensor]) -> Callable[[Node, Values], Tensor]:
    return lambda node, v: function(v[0])


OPERATORS: dict[str, Callable[[Node, Values], Tensor]] = {
    "constant": lambda n, v: n.constants["value"],
    "linear": lambda n, v: F.linear(v[0], n.constants["weight"], n.constants.get("bias")),
    "convolution": _convolution,
    "constant_matmul": _constant_matmul,
    "scale_shift": _scale_shift,
    "add": _add,
    "sum": lambda n, v: v[0].sum(n.attributes["dims"], keepdim=n.attributes["keepdim"]),
    "mean": lambda n, v: v[0].mean(n.attributes["dims"], keepdim=n.attributes["keepdim"]),
    "avg_pool": _avg_pool,
    "adaptive_avg_pool": lambda n, v: _ADAPTIVE[len(n.attributes["size"])](v[0], n.attributes["size"]),
    "reshape": lambda n, v: v[0].reshape(n.shape),
    "permute": lambda n, v: v[0].permute(n.attributes["dims"]),
    "expand": lambda n, v: v[0].expand(n.shape),
    "slice": _slice,
    "cat": lambda n, v: torch.cat(v, n.attributes["dim"]),
    "pad": lambda n, v: F.pad(v[0], n.attributes["pad"], value=n.attributes["value"]),
    "take": _take,
    "relu": _elementwise(torch.relu),
    "abs": _elementwise(torch.abs),
    "leaky_relu": _leaky_relu,
    "clamp": lambda n, v: v[0].clamp(n.attributes["min"], n.attributes["max"]),
    "maximum": lambda n, v: torch.maximum(v[0], v[1]),
    "minimum": lambda n, v: torch.minimum(v[0], v[1]),
    "max_reduce": lambda n, v: v[0].amax(n.attributes["dims"], keepdim=n.attributes["keepdim"]),
    "max_pool": _max_pool,
    "sigmoid": _elementwise(torch.sigmoid),
    "tanh": _elementwise(torch.tanh),
    "silu": _elementwise(F.silu),
    "mish": _elementwise(F.mish),
    "erf": _elementwise(torch.erf),
    "exp": _elementwise(torch.exp),
    "log": _elementwise(torch.log),
    "sqrt": _elementwise(torch.sqrt),
    "rsqrt": _elementwise(torch.rsqrt),
    "reciprocal": _elementwise(torch.reciprocal),
    "square": _elementwise(torch.square),
    "sin": _elementwise(torch.sin),
    "cos": _elementwise(torch.cos),
    "gelu": lambda n, v: F.gelu(v[0], approximate=n.attributes["approximate"]),
    "elu": _elu,
    "softplus": _softplus,
    "power": lambda n, v: v[0] ** n.attributes["exponent"],
    "mul": lambda n, v: v[0] * v[1],
    "matmul": lambda n, v: v[0] @ v[1],
    "softmax": lambda n, v: v[0].softmax(n.attributes["dim"]),
    "log_softmax": lambda n, v: v[0].log_softmax(n.attributes["dim"]),
    "layer_norm": _layer_norm,
    "embedding": lambda n, v: F.embedding(v[0], n.constants["weight"]),
}
"""op -> function of (node, input values of one sample)."""
