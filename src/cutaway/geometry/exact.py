"""Signs that rounding cannot decide, in exact integer arithmetic.

The network's float64 weights and the plane's float64 vectors are taken at their exact values; every plane point with
float coordinates then has exactly rational gate values. On one face three lines meet in a point or not according to
a 3 x 3 determinant of the three gates' values at three points inside the face (barycentric coordinates), so the answer
takes three exact forward passes a face, kept for further questions about it.

A tensor is held as Python integers with one power of two and one denominator for all: value = N * 2**-e / d. Networks
whose prefix costs more than `max_operations` multiplications, questions after `max_total` of them, and operators not
spelled out here get the answer None (the caller then takes the sign for zero and counts it).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway.arrangement.insertion import Doubt
from cutaway.arrangement.rational import Whole, add_wholes, as_wholes, multiply_wholes, padded, together
from cutaway.arrays import Floats
from cutaway.geometry.jumps import compared, jumps, one_sided
from cutaway.geometry.plane import Plane
from cutaway.geometry.program import KinkSite, StagedProgram, operations
from cutaway.geometry.vocabulary import PAIRED, RELU_LIKE
from cutaway.network.graph import Node
from cutaway.network.graph.operators import Slot


class UnknownOperator(Exception):
    """An operator that the exact evaluation does not spell out."""


class OutOfReach(Exception):
    """More multiplications than are allowed in all."""


class ExactSigns:
    """Callable: `Doubt` -> sign (-1, 0, 1), or None where exact arithmetic is out of reach."""

    def __init__(
        self, program: StagedProgram, plane: Plane, polygon: Floats, max_operations: int, max_total: int
    ) -> None:
        self.program, self.plane, self.polygon, self.max_operations = program, plane, polygon, max_operations
        self.left = max_total
        self.constants: dict[tuple[int, str], Whole] = {}
        self.known: dict[tuple[bytes, int], tuple[Floats, list[dict[int, Whole]]]] = {}
        self.costs = np.cumsum([operations(n) for n in program.graph.nodes])
        self.origin, self.directions = as_wholes(plane.origin), [as_wholes(d) for d in plane.directions]

    def __call__(self, doubt: Doubt) -> int | None:
        site = self.program.site_of(doubt.gate)
        if self.costs[self.program.stop_of(site) - 1] > self.max_operations:
            return None
        try:
            points, values = self._values(doubt.polygon, site)
            first, second, gate = (self._at(tag, points, values) for tag in (doubt.first, doubt.second, doubt.gate))
        except (UnknownOperator, OutOfReach):
            return None
        meet = [
            first[1] * second[2] - first[2] * second[1],
            first[2] * second[0] - first[0] * second[2],
            first[0] * second[1] - first[1] * second[0],
        ]
        total = sum(meet)
        if total == 0:
            return None
        value = sum(m * g for m, g in zip(meet, gate)) / total
        return (value > 0) - (value < 0)

    def _values(self, polygon: Floats, site: int):
        key = (polygon.tobytes(), site)
        if key not in self.known:
            if len(self.known) > 256:
                self.known.clear()
            points = _inner_points(polygon)
            self._pay(len(points) * int(self.costs[self.program.stop_of(site) - 1]))
            self.known[key] = points, [self._forward(p, site) for p in points]
        return self.known[key]

    def _pay(self, cost: int) -> None:
        if cost > self.left:
            raise OutOfReach
        self.left -= cost

    def _at(self, tag: int, points: Floats, values: Sequence[dict]) -> list[Fraction]:
        """The line's function at the three inner points."""
        if tag < 0:
            side = -1 - tag
            corner, onward = self.polygon[side], self.polygon[(side + 1) % len(self.polygon)]
            return [_turn(corner, onward, p) for p in points]
        index = self.program.site_of(tag)
        site = self.program.sites[index]
        return [self._gate(v[index], site, tag) for v in values]

    def _gate(self, read: Whole | tuple[Whole, Whole], site: KinkSite, tag: int) -> Fraction:
        part, flat = divmod(tag - site.first, site.width)
        if isinstance(read, tuple):
            return read[0].fraction(flat) - read[1].fraction(flat)
        if site.kind in RELU_LIKE:
            return read.fraction(flat)
        if site.kind == "clamp":
            return read.fraction(flat) - Fraction(site.thresholds[part])
        assert site.window is not None
        window = site.window[flat].tolist()
        if window[part + 1] < 0:
            return Fraction(-1)
        before = [read.fraction(i) for i in window[: part + 1] if i >= 0]
        return read.fraction(window[part + 1]) - max(before) if before else Fraction(1)

    def _forward(self, point: Floats, last: int) -> dict:
        """What every site up to `last` reads, at a plane point with float coordinates."""
        graph, found, values = self.program.graph, {}, {}
        sites = {s.node: i for i, s in enumerate(self.program.sites)}
        coordinate = [as_wholes(np.array([c])) for c in point]
        terms = [self.origin] + [
            Whole(d.number * c.number[0], d.shift + c.shift) for d, c in zip(self.directions, coordinate)
        ]
        start = add_wholes(terms, [1, 1, 1])
        values[self.program.input.index] = start.with_number(start.number.reshape(self.program.input.shape))
        for node in graph.nodes[: self.program.stop_of(last) + 1]:
            if node.index in values:
                continue
            if node.index in self.program.constants:
                values[node.index] = as_wholes(self.program.constants[node.index].numpy())
                continue
            inputs = [values[i] for i in node.inputs]
            if node.index in sites:
                pair = self._compared(node, inputs) if jumps(node) else inputs
                found[sites[node.index]] = tuple(pair) if node.op in PAIRED or jumps(node) else inputs[0]
                if sites[node.index] == last:
                    break
            values[node.index] = self._apply(node, inputs)
        return found

    def _constant(self, node: Node, name: str) -> Whole | None:
        if name not in node.constants:
            return None
        key = (node.index, name)
        if key not in self.constants:
            self.constants[key] = as_wholes(node.constants[name].numpy())
        return self.constants[key]

    def _weight(self, node: Node) -> Whole:
        weight = self._constant(node, "weight")
        assert weight is not None
        return weight

    def _apply(self, node: Node, v: list[Whole]) -> Whole:
        a = node.attributes
        x = v[0]
        if node.op == "linear":
            weight, bias = self._weight(node), self._constant(node, "bias")
            made = Whole(x.number @ weight.number.T, x.shift + weight.shift, x.over)
            return made if bias is None else add_wholes([made, bias], [1, 1])
        if node.op == "convolution":
            return self._convolution(node, x)
        if node.op == "scale_shift":
            scale, shift = self._constant(node, "scale"), self._constant(node, "shift")
            made = x if scale is None else multiply_wholes(x, scale)
            return made if shift is None else add_wholes([made, shift], [1, 1])
        if jumps(node):
            return self._jump(node, v)
        if node.op == "mul":
            return multiply_wholes(*v)
        if node.op in _LOGIC:
            return Whole(np.asarray(_LOGIC[node.op](*(w.number != 0 for w in v)), dtype=object) + 0, 0)
        if node.op == "aten._to_copy.default":
            return x
        if node.op == "aten.where.self":
            choice, one, other = together([self._given(a, v) for a in a["args"]])
            return one.with_number(np.asarray(np.where(choice.number != 0, one.number, other.number), dtype=object))
        if node.op == "add":
            return add_wholes(v, a["coefficients"])
        if node.op == "relu":
            return x.with_number(np.maximum(x.number, 0))
        if node.op == "abs":
            return x.with_number(np.abs(x.number))
        if node.op == "leaky_relu":
            slope = node.constants["slope"] if "slope" in node.constants else a["slope"]
            low = as_wholes(np.asarray(slope, dtype=np.float64))
            negative = Whole(np.minimum(x.number, 0) * low.number, x.shift + low.shift, x.over)
            return add_wholes([x.with_number(np.maximum(x.number, 0)), negative], [1, 1])
        if node.op == "clamp":
            for bound, pick in ((a["min"], np.maximum), (a["max"], np.minimum)):
                if bound is not None:
                    x, edge = together([x, as_wholes(np.array(float(bound)))])
                    x = x.with_number(pick(x.number, edge.number))
            return x
        if node.op in ("maximum", "minimum"):
            x, y = together(v)
            return x.with_number((np.maximum if node.op == "maximum" else np.minimum)(x.number, y.number))
        if node.op in ("max_reduce", "max_pool"):
            site = next(s for s in self.program.sites if s.node == node.index)
            assert site.window is not None
            flat = x.number.reshape(-1)
            largest = [max(flat[i] for i in row if i >= 0) for row in site.window.tolist()]
            return x.with_number(np.array(largest, dtype=object).reshape(node.shape))
        if node.op in _REARRANGE:
            return x.with_number(_REARRANGE[node.op](node, x.number))
        if node.op == "pad" and float(a["value"]) == 0.0 and min(a["pad"]) >= 0:
            widths = [(low, high) for low, high in zip(a["pad"][::2], a["pad"][1::2])][::-1]
            return x.with_number(padded(x.number, ((0, 0),) * (x.number.ndim - len(widths)) + tuple(widths)))
        if node.op == "cat":
            parts = together(v)
            return parts[0].with_number(np.concatenate([p.number for p in parts], axis=a["dim"]))
        if node.op in ("sum", "mean"):
            dims = tuple(a["dims"])
            total = x.number.sum(axis=dims, keepdims=a["keepdim"])
            count = x.number.size // max(np.size(total), 1) if node.op == "mean" else 1
            return Whole(np.asarray(total, dtype=object).reshape(node.shape), x.shift, x.over * count)
        raise UnknownOperator(node.op)

    def _given(self, item: Any, v: list[Whole]) -> Whole:
        """An argument of an operator that was kept as it is: one of its inputs, or a constant."""
        return v[item.position] if isinstance(item, Slot) else as_wholes(np.asarray(item, dtype=np.float64))

    def _compared(self, node: Node, v: list[Whole]) -> list[Whole]:
        pair = together([self._given(c, v) for c in compared(node)])
        return [w.with_number(np.broadcast_to(w.number, node.shape)) for w in pair]

    def _jump(self, node: Node, v: list[Whole]) -> Whole:
        """The value of a site that jumps, at a point beside the jump."""
        one, other = self._compared(node, v)
        sign = np.sign(np.asarray(one.number - other.number, dtype=object)).astype(np.int64)
        if node.op == "threshold":
            x, value = together([v[0], as_wholes(np.array(float(node.attributes["value"])))])
            return x.with_number(np.where(sign > 0, x.number, value.number))
        return Whole(
            one_sided(node, [torch.zeros(0)], torch.from_numpy(sign)).numpy().astype(np.int64).astype(object), 0
        )

    def _convolution(self, node: Node, x: Whole) -> Whole:
        a, weight, bias = node.attributes, self._weight(node), self._constant(node, "bias")
        if a["transposed"] or len(a["stride"]) != 2 or x.number.ndim != 4 or x.number.shape[0] != 1:
            raise UnknownOperator("convolution")
        (sh, sw), (ph, pw), (dh, dw), groups = a["stride"], a["padding"], a["dilation"], a["groups"]
        image = padded(x.number[0], ((0, 0), (ph, ph), (pw, pw)))
        out_channels, per_group, kh, kw = weight.number.shape
        height, width = node.shape[-2:]
        made = np.zeros((out_channels, height, width), dtype=object)
        share = out_channels // groups
        for g in range(groups):
            rows = slice(g * share, (g + 1) * share)
            for i in range(kh):
                for j in range(kw):
                    patch = image[
                        g * per_group : (g + 1) * per_group,
                        i * dh : i * dh + sh * (height - 1) + 1 : sh,
                        j * dw : j * dw + sw * (width - 1) + 1 : sw,
                    ]
                    flat = weight.number[rows, :, i, j] @ patch.reshape(per_group, -1)
                    made[rows] += flat.reshape(share, height, width)
        result = Whole(made[None], x.shift + weight.shift, x.over)
        if bias is None:
            return result
        return add_wholes([result, bias.with_number(bias.number.reshape(1, -1, 1, 1))], [1, 1])


