"""A network's graph as stages: what is linear on the pieces so far, and the gates that cut them further.

`StagedProgram(graph)` walks the operators in order. Up to the first kink (ReLU, LeakyReLU, PReLU, abs, clamp, maximum,
max-pooling, maxout) every value is affine in the input; the kink's gates say where it bends, and once the input space
is cut along their zero sets the values behind it are affine on every piece, up to the next kink. A *gate* is one such
function: for ReLU-like kinks the pre-activation, for a clamp the distance to each threshold, for a window of m entries
the m - 1 comparisons of an entry with the largest before it.

Values of a batch are kept as {node: (B, *shape)} in float64, only those that a later operator still reads. With
`allow_jumps` comparisons, signs and thresholds are kinks too (see `jumps`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutaway.errors import ModelError
from cutaway.geometry import jumps
from cutaway.geometry.jumps import Depends
from cutaway.geometry.kinks import KinkSite, site_of_node
from cutaway.geometry.vocabulary import AFFINE, KINKS, PAIRED, RELU_LIKE, refuse
from cutaway.network.graph import Graph, Node
from cutaway.network.graph.operators import applied, apply_node
from cutaway.network.passes import Passes

Values = dict[int, Tensor]


class StagedProgram:
    """The stages of a piecewise-affine graph with one input and one output.

    Raises `NotPiecewiseAffine` naming the first operator that is not (jumps among them, unless `allow_jumps`),
    ModelError for weights that are not finite.
    """

    def __init__(self, graph: Graph, *, allow_jumps: bool = False) -> None:
        self.graph, self.passes = graph, Passes()
        self.input, self.output = graph.input, graph.output
        _require_finite_weights(graph)
        self.depends: list[Depends] = []
        for node in graph.nodes:
            self.depends.append(self._dependence(node, allow_jumps))
        still = (n for n in graph.nodes if self.depends[n.index] is Depends.NOT)
        self.constants = {n.index: _value_of_constant(graph, n) for n in still}
        self.last_use = [
            max(users, default=len(graph.nodes) if i in graph.outputs else -1) for i, users in enumerate(graph.users)
        ]
        self.last_use[self.output.index] = len(graph.nodes)
        sites, first = [], 0
        for node in graph.nodes:
            if not self._is_kink(node):
                continue
            site = site_of_node(graph, node, first)
            if site.num_gates:
                sites.append(site)
                first += site.num_gates
        self.sites: tuple[KinkSite, ...] = tuple(sites)
        self.num_gates = first
        self.jumps = any(s.jumps for s in sites)

    def _is_kink(self, node: Node) -> bool:
        whole = any(self.depends[i] is Depends.WHOLE for i in node.inputs)
        return whole and (node.op in KINKS or jumps.jumps(node))

    def _dependence(self, node: Node, allow_jumps: bool) -> Depends:
        """How a node depends on the input, given the nodes before it; raises where that is not known."""
        if node.op == "input":
            return Depends.WHOLE
        inputs = [self.depends[i] for i in node.inputs]
        if Depends.WHOLE not in inputs:
            if Depends.STEPWISE in inputs and not jumps.is_stepwise(node):
                refuse(node, self.graph)
            return Depends.STEPWISE if Depends.STEPWISE in inputs else Depends.NOT
        if node.op in AFFINE or node.op in KINKS or jumps.stays_affine(node, inputs):
            return Depends.WHOLE
        if not (allow_jumps and jumps.jumps(node)):
            refuse(node, self.graph)
        return Depends.WHOLE if node.op == "threshold" else Depends.STEPWISE

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
        return self._on_samples(applied(node), node, inputs)

    def _on_samples(self, function: Callable[..., Tensor], node: Node, inputs: list[Tensor], *more: Tensor) -> Tensor:
        """A function of one sample's values at the node's inputs (and of `more`), for all."""
        in_dims = (*(None if i in self.constants else 0 for i in node.inputs), *(0 for _ in more))
        return torch.vmap(function, in_dims=in_dims)(*inputs, *more)

    def _is_batch_of_one(self, node: Node) -> bool:
        shape = self.graph.nodes[node.inputs[0]].shape
        return (
            len(shape) == len(node.attributes["stride"]) + 2 and shape[0] == 1 and node.inputs[0] not in self.constants
        )

    def gates(self, values: Values, site: KinkSite, part: int) -> Tensor:
        """(B, width): the gate functions of one part, affine on the pieces cut so far."""
        node = self.graph.nodes[site.node]
        if site.jumps:
            inputs = [self._read(values, i) for i in node.inputs]
            found = self._on_samples(lambda *v: jumps.difference(node, list(v)), node, inputs)
            return found.reshape(found.shape[0], -1)
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

    def one_sided(self, values: Values, site: KinkSite, sign: Tensor) -> Tensor:
        """(B, *shape): the value of a site that jumps where its gates have these signs (B, width)."""
        node = self.graph.nodes[site.node]
        inputs = [self._read(values, i) for i in node.inputs]
        sign = sign.reshape(-1, *node.shape)
        return self._on_samples(lambda *v: jumps.one_sided(node, list(v[:-1]), v[-1]), node, inputs, sign)

    def entries(self, values: Values, site: KinkSite) -> tuple[Tensor, Tensor]:
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

    @property
    def bytes(self) -> int:
        """Of the weights and constants of the graph."""
        held = [v for n in self.graph.nodes for v in n.constants.values()] + list(self.constants.values())
        return sum({v.untyped_storage().data_ptr(): v.untyped_storage().nbytes() for v in held}.values())

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
        read = {i for n in self.graph.nodes if n.index in tail for i in n.inputs} - tail
        live = (n for n in self.graph.nodes if n.index in read or n.index == self.output.index not in tail)
        values = {n.index: torch.zeros(1, *n.shape, dtype=self.graph.dtype) for n in live}
        with torch.no_grad():
            for node in self.graph.nodes:
                if node.index in tail and node.index not in self.constants:
                    inputs = [self.constants[i] if i in mine else values[i] for i in node.inputs]
                    in_dims = tuple(None if i in mine else 0 for i in node.inputs)
                    values[node.index] = torch.vmap(applied(node), in_dims=in_dims)(*inputs)
        return bare, values[self.output.index].reshape(-1)

    def all_gates(self, inputs: Tensor) -> list[Tensor]:
        """For every site the gates (B, num_gates of it) at arbitrary points, by one forward pass."""
        return list(self.gates_by_site(inputs))

    def gates_by_site(self, inputs: Tensor) -> Iterator[Tensor]:
        """The same, one site after another."""
        values, at = self.begin(inputs), 0
        for i, site in enumerate(self.sites):
            values = self.advance(values, at, self.stop_of(i))
            at = self.stop_of(i)
            yield torch.cat([self.gates(values, site, part) for part in range(site.parts)], dim=1)

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


def _value_of_constant(graph: Graph, node: Node) -> Tensor:
    memo: dict[int, Tensor] = {}

    def value(index: int) -> Tensor:
        if index not in memo:
            inner = graph.nodes[index]
            memo[index] = apply_node(inner, [value(i) for i in inner.inputs])
        return memo[index]

    return value(node.index)
