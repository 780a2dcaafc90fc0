"""A network's graph as stages: what is linear on the pieces so far, and the gates that cut them further.

`StagedProgram(graph)` walks the operators in order. Up to the first kink (ReLU, LeakyReLU, PReLU, abs, clamp, maximum,
max-pooling, maxout) every value is affine in the input; the kink's gates say where it bends, and once the input space
is cut along their zero sets the values behind it are affine on every piece, up to the next kink. A *gate* is one such
function: for ReLU-like kinks the pre-activation, for a clamp the distance to each threshold, for a window of m entries
the m - 1 comparisons of an entry with the largest before it.

Values of a batch are kept as {node: (B, *shape)} in float64, only those that a later operator still reads.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cutaway.errors import ModelError
from cutaway.geometry.vocabulary import AFFINE, KINKS, PAIRED, RELU_LIKE, WINDOWED, refuse
from cutaway.network.graph import Graph, Node
from cutaway.network.graph.operators import apply_node

Values = dict[int, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One call of one kink. Gates `first` .. `first + parts * width` - 1 are its; `shape` is that of one part, without
    the batch dimension; `window` (width, parts + 1) indexes the entries compared (-1: padding), None without
    windows."""

    name: str
    kind: str
    node: int
    first: int
    parts: int
    shape: tuple[int, ...]
    thresholds: tuple[float, ...] = ()
    window: Tensor | None = None

    @property
    def width(self) -> int:
        width = 1
        for length in self.shape:
            width *= length
        return width

    @property
    def num_gates(self) -> int:
        return self.parts * self.width

    def place(self, gate: int) -> tuple[int, tuple[int, ...], int]:
        """(channel, position, part) of a gate number."""
        part, flat = divmod(gate - self.first, self.width)
        if not self.shape:
            return 0, (), part
        index = []
        for length in reversed(self.shape):
            flat, rest = divmod(flat, length)
            index.append(rest)
        return index[-1], tuple(reversed(index[:-1])), part


