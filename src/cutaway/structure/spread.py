"""Along which entries a value spreads through one operator: the operator with every weight made 0 or 1 and no kinks.

`spread(node, values, weight, nonzero)` is the map, linear and non-negative in `values` and in `weight`, under which an
output entry is positive exactly where some positive input entry reaches it over a non-zero constant. Its transpose (a
vector-Jacobian product) tells which entries reach an output. A product of two nodes passes one factor on only where the
other may be non-zero. What cancels numerically (x - x) still counts as connected: paths are counted, not values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.network.graph import Graph, Node
from cutaway.network.graph.facts import CURVES
from cutaway.network.graph.operators import apply_node

Values = list[Tensor]
WEIGHTS = {"linear": "weight", "convolution": "weight", "constant_matmul": "matrix", "embedding": "weight"}
"""Operators that connect units by weights, and what they call them."""

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def passes_on(node: Node) -> bool:
    """Whether each entry of the value depends on the same entry of the only operand and nothing else."""
    return node.op in CURVES


def first_unknown(graph: Graph) -> Node | None:
    """The first node of which it is not known how values spread through it, or None."""
    return next((n for n in graph.nodes if n.op not in _RULES and not passes_on(n)), None)


def spread(node: Node, values: Values, weight: Tensor | None = None, nonzero: Values | None = None) -> Tensor:
    """The value of `node` under the non-negative map; `weight` stands for its weights, `nonzero` (products only) says
    where its operands may be other than zero."""
    if passes_on(node):
        return values[0]
    return _RULES[node.op](node, values, weight, nonzero)


def multiplies(node: Node) -> bool:
    """Whether the node needs `nonzero`."""
    return node.op in ("mul", "matmul")


def _weighted(node: Node, v: Values, weight: Tensor | None, _n) -> Tensor:
    assert weight is not None
    return apply_node(replace(node, constants={WEIGHTS[node.op]: weight}), v)


def _plain(node: Node, v: Values, _w, _n) -> Tensor:
    return apply_node(node, v)


def _embedding(node: Node, v: Values, weight: Tensor | None, _n) -> Tensor:
    assert weight is not None
    return v[0][..., None] * weight.sum(dim=0)


def _scale(node: Node, v: Values, _w, _n) -> Tensor:
    scale = node.constants.get("scale")
    return v[0] if scale is None else v[0] * (scale != 0).to(v[0])


def _add(node: Node, v: Values, _w, _n) -> Tensor:
    parts = [x for c, x in zip(node.attributes["coefficients"], v, strict=True) if c != 0]
    return sum(parts[1:], parts[0]) if parts else torch.zeros_like(v[0])


def _sum(node: Node, v: Values, _w, _n) -> Tensor:
    return v[0].sum(node.attributes["dims"], keepdim=node.attributes["keepdim"])


def _window(node: Node, v: Values, _w, _n) -> Tensor:
    """The sum over each window, whatever the pooling makes of it."""
    a = node.attributes
    kernel, stride, count = a["kernel"], a["stride"], len(a["kernel"])
    dilation = a.get("dilation", (1,) * count)
    x = F.pad(v[0], a["pads"]) if "pads" in a else v[0]
    out = node.shape[-count:]
    ends = []
    for k in range(count):
        reach = (out[k] - 1) * stride[k] + dilation[k] * (kernel[k] - 1) + 1
        ends.append((a["padding"][k], max(0, reach - x.shape[x.ndim - count + k] - a["padding"][k])))
    x = F.pad(x, [n for pair in reversed(ends) for n in pair])
    flat = x.reshape(-1, 1, *x.shape[-count:])
    summed = _CONV[count](flat, flat.new_ones(1, 1, *kernel), stride=stride, dilation=dilation)
    summed = summed[(..., *(slice(0, n) for n in out))]
    return summed.reshape(node.shape)


def _all_along(dims: Callable[[Node, Tensor], tuple[int, ...]]):
    """Every entry depends on all entries along some dimensions."""

    def rule(node: Node, v: Values, _w, _n) -> Tensor:
        y = v[0].sum(dims(node, v[0]), keepdim=True).expand_as(v[0])
        gain = node.constants.get("weight")
        return y if gain is None else y * (gain != 0).to(y)

    return rule


def _either(node: Node, v: Values, _w, _n) -> Tensor:
    return v[0] + v[1]


def _mul(node: Node, v: Values, _w, nonzero: Values | None) -> Tensor:
    assert nonzero is not None
    return v[0] * nonzero[1] + nonzero[0] * v[1]


def _matmul(node: Node, v: Values, _w, nonzero: Values | None) -> Tensor:
    assert nonzero is not None
    return v[0] @ nonzero[1] + nonzero[0] @ v[1]


_RULES: dict[str, Callable[[Node, Values, Tensor | None, Values | None], Tensor]] = {
    "input": lambda n, v, w, z: v[0],
    "constant": lambda n, v, w, z: torch.zeros_like(n.constants["value"], dtype=torch.float32),
    **dict.fromkeys(("linear", "convolution", "constant_matmul"), _weighted),
    "embedding": _embedding,
    "scale_shift": _scale,
    "add": _add,
    "sum": _sum,
    "mean": _sum,
    "max_reduce": _sum,
    "avg_pool": _window,
    "max_pool": _window,
    **dict.fromkeys(("adaptive_avg_pool", "reshape", "permute", "expand", "slice", "cat", "take"), _plain),
    "pad": lambda n, v, w, z: F.pad(v[0], n.attributes["pad"]),
    "maximum": _either,
    "minimum": _either,
    "mul": _mul,
    "matmul": _matmul,
    "softmax": _all_along(lambda n, x: (n.attributes["dim"],)),
    "log_softmax": _all_along(lambda n, x: (n.attributes["dim"],)),
    "layer_norm": _all_along(lambda n, x: tuple(range(x.ndim - n.attributes["num_dims"], x.ndim))),
}
"""word -> rule; functions of one number pass each entry on."""
