"""A network made ready for bounds: lowered graph, absolute operators, offsets, rounding factors, who needs tight
limits.

`BoundNetwork` is built once for a model and used for any number of regions. gamma_n = n u / (1 - n u) with the unit
roundoff u of the dtype: the factor by which n additions and products may be off, relative to the sum of absolute values
(any order of summation).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.network.graph import Graph, Node, trace
from cutaway.robustness.bounds.lowering import LINEAR, lower_graph, needed, without_padded_maxima
from cutaway.robustness.bounds.maxima import MAXIMA, Windows, windows
from cutaway.robustness.bounds.transpose import absolute, fan, offset
from cutaway.robustness.bounds.unary import UNARY

_KEEPS_COORDINATES = frozenset({"reshape", "permute", "slice", "scale_shift"})


def gamma(count: int, dtype: torch.dtype) -> float:
    """n u / (1 - n u)."""
    unit = torch.finfo(dtype).eps / 2
    return count * unit / (1 - count * unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundNetwork:
    """See `bound_network`. `tighten` holds the nodes whose limits feed a nonlinearity and are worth a backward pass,
    each with the nonlinear nodes that read it; `before[i]` the nodes that node i depends on (itself included). Without
    `rounding` nothing is subtracted for rounding errors: for searching, never for a verdict. `coarse` is the same
    network with maxima over windows bounded in one step, where there are such: to be tried first, since it is many
    times cheaper; `windows` are those of its maxima. `source` is the network as it was traced, of which the nodes
    `needed` matter; `places` says where their values stand in `graph`.

    Tensors of `offset` have shape (*node shape).
    """

    graph: Graph
    absolute: dict[int, Node]
    offset: dict[int, Tensor]
    gamma: tuple[float, ...]
    tighten: dict[int, tuple[int, ...]]
    before: tuple[frozenset[int], ...]
    box_exact: frozenset[int]
    windows: dict[int, Windows] = field(default_factory=dict)
    coarse: BoundNetwork | None = None
    rounding: bool = True
    source: Graph
    places: dict[int, int]
    needed: frozenset[int] = frozenset()

    def spread(self, index: int, limits: Any) -> Tensor:
        """Lower limit of the variance plus epsilon of a layer norm, (B, *leading shape, 1, ...)."""
        node = self.source.nodes[index]
        before, last = self.places[node.inputs[0]], self.places[index]
        inner = next(n for n in self.graph.nodes[before : last + 1] if n.op == "rsqrt" and n.name.startswith(node.name))
        low = limits.lower[inner.inputs[0]]
        count = node.attributes["num_dims"]
        return low.reshape(len(low), *node.shape[: len(node.shape) - count], *(1,) * count)

    @property
    def dtype(self) -> torch.dtype:
        """Of all computation."""
        return self.graph.dtype

    @property
    def nonlinear(self) -> tuple[Node, ...]:
        """Elementwise functions and products in order."""
        return tuple(n for n in self.graph.nodes if n.op in UNARY or n.op == "mul")

    def widest(self, index: int) -> int:
        """Largest number of values among the nodes that node `index` depends on."""
        return max(self.graph.nodes[i].numel for i in self.before[index])


def bound_network(
    model: nn.Module | Graph, example_inputs: Tensor | None = None, *, dtype=torch.float64, batched: bool = True
) -> BoundNetwork:
    """Prepare a model (with an example input, any batch size) or a traced `Graph` for bounds.

    Raises UnsupportedOperator for an operator without a rule (which one, where, what to do) and ModelError for a
    network with several inputs or outputs, or one that cannot be exported.
    Raises TypeError for a model without example inputs. Cost: one export and a few forward passes of the example.
    Source: ours.
    """
    if not isinstance(model, Graph):
        if example_inputs is None:
            raise TypeError("a model is traced: give example_inputs, a tensor of any batch size, or a traced Graph")
        model = trace(model, example_inputs, dtype=dtype, batched=batched)
    model = model if model.dtype == dtype else model.to(dtype)
    model = without_padded_maxima(model)
    bounded = _of_prepared(model, *lower_graph(model))
    if not any(node.op in MAXIMA for node in model.nodes):
        return bounded
    return replace(bounded, coarse=_of_prepared(model, *lower_graph(model, keep_maxima=True)))


def _of_prepared(source: Graph, graph: Graph, places: dict[int, int]) -> BoundNetwork:
    linear = [n for n in graph.nodes if n.op in LINEAR]
    offsets = {n.index: c for n in linear if (c := offset(graph, n)) is not None}
    return BoundNetwork(
        graph=graph,
        source=source,
        places=places,
        needed=frozenset(n.index for n in needed(source)),
        absolute={n.index: absolute(n) for n in linear},
        offset=offsets,
        gamma=tuple(gamma(fan(graph, n) + n.numel + 8, graph.dtype) for n in graph.nodes),
        tighten=_to_tighten(graph),
        before=_ancestors(graph),
        box_exact=_exact_on_boxes(graph),
        windows={n.index: windows(graph, n) for n in graph.nodes if n.op in MAXIMA},
    )


def _ancestors(graph: Graph) -> tuple[frozenset[int], ...]:
    sets: list[frozenset[int]] = []
    for node in graph.nodes:
        sets.append(frozenset({node.index}).union(*(sets[i] for i in node.inputs)))
    return tuple(sets)


def _to_tighten(graph: Graph) -> dict[int, tuple[int, ...]]:
    readers: dict[int, list[int]] = {}
    for node in graph.nodes:
        if node.op in UNARY or node.op in MAXIMA or node.op == "mul":
            for source in node.inputs:
                if graph.nodes[source].op in LINEAR or graph.nodes[source].op == "mul":
                    readers.setdefault(source, []).append(node.index)
    return {k: tuple(v) for k, v in sorted(readers.items())}


def _exact_on_boxes(graph: Graph) -> frozenset[int]:
    """Nodes whose interval is already exact when the region is a box: one linear step from untouched coordinates."""
    free: set[int] = set(graph.inputs)
    exact: set[int] = set(graph.inputs)
    for node in graph.nodes:
        if node.op in LINEAR and len(node.inputs) == 1 and node.inputs[0] in free:
            exact.add(node.index)
            if node.op in _KEEPS_COORDINATES and node.numel <= graph.nodes[node.inputs[0]].numel:
                free.add(node.index)
    return frozenset(exact)