class StagedProgram:
    """The stages of a piecewise-affine graph with one input and one output.

    Raises `NotPiecewiseAffine` naming the first operator that is not, ModelError for weights that are not finite.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.input, self.output = graph.input, graph.output
        _require_finite_weights(graph)
        depends = _depends_on_input(graph)
        self.constants = {n.index: _value_of_constant(graph, n) for n in graph.nodes if not depends[n.index]}
        self.last_use = [
            max(users, default=len(graph.nodes) if i in graph.outputs else -1) for i, users in enumerate(graph.users)
        ]
        self.last_use[self.output.index] = len(graph.nodes)
        sites, first = [], 0
        for node in graph.nodes:
            if not depends[node.index] or node.op in AFFINE:
                continue
            if node.op not in KINKS:
                refuse(node, graph)
            site = _site(graph, node, first)
            if site.num_gates:
                sites.append(site)
                first += site.num_gates
        self.sites: tuple[Site, ...] = tuple(sites)
        self.num_gates = first

    def begin(self, inputs: Tensor) -> Values:
        """Values at the input, (B, *input shape) given without the graph's leading batch dimension of one."""
        return {self.input.index: inputs.to(self.graph.dtype).reshape(inputs.shape[0], *self.input.shape)}

    def advance(self, values: Values, at: int, stop: int) -> Values:
        """Compute nodes `at` .. `stop` - 1; returns only what node `stop` or a later one reads."""
        values = dict(values)
        for node in self.graph.nodes[at:stop]:
            if node.index in values or node.index in self.constants:
                continue
            values[node.index] = self._apply(node, [self._read(values, i) for i in node.inputs])
            for i in node.inputs:
                if self.last_use[i] < stop and self.last_use[i] <= node.index:
                    values.pop(i, None)
        return {i: v for i, v in values.items() if self.last_use[i] >= stop}

    def _read(self, values: Values, index: int) -> Tensor:
        return values[index] if index in values else self.constants[index]

    def _apply(self, node: Node, inputs: list[Tensor]) -> Tensor:
        if node.op in ("linear", "relu", "abs"):
            return apply_node(node, inputs)
        if node.op == "convolution" and self._is_batch_of_one(node):
            merged = inputs[0].reshape(inputs[0].shape[0], *inputs[0].shape[2:])
            return apply_node(node, [merged]).unsqueeze(1)
        in_dims = tuple(None if i in self.constants else 0 for i in node.inputs)
        return torch.vmap(lambda *v: apply_node(node, list(v)), in_dims=in_dims)(*inputs)  # pyright: ignore[reportArgumentType]

    def _is_batch_of_one(self, node: Node) -> bool:
        shape = self.graph.nodes[node.inputs[0]].shape
        return (
            len(shape) == len(node.attributes["stride"]) + 2 and shape[0] == 1 and node.inputs[0] not in self.constants
        )

    def gates(self, values: Values, site: Site, part: int) -> Tensor:
        """(B, width): the gate functions of one part, affine on the pieces cut so far."""
        node = self.graph.nodes[site.node]
        read = self._read(values, node.inputs[0])
        if node.op in RELU_LIKE:
            return read.reshape(read.shape[0], -1)
        if node.op == "clamp":
            return read.reshape(read.shape[0], -1) - site.thresholds[part]
        if node.op in PAIRED:
            other = self._read(values, node.inputs[1])
            difference = read - other
            return difference.reshape(difference.shape[0], -1)
        entries, padding = self.entries(values, site)
        before = entries[:, :, : part + 1].amax(dim=2)
        gap = entries[:, :, part + 1] - before
        gap[:, padding[:, part + 1]] = -1.0  # padding never wins, and whatever is compared with padding only wins
        gap[:, padding[:, : part + 1].all(dim=1) & ~padding[:, part + 1]] = 1.0
        return gap

    def entries(self, values: Values, site: Site) -> tuple[Tensor, Tensor]:
        """What a windowed site compares: (B, width, m), and where it is padding (width, m)."""
        assert site.window is not None
        read = self._read(values, self.graph.nodes[site.node].inputs[0])
        flat = read.reshape(read.shape[0], -1)
        padding = site.window < 0
        found = flat[:, site.window.clamp(min=0)]
        if padding.any():
            found = found.masked_fill(padding, -torch.inf)
        return found, padding

    def to_site(self, inputs: Tensor, index: int) -> Values:
        """Values at site `index` (number of sites: at the end) straight from the inputs."""
        return self.advance(self.begin(inputs), 0, self.stop_of(index))

    def stop_of(self, index: int) -> int:
        return self.sites[index].node if index < len(self.sites) else len(self.graph.nodes)

    def outputs(self, values: Values) -> Tensor:
        """(B, C): the network's output, flattened, from values at the end."""
        read = values[self.output.index]
        return read.reshape(read.shape[0], -1)

    def in_dtype(self, dtype: torch.dtype) -> StagedProgram:
        """The same program in another floating-point type."""
        made = copy.copy(self)
        made.graph = self.graph.to(dtype)
        made.constants = {i: v.to(dtype) if v.is_floating_point() else v for i, v in self.constants.items()}
        return made

    def without_offset(self) -> tuple[StagedProgram, Tensor]:
        """The program without the constants that are only added to the outputs, and their sum (C,): differences of
        outputs then keep their digits beside a large offset."""
        tail = _tail(self.graph, {s.node for s in self.sites})
        bare = copy.copy(self)
        bare.graph = replace(self.graph, nodes=tuple(_bare_node(n) if n.index in tail else n for n in self.graph.nodes))
        mine = {i for i in self.constants if set(self.graph.users[i]) <= tail}
        bare.constants = {i: torch.zeros_like(v) if i in mine else v for i, v in self.constants.items()}
        live = (n for n in self.graph.nodes if n.index not in tail)
        values = {n.index: torch.zeros(1, *n.shape, dtype=self.graph.dtype) for n in live}
        with torch.no_grad():
            for node in self.graph.nodes:
                if node.index in tail and node.index not in self.constants:
                    inputs = [self.constants[i] if i in mine else values[i] for i in node.inputs]
                    in_dims = tuple(None if i in mine else 0 for i in node.inputs)
                    values[node.index] = torch.vmap(lambda *v, n=node: apply_node(n, list(v)), in_dims=in_dims)(*inputs)  # pyright: ignore[reportArgumentType]
        return bare, values[self.output.index].reshape(-1)

    def all_gates(self, inputs: Tensor) -> list[Tensor]:
        """For every site the gates (B, num_gates of it) at arbitrary points, by one forward pass."""
        values, at, found = self.begin(inputs), 0, []
        for i, site in enumerate(self.sites):
            values = self.advance(values, at, self.stop_of(i))
            at = self.stop_of(i)
            found.append(torch.cat([self.gates(values, site, part) for part in range(site.parts)], dim=1))
        return found

    def site_of(self, gate: int) -> int:
        """Index of the site that a gate number belongs to."""
        for i, site in enumerate(self.sites):
            if gate < site.first + site.num_gates:
                return i
        raise IndexError(gate)


