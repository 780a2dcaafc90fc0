"""Normalisations rewritten for bounds, with what is known of their values without a look at the inputs.

x_i / (k + sum_j w_j x_j^2)^p with w >= 0 and k >= 0 lies between +-max_t t (k + w_i t^2)^-p. For p = 1/2 that is
1 / sqrt(w_i): sqrt(n) for a root mean square over n values, sqrt(n - 1) where they are centred first (for n values of
sum zero and square sum n, the largest is sqrt(n - 1)). For p > 1/2 and k > 0 the maximum is at
t^2 = k / (w_i (2 p - 1)); for p < 1/2 there is none. Derived here.

Beside this range, a norm is a product of its data with a function of a mean of squares, each of which has bounds of its
own: convex square below its chord and above its tangent, convex power, McCormick planes. All close up as the region
shrinks to a point.
"""

from __future__ import annotations

import math

import torch

from cutaway.network.graph import Graph, Node
from cutaway.network.graph.builder import Builder, Ref

ROUNDING = 1 + 1e-12


def largest(k: float, w: float, p: float) -> float:
    """Largest x / (k + w x^2)^p over x >= 0; infinite where there is none."""
    if w <= 0 or k < 0 or p < 0.5 or (k == 0 and p > 0.5):
        return math.inf
    if p == 0.5:
        return ROUNDING / math.sqrt(w)
    square = k / (w * (2 * p - 1))
    return ROUNDING * math.sqrt(square) * (k + w * square) ** -p


def lowered_layer_norm(b: Builder, graph: Graph, node: Node, inputs: list[Ref]) -> Ref:
    shape, count = b.shape(inputs[0]), node.attributes["num_dims"]
    size = math.prod(shape[len(shape) - count :])
    x = b.emit("reshape", inputs[0], shape=(*shape[: len(shape) - count], size))
    centring = torch.eye(size, dtype=graph.dtype) - 1.0 / size
    x = b.emit("linear", x, constants={"weight": centring})
    variance = b.emit("mean", b.emit("square", x), dims=(len(b.shape(x)) - 1,), keepdim=True)
    scale = b.emit("rsqrt", b.emit("scale_shift", variance, constants={"shift": node.attributes["eps"]}))
    limit = math.sqrt(max(size - 1, 0)) * ROUNDING
    y = b.emit("reshape", b.emit("mul", x, scale, range=(-limit, limit)), shape=node.shape)
    weight, bias = node.constants.get("weight"), node.constants.get("bias")
    return (
        y if weight is None and bias is None else b.emit("scale_shift", y, constants={"scale": weight, "shift": bias})
    )


def lowered_response_norm(b: Builder, graph: Graph, node: Node, inputs: list[Ref]) -> Ref:
    """The sum over neighbouring channels as a product with a band matrix, channels last."""
    (x,), shape, a = inputs, node.shape, node.attributes
    channels, place = shape[1], torch.arange(shape[1])
    distance = place.unsqueeze(0) - place.unsqueeze(1)  # from the channel that is normalised to the one that is seen
    seen = (distance >= -(a["size"] // 2)) & (distance <= (a["size"] - 1) // 2)
    band = torch.zeros(channels, channels, dtype=graph.dtype).masked_fill(seen, a["alpha"] / a["size"])
    order = (0, *range(2, len(shape)), 1)
    total = b.emit("linear", b.emit("permute", b.emit("square", x), dims=order), constants={"weight": band})
    total = b.emit("permute", total, dims=tuple(order.index(d) for d in range(len(shape))))
    total = b.emit("scale_shift", total, constants={"shift": a["k"]})
    limit = largest(a["k"], a["alpha"] / a["size"], a["beta"])
    return b.emit("mul", x, b.emit("power", total, exponent=-float(a["beta"])), range=(-limit, limit))


def lowered_product(b: Builder, graph: Graph, node: Node, inputs: list[Ref]) -> Ref:
    """A product, with a range where it is x / sqrt(k + w sum x^2) spelled out."""
    limit = min(own_limit(graph, *node.inputs), own_limit(graph, *reversed(node.inputs)))
    known = {"range": (-limit, limit)} if limit < math.inf else {}
    return b.emit("mul", *inputs, **{**node.attributes, **known})


def reciprocal(b: Builder, graph: Graph, node: Node, inputs: list[Ref]) -> Ref:
    """1 / sqrt(v) in one step."""
    before = b.nodes[inputs[0].index]
    return b.emit("rsqrt", Ref(before.inputs[0])) if before.op == "sqrt" else b.emit("reciprocal", *inputs)


def own_limit(graph: Graph, data: int, factor: int) -> float:
    """Largest |x y| for x = node `data`, y = node `factor`, where y is (k + w sum of x^2)^-1/2; else infinite."""
    node = graph.nodes[factor]
    if node.op == "reciprocal" and graph.nodes[node.inputs[0]].op == "sqrt":
        node = graph.nodes[node.inputs[0]]
    elif node.op != "rsqrt":
        return math.inf
    node, scale = graph.nodes[node.inputs[0]], 1.0
    while node.op == "scale_shift":
        numbers = {k: v for k, v in node.constants.items() if k in ("scale", "shift")}
        if any(bool((v < 0).any()) for v in numbers.values()):
            return math.inf
        scale *= float(numbers["scale"].min()) if "scale" in numbers else 1.0
        node = graph.nodes[node.inputs[0]]
    square = graph.nodes[node.inputs[0]] if node.inputs else node
    if node.op not in ("mean", "sum") or not node.attributes["keepdim"] or square.op != "square":
        return math.inf
    if square.inputs != (data,) or graph.nodes[data].shape != square.shape:
        return math.inf
    count = math.prod(square.shape[d] for d in node.attributes["dims"])
    most = count - 1 if _centred(graph, data, node.attributes["dims"]) else count
    weight = scale / count if node.op == "mean" else scale
    return largest(0.0, weight, 0.5) * math.sqrt(most / count)


def _centred(graph: Graph, index: int, dims: tuple[int, ...]) -> bool:
    """Whether a node is x - mean(x) over these dimensions."""
    node = graph.nodes[index]
    if node.op != "add" or len(node.inputs) != 2 or tuple(node.attributes["coefficients"]) != (1, -1):
        return False
    middle = graph.nodes[node.inputs[1]]
    return middle.op == "mean" and middle.inputs == node.inputs[:1] and set(middle.attributes["dims"]) == set(dims)
