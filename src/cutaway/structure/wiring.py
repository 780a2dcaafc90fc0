"""A network's operator graph with its weights named: what live connections are read from.

`wire(network)` traces the network once and finds for every matrix and kernel of the graph the parameter that it is, as
the network applies it: under `torch.nn.utils.prune` the masked weight, under a parametrisation its result. Weights used
twice (tied, or a module called twice) are one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from cutaway.engines.budget import chunk_size
from cutaway.errors import InputError, UnsupportedOperator
from cutaway.network import Network
from cutaway.network.graph import Graph, Node, evaluate_graph, trace
from cutaway.records import Skipped
from cutaway.structure.spread import WEIGHTS, first_unknown, multiplies

_PRODUCTS = ("linear", "addmm", "mm", "bmm", "matmul", "baddbmm", "mv", "convolution", "embedding")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weight:
    """A weight tensor: `name` its dotted path, `values` as the network applies it, `nodes` the operators that use it,
    each with whether it stands there transposed.

    `values` of any shape.
    """

    name: str
    values: Tensor
    nodes: tuple[tuple[int, bool], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Wiring:
    """`graph` of one sample, `weights` by name in the order of use, `point` the sample it was traced at (1, ...),
    `skipped`: matrices that are no parameter of the network, whose connections are followed but not counted."""

    graph: Graph
    weights: dict[str, Weight]
    point: Tensor
    skipped: tuple[Skipped, ...] = ()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every weight."""
        return {name: tuple(weight.values.shape) for name, weight in self.weights.items()}

    @property
    def total(self) -> int:
        """Number of weights, zeros included."""
        return sum(weight.values.numel() for weight in self.weights.values())

    @property
    def uses(self) -> dict[int, tuple[str, bool]]:
        """By operator: which weight it uses, and whether transposed."""
        return {index: (name, turned) for name, weight in self.weights.items() for index, turned in weight.nodes}

    def binary(self, node: Node, kept: Mapping[str, Tensor]) -> Tensor | None:
        """The weights of an operator as zeros and ones, those with a name by `kept`; None where it has none.

        Masks of `kept` have their weight's shape. Exact. Source: definition.
        """
        if node.op not in WEIGHTS:
            return None
        use = next(((n, t) for n, w in self.weights.items() for i, t in w.nodes if i == node.index), None)
        if use is None:
            return (node.constants[WEIGHTS[node.op]] != 0).float()
        return (kept[use[0]].mT if use[1] else kept[use[0]]).float()

    def nonzero(self, node: Node, reached: Sequence[Tensor]) -> list[Tensor] | None:
        """Where the operands of a product may be other than zero: what depends on an input (`reached`), and constants
        by their value at the point, which is their value everywhere. None for what is no product of two nodes.

        Booleans of the operands' shapes. Sound: an entry that is marked zero is zero for every input. Source: ours.
        """
        if not multiplies(node):
            return None
        return [(reached[i] | (self.values[i] != 0)).float() for i in node.inputs]

    @cached_property
    def values(self) -> list[Tensor]:
        """The value of every operator at the point. Tensors of shape (*node shape)."""
        return [v[0] for v in evaluate_graph(self.graph, self.point if self.graph.batched else self.point[None])]

    def positions(self, name: str) -> int:
        """How many times a sample meets each weight of this name: output positions, summed over its uses (padding
        counted in), so that weights x positions are multiply-adds."""
        total = 0
        for index, _ in self.weights[name].nodes:
            node = self.graph.nodes[index]
            if node.op == "convolution":
                shape = self.graph.nodes[node.inputs[0]].shape if node.attributes["transposed"] else node.shape
                count = len(node.attributes["stride"])
                total += int(torch.Size(shape[-count:]).numel())
            elif node.op != "embedding":
                total += node.numel // node.shape[unit_dim(node)]
        return total


def unit_dim(node: Node) -> int:
    """The dimension of an operator's value along which its units lie."""
    if node.op == "convolution":
        return -len(node.attributes["stride"]) - 1
    return -2 if node.op == "constant_matmul" and node.attributes["left"] else -1


