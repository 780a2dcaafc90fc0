"""Linear operators on batches, their absolute values, and their transposes.

A linear operator of the graph is y = L x + c for one sample.

apply_linear   y on (B, *shape)
absolute       the operator with |L|, for non-negative values
pull_back      functionals (B, S, *node.shape) on y as functionals on each input: the transpose
offset         c
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.network.graph import Graph, Node
from cutaway.network.graph.operators import applied, apply_node

_DIRECT = frozenset({"linear", "scale_shift"})


def apply_linear(node: Node, values: list[Tensor]) -> Tensor:
    """y for inputs with a leading batch dimension."""
    batch = len(values[0])
    if node.op in _DIRECT and values[0].ndim >= 2:
        return apply_node(node, values).reshape(batch, *node.shape)
    if node.op == "reshape":
        return values[0].reshape(batch, *node.shape)
    if node.op == "convolution" and node.shape[0] == 1:
        return apply_node(node, [values[0].flatten(0, 1)]).reshape(batch, *node.shape)
    if node.op == "add" and len({v.ndim for v in values}) == 1:
        return apply_node(node, values)
    if node.op == "take":
        return values[0].flatten(1)[:, node.constants["index"]].reshape(batch, *node.shape)
    if node.op == "permute":
        return values[0].permute(0, *(d + 1 for d in node.attributes["dims"]))
    return torch.vmap(applied(node))(*values)


def absolute(node: Node) -> Node:
    """The operator |L|: absolute constants, nothing added."""
    drop = {"bias", "shift", "reach"}
    constants = {k: (v if k == "index" else v.abs()) for k, v in node.constants.items() if k not in drop}
    attributes = dict(node.attributes)
    if node.op == "add":
        attributes["coefficients"] = tuple(abs(c) for c in attributes["coefficients"])
    if node.op == "pad":
        attributes["value"] = 0.0
    return replace(node, constants=constants, attributes=attributes)


def offset(graph: Graph, node: Node) -> Tensor | None:
    """c = L(0), shape node.shape, or None where it is zero."""
    inputs = [torch.zeros(graph.nodes[i].shape, dtype=graph.dtype) for i in node.inputs]
    value = apply_node(node, inputs)
    return value.expand(node.shape) if bool((value != 0).any()) else None


def fan(graph: Graph, node: Node) -> int:
    """How many products are added up at most, forward or backward, for the rounding radius."""
    c = node.constants
    if node.op == "linear":
        return max(c["weight"].shape)
    if node.op == "convolution":
        return max(c["weight"].numel() // n for n in c["weight"].shape[:2])
    if node.op == "constant_matmul":
        return max(c["matrix"].shape[-2:])
    inputs = sum(graph.nodes[i].numel for i in node.inputs)
    if node.op in ("sum", "mean", "expand", "adaptive_avg_pool", "avg_pool", "take"):
        return max(inputs, node.numel)
    return len(node.inputs) + 2


def pull_back(graph: Graph, node: Node, functionals: Tensor) -> list[Tensor]:
    """Functionals (B, S, *node.shape) on the output as functionals on each input."""
    rule = _RULES.get(node.op)
    if rule is not None:
        return rule(graph, node, functionals)
    return _by_autograd(graph, node, functionals)


def _by_autograd(graph: Graph, node: Node, a: Tensor) -> list[Tensor]:
    """The transpose as a vector-Jacobian product at zero; every linear operator without a rule of its own."""
    zeros = tuple(torch.zeros(graph.nodes[i].shape, dtype=a.dtype) for i in node.inputs)
    _, transpose, *_ = torch.func.vjp(applied(node), *zeros)
    flat = a.reshape(-1, *node.shape)
    return [p.reshape(*a.shape[:2], *p.shape[1:]) for p in torch.vmap(transpose)(flat)]


def _linear(graph: Graph, node: Node, a: Tensor) -> list[Tensor]:
    return [a @ node.constants["weight"]]


def _reshape(graph: Graph, node: Node, a: Tensor) -> list[Tensor]:
    return [a.reshape(*a.shape[:2], *graph.nodes[node.inputs[0]].shape)]


def _permute(graph: Graph, node: Node, a: Tensor) -> list[Tensor]:
    dims = node.attributes["dims"]
    return [a.permute(0, 1, *(dims.index(d) + 2 for d in range(len(dims))))]


def unbroadcast(a: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sum functionals (B, S, *wide) over what was broadcast from `shape`."""
    extra = a.ndim - 2 - len(shape)
    if extra:
        a = a.sum(dim=tuple(range(2, 2 + extra)))
    wide = tuple(2 + d for d, n in enumerate(shape) if n == 1 and a.shape[2 + d] != 1)
    return a.sum(dim=wide, keepdim=True) if wide else a


