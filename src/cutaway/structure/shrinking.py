"""A pruned network without its dead units: a smaller network of dense operators, as a module and as a file.

Zeros in a matrix save nothing where it is multiplied as a whole. Here whole units go: idle weights first (constants
that they carried go into biases, as in `structure.export`; a constant that padding makes differ by position stays, with
its unit), then every unit that nothing reads any more.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from cutaway.errors import ModelError
from cutaway.files import atomic
from cutaway.network import Network
from cutaway.network.graph import Graph, Node, evaluate_graph
from cutaway.network.graph.operators import apply_node
from cutaway.structure.export import checked_deviation, slimmed
from cutaway.structure.live import live_connections
from cutaway.structure.narrowing import narrowed
from cutaway.structure.spread import passes_on
from cutaway.structure.wiring import wire

LAYERS = frozenset({"linear", "convolution"})
"""Operators whose units are counted."""


class GraphNetwork(nn.Module):
    """A graph of one input and one output as a module: floating-point constants are its parameters, by operator."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph, self._names = graph, {}
        for node in graph.nodes:
            for key, value in node.constants.items():
                name = f"{node.name or node.op}_{node.index}_{key}".replace(".", "_")
                self._names[node.index, key] = name
                if value.is_floating_point():
                    self.register_parameter(name, nn.Parameter(value.detach().clone().contiguous()))
                else:
                    self.register_buffer(name, value.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """x (n, ...) gives (n, ...). Exact up to rounding. Source: definition."""
        graph = replace(self.graph, nodes=tuple(map(self._now, self.graph.nodes)))
        output = graph.output
        if straight(graph):
            values: dict[int, Tensor] = {graph.inputs[0]: x}
            for node in graph.nodes:
                if node.op == "reshape":  # a sample's shape begins with 1, the rows stand in its place
                    values[node.index] = values[node.inputs[0]].reshape(-1, *node.shape[1:])
                elif node.op != "input":
                    values[node.index] = apply_node(node, [values[i] for i in node.inputs])
            return values[output.index]
        value = evaluate_graph(graph, x, keep=lambda node: node.index == output.index)[output.index]
        return value.squeeze(1) if graph.batched and output.shape[:1] == (1,) else value

    def _now(self, node: Node) -> Node:
        if not node.constants:
            return node
        return replace(node, constants={key: getattr(self, self._names[node.index, key]) for key in node.constants})


def straight(graph: Graph) -> bool:
    """Whether every operator takes rows along its first dimension as they come, so that no `vmap` is needed."""
    return graph.batched and all(node.shape[:1] == (1,) and _by_row(node) for node in graph.nodes)


def _by_row(node: Node) -> bool:
    a, rank = node.attributes, len(node.shape)
    if node.op in ("cat", "slice", "softmax", "log_softmax"):
        return a["dim"] % rank != 0
    if node.op == "permute":
        return a["dims"][0] % rank == 0
    if node.op in ("sum", "mean", "max_reduce"):
        return all(d > 0 or d < -1 for d in a["dims"]) and rank > 1
    if node.op == "pad":
        return len(a["pad"]) < 2 * rank
    return passes_on(node) or node.op in _BY_ROW


_BY_ROW = LAYERS | {
    *(
        "input",
        "reshape",
        "scale_shift",
        "add",
        "mul",
        "maximum",
        "minimum",
        "avg_pool",
        "max_pool",
        "adaptive_avg_pool",
    )
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shrunk:
    """`model` the smaller network; by layer (module's path) `units` before and after. weights, bytes, operations
    (multiply-adds of one sample) of the layers, `_before` all of the network's and now. deviation: largest difference
    of the outputs from the original's on the rows given, over their largest entry."""

    model: GraphNetwork
    units: Mapping[str, tuple[int, int]]
    weights_before: int
    weights: int
    bytes_before: int
    bytes: int
    operations_before: int
    operations: int
    deviation: float

    def told(self) -> str:
        """Size and operations before and after, in two lines."""
        layers = ", ".join(f"{name or '(top)'} {a} to {b}" for name, (a, b) in self.units.items() if a != b)
        return (
            f"{self.weights_before:,} weights become {self.weights:,}, {self.bytes_before:,} bytes {self.bytes:,}, "
            f"{self.operations_before:,} multiply-adds a sample {self.operations:,}.\n"
            f"units: {layers or 'all are read, none was taken out'}"
        )


def without_dead_units(network: Network, rows: Tensor, *, tolerance: float = 1e-4) -> Shrunk:
    """`network` with its dead units taken out, as a module that computes the same.

    rows: inputs (n, ...) on which the outputs are compared. Raises `ClaimError` where they differ by more than
    `tolerance` of their largest entry, `UnsupportedOperator`, `ModelError` as `wire`, and `ModelError` for several
    inputs or outputs. The network is left as it is. Units that an operator mixes in a way that is not known stay, and
    so do outputs. Cost: two exports, a few passes of one sample, two passes of the rows. The comparison is an estimate:
    it is made on these rows alone. Source: ours.
    """
    wiring = wire(network)
    slim, _ = slimmed(network, wiring, live_connections(wiring))
    whole = wire(Network(slim, network.example, probe=False)).graph
    graph = narrowed(whole)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ModelError(
            f"network {network.name!r}",
            found=f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs",
            expected="one of each",
            remedy="wrap the model in a module that takes one tensor and returns one",
        )
    model = GraphNetwork(graph).eval()
    deviation = checked_deviation(model, network, rows, tolerance, "the network without its dead units")
    pairs = [(a, b) for a, b in zip(whole.nodes, graph.nodes, strict=True) if a.op in LAYERS]
    return Shrunk(
        model=model,
        units={a.module: (_units(a), _units(b)) for a, b in pairs},
        weights_before=sum(a.constants["weight"].numel() for a, _ in pairs),
        weights=sum(b.constants["weight"].numel() for _, b in pairs),
        bytes_before=_size(network.model),
        bytes=_size(model),
        operations_before=sum(_operations(whole, a) for a, _ in pairs),
        operations=sum(_operations(graph, b) for _, b in pairs),
        deviation=deviation,
    )


def save_shrunk(shrunk: Shrunk, example: Tensor, path: str | Path) -> Path:
    """Write the smaller network as an exported program (.pt2), which torch runs and every command here reads.

    example: rows (n, ...), two or more, whose number is left open in the file. Raises `ModelError` for a network with
    operators that mix or move rows in a way that torch.export cannot leave open (`straight`), `FileError` as `atomic`.
    Cost: one export. Exact. Source: torch.export.
    """
    if not straight(shrunk.model.graph):
        raise ModelError(
            "the smaller network",
            found="an operator that cannot be written for any number of rows",
            expected="operators that take rows as they come",
            remedy="use Shrunk.model as it is, or export it for rows of one number with torch.export",
        )
    batch = torch.export.Dim("batch")
    program = torch.export.export(shrunk.model, (example[:2],), dynamic_shapes=({0: batch},))
    content = io.BytesIO()
    torch.export.save(program, content)
    with atomic(Path(path)) as temporary:
        temporary.write_bytes(content.getvalue())
    return Path(path)


def _units(node: Node) -> int:
    weight = node.constants["weight"]
    turned = node.op == "convolution" and node.attributes["transposed"]
    return weight.shape[1] * node.attributes["groups"] if turned else weight.shape[0]


def _operations(graph: Graph, node: Node) -> int:
    """Multiply-adds of one sample, padding counted in."""
    weight = node.constants["weight"].numel()
    if node.op == "linear":
        return weight * (node.numel // node.shape[-1])
    shape = graph.nodes[node.inputs[0]].shape if node.attributes["transposed"] else node.shape
    return weight * int(torch.Size(shape[-len(node.attributes["stride"]) :]).numel())


def _size(model: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in model.state_dict().values())