def wire(network: Network, budget: int | None = None) -> Wiring:
    """Trace `network` at its example. Cost: one export and one forward pass; two more copies of the weights in memory.

    Raises `UnsupportedOperator` for an operator through which it is not known how values spread, `ModelError` where the
    network cannot be exported, `InputError` without an example, `BudgetError` where the copies do not fit `budget`
    bytes.
    Exact at the example; how values spread is a sound bound for every input. Source: ours.
    """
    if network.example is None:
        raise InputError(
            f"network {network.name!r}",
            found="no example input",
            expected="one, at which a wiring is traced",
            remedy="give one: Network(model, example)",
        )
    point = network.example[:1]
    if budget is not None:
        chunk_size(3 * sum(p.numel() * p.element_size() for p in network.model.parameters()), budget)
    with torch.no_grad():
        network.forward(point)  # pruning and weight norm put their result in place here, free of old gradients
    half = network.dtype in (torch.float16, torch.bfloat16)
    graph = trace(network.model, point, dtype=torch.float32 if half else None, check=False)
    stranger = first_unknown(graph)
    if stranger is not None:
        raise UnsupportedOperator(
            stranger.place,
            found=f"{stranger.op!r}",
            expected="an operator whose connections are known",
            remedy="replace it by operators listed in cutaway.network.graph, or cut the model before it",
        )
    weights, skipped = _named(graph, network.model)
    return Wiring(graph=graph, weights=weights, point=point, skipped=skipped)


def _named(graph: Graph, model: nn.Module) -> tuple[dict[str, Weight], tuple[Skipped, ...]]:
    candidates = list(effective_weights(model))
    found: dict[str, tuple[Tensor, list[tuple[int, bool]]]] = {}
    skipped = []
    for node in graph.nodes:
        if node.op not in WEIGHTS or node.target.split(".")[1:2] not in [[p] for p in _PRODUCTS]:
            continue
        constant = node.constants[WEIGHTS[node.op]]
        match = _match(constant, node.module, candidates)
        if match is None:
            skipped.append(Skipped(what=node.place, reason="its matrix is no parameter: followed, not counted"))
            continue
        name, values, turned = match
        found.setdefault(name, (values, []))[1].append((node.index, turned))
    weights = {name: Weight(name=name, values=v, nodes=tuple(n)) for name, (v, n) in found.items()}
    return weights, tuple(skipped)


def _match(constant: Tensor, module: str, candidates: list[tuple[str, str, Tensor]]) -> tuple[str, Tensor, bool] | None:
    """The parameter that a constant is; those of the module that uses it first."""
    for _owner, name, values in sorted(candidates, key=lambda c: c[0] != module):
        for turned, value in ((False, values), (True, values.mT if values.ndim == 2 else None)):
            if value is not None and value.shape == constant.shape and torch.equal(value.to(constant), constant):
                return name, values, turned
    return None


def effective_weights(model: nn.Module) -> Iterator[tuple[str, str, Tensor]]:
    """(module's path, name, value) of every tensor of two or more dimensions that the modules apply as a weight: plain
    parameters once each, and what pruning, weight norm or a parametrisation makes of theirs.

    Tensors of the weights' own shapes. Exact. Cost: a copy of every weight that is made of others, one at a time; no
    pass. Source: definition.
    """
    seen: set[int] = set()
    for path, module in model.named_modules():
        made = {n: v for n, v in vars(module).items() if isinstance(v, Tensor)}  # by hooks, beside `_parameters`
        if nn.utils.parametrize.is_parametrized(module):
            made |= {n: getattr(module, n) for n in module.parametrizations}  # pyright: ignore[reportGeneralTypeIssues]
        own = {n: p for n, p in module.named_parameters(recurse=False) if not any(n.startswith(f"{m}_") for m in made)}
        if isinstance(module, nn.utils.parametrize.ParametrizationList):
            own = {}
        for name, value in {**own, **made}.items():
            if value.ndim >= 2 and id(value) not in seen:
                seen.add(id(value))
                yield path, f"{path}.{name}".lstrip("."), value.detach()