def _scale_shift(graph: Graph, node: Node, a: Tensor) -> list[Tensor]:
    if "scale" in node.constants:
        a = a * node.constants["scale"]
    return [unbroadcast(a, graph.nodes[node.inputs[0]].shape)]


def _add(graph: Graph, node: Node, a: Tensor) -> list[Tensor]:
    parts = []
    for coefficient, index in zip(node.attributes["coefficients"], node.inputs):
        part = unbroadcast(a, graph.nodes[index].shape)
        parts.append(part if coefficient == 1 else coefficient * part)
    return parts


def _slice(graph: Graph, node: Node, a: Tensor) -> list[Tensor]:
    shape, d = graph.nodes[node.inputs[0]].shape, node.attributes
    whole = a.new_zeros(*a.shape[:2], *shape)
    where = [slice(None)] * whole.ndim
    where[2 + d["dim"]] = slice(d["start"], d["end"], d["step"])
    whole[tuple(where)] = a
    return [whole]


def _cat(graph: Graph, node: Node, a: Tensor) -> list[Tensor]:
    dim = node.attributes["dim"]
    return list(a.split([graph.nodes[i].shape[dim] for i in node.inputs], 2 + dim))


def _take(graph: Graph, node: Node, a: Tensor) -> list[Tensor]:
    before = graph.nodes[node.inputs[0]]
    whole = a.new_zeros(*a.shape[:2], before.numel)
    whole = whole.index_add(2, node.constants["index"], a.flatten(2))
    return [whole.reshape(*a.shape[:2], *before.shape)]


def _sum(graph: Graph, node: Node, a: Tensor) -> list[Tensor]:
    shape = graph.nodes[node.inputs[0]].shape
    if not node.attributes["keepdim"]:
        for d in sorted(node.attributes["dims"]):
            a = a.unsqueeze(2 + d)
    count = 1
    for d in node.attributes["dims"]:
        count *= shape[d]
    a = a / count if node.op == "mean" else a
    return [a.expand(*a.shape[:2], *shape)]


_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def _convolution(graph: Graph, node: Node, a: Tensor) -> list[Tensor]:
    c, shape = node.attributes, graph.nodes[node.inputs[0]].shape
    count = len(c["stride"])
    if c["transposed"] or node.shape[0] != 1 or len(shape) != count + 2:
        return _by_autograd(graph, node, a)
    weight = node.constants["weight"]
    out = node.shape[2:]
    reached = [
        (out[d] - 1) * c["stride"][d] - 2 * c["padding"][d] + c["dilation"][d] * (weight.shape[2 + d] - 1) + 1
        for d in range(count)
    ]
    missing = [shape[2 + d] - reached[d] for d in range(count)]
    flat = a.reshape(-1, *node.shape[1:])
    back = _TRANSPOSED[count](flat, weight, None, c["stride"], c["padding"], missing, c["groups"], c["dilation"])
    return [back.reshape(*a.shape[:2], *shape)]


_RULES = {
    "linear": _linear,
    "reshape": _reshape,
    "permute": _permute,
    "scale_shift": _scale_shift,
    "add": _add,
    "slice": _slice,
    "cat": _cat,
    "take": _take,
    "sum": _sum,
    "mean": _sum,
    "convolution": _convolution,
}
