"""What every operator of the graph vocabulary computes, on one sample (see `cutaway.network.graph` for the table)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.network.graph.fact import Form
from cutaway.network.graph.facts import CURVES, FACTS, of
from cutaway.network.graph.node import Node

Values = Sequence[Tensor]


def apply_node(node: Node, values: Values) -> Tensor:
    """The node's value for given input values; unknown operators run their own ATen target."""
    known = OPERATORS.get(node.op)
    if known is not None:
        return known(node, values)
    return _run_target(node, values)


def applied(node: Node) -> Callable[..., Tensor]:
    """`apply_node` as a function of the inputs one by one, as torch's transforms want it."""

    def function(*values: Tensor) -> Tensor:
        return apply_node(node, values)

    return function


def resolve_target(name: str) -> Callable[..., Any]:
    """`aten.add.Tensor` -> the operator object of torch."""
    found: Any = torch.ops
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _run_target(node: Node, values: Values) -> Tensor:
    def fill(item: Any) -> Any:
        if isinstance(item, Slot):
            return values[item.position]
        if isinstance(item, list | tuple):
            return type(item)(fill(i) for i in item)
        return item

    arguments = [fill(a) for a in node.attributes["args"]]
    result = resolve_target(node.attributes["target"])(
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
    x = F.pad(v[0], a["pads"], value=-math.inf) if "pads" in a else v[0]
    return _MAX[len(a["kernel"])](x, a["kernel"], a["stride"], a["padding"], a["dilation"], a["ceil_mode"])


def _take(node: Node, v: Values) -> Tensor:
    return v[0].reshape(-1)[node.constants["index"]].reshape(node.shape)


def _slice(node: Node, v: Values) -> Tensor:
    a = node.attributes
    where = [slice(None)] * v[0].ndim
    where[a["dim"]] = slice(a["start"], a["end"], a["step"])
    return v[0][tuple(where)]


def _layer_norm(node: Node, v: Values) -> Tensor:
    shape = v[0].shape[v[0].ndim - node.attributes["num_dims"] :]
    c = node.constants
    return F.layer_norm(v[0], shape, c.get("weight"), c.get("bias"), node.attributes["eps"])


def _local_response_norm(node: Node, v: Values) -> Tensor:
    a = node.attributes
    return F.local_response_norm(v[0], a["size"], a["alpha"], a["beta"], a["k"])


def _of_one_number(function: Callable[[Node, Tensor], Tensor]) -> Callable[[Node, Values], Tensor]:
    return lambda node, v: function(node, v[0])


OPERATORS: dict[str, Callable[[Node, Values], Tensor]] = {
    **{word: _of_one_number(f) for word in CURVES if (f := FACTS[word].function) is not None},
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
    "cat": lambda n, v: torch.cat(list(v), n.attributes["dim"]),
    "pad": lambda n, v: F.pad(v[0], n.attributes["pad"], value=n.attributes["value"]),
    "take": _take,
    "maximum": lambda n, v: torch.maximum(v[0], v[1]),
    "minimum": lambda n, v: torch.minimum(v[0], v[1]),
    "max_reduce": lambda n, v: v[0].amax(n.attributes["dims"], keepdim=n.attributes["keepdim"]),
    "max_pool": _max_pool,
    "mul": lambda n, v: v[0] * v[1],
    "matmul": lambda n, v: v[0] @ v[1],
    "softmax": lambda n, v: v[0].softmax(n.attributes["dim"]),
    "log_softmax": lambda n, v: v[0].log_softmax(n.attributes["dim"]),
    "layer_norm": _layer_norm,
    "local_response_norm": _local_response_norm,
    "embedding": lambda n, v: F.embedding(v[0], n.constants["weight"]),
}
"""op -> function of (node, input values of one sample)."""

PRODUCTS = frozenset({"mul", "matmul"})
"""Operators of the vocabulary that multiply two nodes; constant factors have words of their own."""

AFFINE_OPERATORS = frozenset(w for w in OPERATORS if of(w).form is Form.AFFINE) - PRODUCTS - {"constant", "embedding"}
"""Operators of the vocabulary that are affine in their inputs; slices and bounds read the same list."""
