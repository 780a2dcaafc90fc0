"""A graph rewritten so that only linear operators, elementwise functions and products are left.

Bounds then need three rules. Rewritten exactly (in real arithmetic): maxima become y + relu(x - y) in a tree, matrix
products become elementwise products and sums, softmax_i = 1 / (1 + sum_{j != i} exp(x_j - x_i)) (the form of Wei et
al., arXiv 2303.01713, whose differences keep what two scores have in common), LayerNorm = centring, square, mean,
rsqrt, product. What is known of a value without looking at its inputs is kept as the attribute `range` (softmax in [0,
1], normalised values within +-sqrt(n - 1)).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from cutaway.network.graph import Graph, Node
from cutaway.network.graph.builder import Builder, Ref
from cutaway.network.graph.operators import AFFINE_OPERATORS
from cutaway.robustness.bounds import norms
from cutaway.robustness.bounds.maxima import MAXIMA, pooling_windows
from cutaway.robustness.bounds.unary import UNARY

LINEAR = AFFINE_OPERATORS


def lower_graph(graph: Graph, *, keep_maxima: bool = False) -> tuple[Graph, dict[int, int]]:
    """The rewritten graph, and where the values of `graph` stand in it. `keep_maxima`: maxima over windows stay (see
    `maxima`) and move before a ReLU, with which
    they commute. Raises UnsupportedOperator for an operator that has no rule, ModelError for several inputs."""
    _ = graph.input, graph.output
    swapped = _relus_before_maxima(graph) if keep_maxima else {}
    b = Builder()
    with torch.no_grad():
        start = b.input(torch.zeros(graph.input.shape, dtype=graph.dtype))
        refs: dict[int, Ref] = {graph.input.index: start}
        for node in needed(graph):
            if node.index in refs or node.index in swapped:
                continue
            b.place(module=node.module, call=node.call, name=node.name, target=node.target)
            inputs = [refs[swapped.get(i, i)] for i in node.inputs]
            if keep_maxima and node.op in MAXIMA:
                kept = b.emit(node.op, *inputs, shape=node.shape, **node.attributes)
                refs[node.index] = b.emit("relu", kept) if node.inputs[0] in swapped else kept
            else:
                refs[node.index] = _rewrite(b, graph, node, inputs)
    final = refs[graph.output.index]
    rewritten = Graph(
        nodes=tuple(b.nodes), inputs=(start.index,), outputs=(final.index,), dtype=graph.dtype, batched=graph.batched
    )
    return rewritten, {index: ref.index for index, ref in refs.items()}


def without_padded_maxima(graph: Graph) -> Graph:
    """Max pooling of what was padded by minus infinity as one max pooling with attribute `pads`."""
    nodes = list(graph.nodes)
    for node in graph.nodes:
        if node.op != "max_pool":
            continue
        before = graph.nodes[node.inputs[0]]
        if before.op == "pad" and before.attributes["value"] == -math.inf:
            width = 2 * len(node.attributes["kernel"])
            pads = (*before.attributes["pad"], *(0,) * width)
            if not any(pads[width:]) and min(pads) >= 0:
                attributes = {**node.attributes, "pads": pads[:width]}
                nodes[node.index] = replace(node, inputs=before.inputs, attributes=attributes)
    return replace(graph, nodes=tuple(nodes))


def needed(graph: Graph) -> list[Node]:
    wanted = {graph.output.index}
    for node in reversed(graph.nodes):
        if node.index in wanted:
            wanted.update(node.inputs)
    return [n for n in graph.nodes if n.index in wanted]


def _relus_before_maxima(graph: Graph) -> dict[int, int]:
    """ReLUs that only a maximum reads -> what they read."""
    found = {}
    for node in graph.nodes:
        before = graph.nodes[node.inputs[0]] if node.inputs else node
        if node.op in MAXIMA and before.op == "relu" and list(graph.users[before.index]) == [node.index]:
            found[before.index] = before.inputs[0]
    return found


def _rewrite(b: Builder, graph: Graph, node: Node, inputs: list[Ref]) -> Ref:
    rule = REWRITES.get(node.op)
    if rule is not None:
        return rule(b, graph, node, inputs)
    if node.op not in LINEAR and node.op not in UNARY and node.op not in ("mul", "constant"):
        remedy = "cut the model after the embedding and give the region in embedded space" * (node.op == "embedding")
        graph.unsupported(node, "bound propagation", remedy)
    return b.emit(node.op, *inputs, constants=dict(node.constants), shape=node.shape, **node.attributes)


def _maximum(b: Builder, x: Ref, y: Ref) -> Ref:
    positive = b.emit("relu", b.emit("add", x, y, coefficients=(1, -1)), rewritten=True)
    return b.emit("add", positive, y, coefficients=(1, 1))


def _rule_minimum(b: Builder, graph: Graph, node: Node, inputs: list[Ref]) -> Ref:
    x, y = inputs
    positive = b.emit("relu", b.emit("add", y, x, coefficients=(1, -1)), rewritten=True)
    return b.emit("add", y, positive, coefficients=(1, -1))


def _largest_of_last(b: Builder, x: Ref) -> Ref:
    """Maximum over the last dimension by a tree of pairs; keeps the dimension with length 1."""
    while (count := b.shape(x)[-1]) > 1:
        dim, half = len(b.shape(x)) - 1, count // 2
        parts = [
            b.emit("slice", x, dim=dim, start=s, end=e, step=1)
            for s, e in ((0, half), (half, 2 * half), (2 * half, count))
            if s < e
        ]
        pair = _maximum(b, parts[0], parts[1])
        x = b.emit("cat", pair, parts[2], dim=dim) if len(parts) == 3 else pair
    return x


def _rule_max_reduce(b: Builder, graph: Graph, node: Node, inputs: list[Ref]) -> Ref:
    shape, dims = b.shape(inputs[0]), node.attributes["dims"]
    rest = [d for d in range(len(shape)) if d not in dims]
    x = b.emit("permute", inputs[0], dims=(*rest, *dims))
    x = b.emit("reshape", x, shape=(*(shape[d] for d in rest), math.prod(shape[d] for d in dims)))
    return b.emit("reshape", _largest_of_last(b, x), shape=node.shape)


def _rule_max_pool(b: Builder, graph: Graph, node: Node, inputs: list[Ref]) -> Ref:
    index = pooling_windows(node, b.shape(inputs[0])).index
    x = b.emit("take", inputs[0], constants={"index": index.reshape(-1)}, shape=tuple(index.shape))
    return b.emit("reshape", _largest_of_last(b, x), shape=node.shape)


def _rule_matmul(b: Builder, graph: Graph, node: Node, inputs: list[Ref]) -> Ref:
    x, y = inputs
    left, right = b.shape(x), b.shape(y)
    x = b.emit("reshape", x, shape=(*left[:-1], 1, left[-1]))
    y = b.emit("permute", y, dims=(*range(len(right) - 2), len(right) - 1, len(right) - 2))
    y = b.emit("reshape", y, shape=(*right[:-2], 1, right[-1], right[-2]))
    product = b.emit("mul", x, y)
    return b.emit("sum", product, dims=(len(b.shape(product)) - 1,), keepdim=False)


def _mask_of(graph: Graph, node: Node) -> Tensor | None:
    """True where a softmax's scores are minus infinity for sure (an attention mask), in the shape of its input."""
    before = graph.nodes[node.inputs[0]]
    if before.op != "scale_shift" or "shift" not in before.constants:
        return None
    hidden = (before.constants["shift"] == -math.inf).expand(before.shape)
    return hidden if bool(hidden.any()) else None