def refuse_overflow(values: NDArray[np.float64], where: str) -> None:
    """Raises ModelError where numbers are NaN or infinite though the weights are finite."""
    if not np.isfinite(values).all():
        raise ModelError(
            f"values at {where}",
            found="NaN or infinite numbers from finite weights",
            expected="numbers of float64",
            remedy="the products of the weights overflow: scale the weights, or take a smaller domain",
        )


def _require_finite_weights(graph: Graph) -> None:
    for node in graph.nodes:
        for name, value in node.constants.items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise ModelError(
                    f"{name} of site {node.module or node.name!r}",
                    found="NaN or infinite values",
                    expected="finite weights",
                    remedy="take an earlier checkpoint",
                )


def _tail(graph: Graph, kinks: set[int]) -> set[int]:
    """Nodes behind which no kink reads: what they add only moves the outputs."""
    tail: set[int] = set()
    for node in reversed(graph.nodes):
        if node.index not in kinks and node.op in AFFINE - {"input"} and set(graph.users[node.index]) <= tail:
            tail.add(node.index)
    return tail


def _bare_node(node: Node) -> Node:
    """The linear part of an affine node."""
    bare = {k: v for k, v in node.constants.items() if k not in ("bias", "shift")}
    attributes = {**node.attributes, "value": 0.0} if node.op == "pad" else node.attributes
    return replace(node, constants=bare, attributes=attributes)


def operations(node: Node) -> int:
    """Multiplications of one node for one sample."""
    if node.op == "linear":
        return node.constants["weight"].numel() * max(1, node.numel // node.constants["weight"].shape[0])
    if node.op == "convolution":
        return node.numel * node.constants["weight"][0].numel()
    return node.numel


def _depends_on_input(graph: Graph) -> list[bool]:
    depends: list[bool] = []
    for node in graph.nodes:
        depends.append(node.op == "input" or any(depends[i] for i in node.inputs))
    return depends


def _value_of_constant(graph: Graph, node: Node) -> Tensor:
    memo: dict[int, Tensor] = {}

    def value(index: int) -> Tensor:
        if index not in memo:
            inner = graph.nodes[index]
            memo[index] = apply_node(inner, [value(i) for i in inner.inputs])
        return memo[index]

    return value(node.index)


def _site(graph: Graph, node: Node, first: int) -> Site:
    name = (node.module or node.name) + (f"#{node.call}" if node.call else "")
    read = graph.nodes[node.inputs[0]]
    common = {"name": name, "kind": node.op, "node": node.index, "first": first}
    if node.op == "clamp":
        bounds = tuple(float(b) for b in (node.attributes["min"], node.attributes["max"]) if b is not None)
        return Site(**common, parts=len(bounds), shape=_bare(read.shape), thresholds=bounds)
    if node.op in PAIRED:
        return Site(**common, parts=1, shape=_bare(node.shape))
    if node.op in WINDOWED:
        window = _windows(node, read)
        return Site(**common, parts=window.shape[1] - 1, shape=_bare(node.shape), window=window)
    return Site(**common, parts=1, shape=_bare(read.shape))


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[1:]) if len(shape) > 1 and shape[0] == 1 else tuple(shape)


def _windows(node: Node, read: Node) -> Tensor:
    """(outputs, m): flat indices into the input of what each output is the maximum of; -1 stands for padding."""
    index = torch.arange(read.numel).reshape(read.shape)
    a = node.attributes
    if node.op == "max_reduce":
        dims = [d % len(read.shape) for d in (a["dims"] if isinstance(a["dims"], (list, tuple)) else [a["dims"]])]
        rest = [d for d in range(len(read.shape)) if d not in dims]
        kept = index.permute(*rest, *dims)
        width = 1
        for d in rest:
            width *= read.shape[d]
        return kept.reshape(width, -1)
    spatial = len(a["kernel"])
    for axis in range(spatial):
        dim = len(read.shape) - spatial + axis
        size = (a["kernel"][axis] - 1) * a["dilation"][axis] + 1
        length = (node.shape[dim] - 1) * a["stride"][axis] + size
        after = max(0, length - read.shape[dim] - a["padding"][axis])
        pads = [0, 0] * (index.ndim - dim - 1) + [a["padding"][axis], after]
        index = F.pad(index, pads, value=-1).narrow(dim, 0, length)
        index = index.unfold(dim, size, a["stride"][axis])[..., :: a["dilation"][axis]]
    return index.reshape(node.numel, -1)