def _take_slice(node: Node, x: NDArray) -> NDArray:
    a = node.attributes
    where = [slice(None)] * x.ndim
    where[a["dim"]] = slice(a["start"], a["end"], a["step"])
    return x[tuple(where)]


_REARRANGE = {
    "reshape": lambda n, x: x.reshape(n.shape),
    "permute": lambda n, x: x.transpose(n.attributes["dims"]),
    "expand": lambda n, x: np.broadcast_to(x, n.shape),
    "slice": _take_slice,
    "take": lambda n, x: x.reshape(-1)[n.constants["index"].numpy()].reshape(n.shape),
}


_LOGIC = {
    "aten.logical_not.default": np.logical_not,
    "aten.bitwise_not.default": np.logical_not,
    "aten.logical_and.default": np.logical_and,
    "aten.bitwise_and.Tensor": np.logical_and,
    "aten.logical_or.default": np.logical_or,
    "aten.bitwise_or.Tensor": np.logical_or,
}


def _turn(a: Floats, b: Floats, p: Floats) -> Fraction:
    ax, ay, bx, by, px, py = (Fraction(float(v)) for v in (*a, *b, *p))
    return (bx - ax) * (py - ay) - (by - ay) * (px - ax)


def _inner_points(polygon: Floats) -> Floats:
    """Three points well inside a convex polygon, spanning a triangle as large as its corners allow."""
    offset = polygon - polygon[0]
    second = int(np.hypot(*offset.T).argmax())
    height = np.abs(offset[second, 0] * offset[:, 1] - offset[second, 1] * offset[:, 0])
    corners = polygon[[0, second, int(height.argmax())]]
    return (corners + 2 * polygon.mean(axis=0)) / 3