def _rule_scale_shift(b: Builder, graph: Graph, node: Node, inputs: list[Ref]) -> Ref:
    constants = dict(node.constants)
    if "shift" in constants and all(graph.nodes[u].op == "softmax" for u in graph.users[node.index]):
        shift = constants["shift"]
        constants["shift"] = torch.where(shift == -math.inf, torch.zeros_like(shift), shift)
    return b.emit("scale_shift", *inputs, constants=constants)


def _odds(b: Builder, graph: Graph, node: Node, x: Ref) -> tuple[Ref, Tensor | None, tuple[int, ...]]:
    """1 + sum over j != i of exp(x_j - x_i), with the softmax dimension last; the mask in the same layout; that
    layout."""
    shape, dim = b.shape(x), node.attributes["dim"]
    order = (*(d for d in range(len(shape)) if d != dim), dim)
    x = b.emit("permute", x, dims=order)
    mask, size = _mask_of(graph, node), shape[dim]
    mask = None if mask is None else mask.permute(order)
    rows = math.prod(b.shape(x)) // size
    others = torch.stack([torch.tensor([j for j in range(size) if j != i], dtype=torch.int64) for i in range(size)])
    start = torch.arange(rows).reshape(-1, 1, 1) * size
    layout = (*b.shape(x), size - 1)
    mine = torch.arange(size).reshape(1, -1, 1).expand(rows, size, size - 1) + start
    other = b.emit("take", x, constants={"index": (others + start).reshape(-1)}, shape=layout)
    own = b.emit("take", x, constants={"index": mine.reshape(-1)}, shape=layout)
    difference = b.emit("add", other, own, coefficients=(1, -1))
    if mask is not None:
        flat = mask.reshape(-1)
        seen = (~(flat[(others + start).reshape(-1)] | flat[mine.reshape(-1)])).reshape(layout).to(graph.dtype)
        difference = b.emit("scale_shift", difference, constants={"scale": seen})
        ratios = b.emit("scale_shift", b.emit("exp", difference), constants={"scale": seen})
    else:
        ratios = b.emit("exp", difference)
    total = b.emit("sum", ratios, dims=(len(layout) - 1,), keepdim=False)
    return b.emit("scale_shift", total, constants={"shift": 1.0}), mask, order


def _back(b: Builder, x: Ref, order: tuple[int, ...]) -> Ref:
    return b.emit("permute", x, dims=tuple(order.index(d) for d in range(len(order))))


def _rule_softmax(b: Builder, graph: Graph, node: Node, inputs: list[Ref]) -> Ref:
    total, mask, order = _odds(b, graph, node, inputs[0])
    p = b.emit("reciprocal", total, range=(0.0, 1.0))
    if mask is not None:
        p = b.emit("scale_shift", p, constants={"scale": (~mask).to(graph.dtype)})
    return _back(b, p, order)


def _rule_log_softmax(b: Builder, graph: Graph, node: Node, inputs: list[Ref]) -> Ref:
    total, _, order = _odds(b, graph, node, inputs[0])
    return _back(b, b.emit("scale_shift", b.emit("log", total), constants={"scale": -1.0}), order)


Rule = Callable[[Builder, Graph, Node, list[Ref]], Ref]

REWRITES: dict[str, Rule] = {
    "maximum": lambda b, graph, node, inputs: _maximum(b, *inputs),
    "minimum": _rule_minimum,
    "max_reduce": _rule_max_reduce,
    "max_pool": _rule_max_pool,
    "matmul": _rule_matmul,
    "scale_shift": _rule_scale_shift,
    "softmax": _rule_softmax,
    "log_softmax": _rule_log_softmax,
    "layer_norm": norms.lowered_layer_norm,
    "local_response_norm": norms.lowered_response_norm,
    "mul": norms.lowered_product,
    "reciprocal": norms.reciprocal,
}
"""op -> rule that emits its exact replacement."""
