"""Live connections: which weights lie on a path of non-zero weights from an input to an output.

A weight w from unit u to unit v is *active* where w != 0, some input reaches u, and v reaches some output, all over
non-zero weights (Vysogorets and Kempe, arXiv 2107.02306, section 3). With N weights in all, direct compression is
N / #{w != 0} and effective compression N / #active, infinite where no path is left. A unit that only biases feed is
constant, so what leaves it is not active. Convolutions are followed position by position: weights that only ever see
padding are inactive, which the paper's channel graph does not tell. Biases and the scales of normalisations are not
counted; a scale of exactly zero cuts its channel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vjp

from cutaway.network.gradient import derivatives
from cutaway.network.graph import Node
from cutaway.structure.spread import passes_on, spread
from cutaway.structure.wiring import Wiring, unit_dim

Masks = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Live:
    """What is alive. `active[name]`: Boolean, of the weight's shape; `kept[name]`: how many of its weights
    the masks keep, without a mask how many are not zero; `units[name]`: (alive, all) units that the weight leads to;
    `outputs`: which outputs some input reaches, of one sample's output shape; `total`: number of weights. `reached`,
    `needed`: by operator of the graph, which entries of its value depend on an input, and which lead to an output
    (constant ones too)."""

    active: dict[str, Tensor]
    kept: dict[str, int]
    units: dict[str, tuple[int, int]]
    outputs: Tensor
    total: int
    reached: tuple[Tensor, ...]
    needed: tuple[Tensor, ...]

    @property
    def num_active(self) -> int:
        """Number of active weights."""
        return sum(int(mask.sum()) for mask in self.active.values())

    @property
    def direct(self) -> float:
        """Direct compression, N / #kept."""
        return _ratio(self.total, sum(self.kept.values()))

    @property
    def effective(self) -> float:
        """Effective compression, N / #active; infinite where no input is connected to any output."""
        return _ratio(self.total, self.num_active)

    @property
    def disconnected(self) -> bool:
        """Whether no output depends on any input."""
        return not bool(self.outputs.any())


def live_connections(wiring: Wiring, masks: Masks | None = None) -> Live:
    """The live connections of a wired network; exact.

    masks: where weights are kept, Boolean, by name; those that are not named are kept where they are not zero. Cost:
    about three passes of one sample; memory of one layer's weights twice.
    """
    kept = {name: _mask(wiring, name, masks) for name in wiring.weights}
    with torch.no_grad():
        reached = _forward(wiring, kept)
        return _backward(wiring, kept, reached)


def _mask(wiring: Wiring, name: str, masks: Masks | None) -> Tensor:
    values = wiring.weights[name].values
    return values != 0 if masks is None or name not in masks else masks[name].to(values.device, torch.bool)


def _forward(wiring: Wiring, kept: Masks) -> list[Tensor]:
    """Per node, which entries depend on an input."""
    graph = wiring.graph
    reached: list[Tensor] = []
    for node in graph.nodes:
        if node.op == "input":
            reached.append(torch.ones(node.shape, dtype=torch.bool, device=wiring.point.device))
        elif passes_on(node):
            reached.append(reached[node.inputs[0]])
        else:
            values = [reached[i].float() for i in node.inputs]
            found = spread(node, values, wiring.binary(node, kept), wiring.nonzero(node, reached))
            reached.append((found > _least(node)).to(wiring.point.device))
    return reached


def _backward(wiring: Wiring, kept: Masks, reached: list[Tensor]) -> Live:
    graph, uses = wiring.graph, wiring.uses
    needed = [torch.zeros_like(r) for r in reached]
    for index in graph.outputs:
        needed[index] = torch.ones_like(reached[index])
    active = {name: torch.zeros_like(mask) for name, mask in kept.items()}
    alive: dict[str, Tensor] = {}
    for node in reversed(graph.nodes):
        wanted = needed[node.index]
        if node.op in ("input", "constant"):
            continue
        if passes_on(node):
            needed[node.inputs[0]] |= wanted
            continue
        back, by_weight = _transposed(wiring, node, reached, wanted, wiring.binary(node, kept))
        for source, pulled in zip(node.inputs, back, strict=True):
            needed[source] |= pulled > _least(node)
        if node.index in uses and by_weight is not None:
            name, turned = uses[node.index]
            active[name] |= kept[name] & ((by_weight.mT if turned else by_weight) > _least(node))
            units = (wanted & reached[node.index]).movedim(unit_dim(node), 0).flatten(1).any(dim=1)
            if name not in alive:
                alive[name] = units
            elif len(alive[name]) == len(units):  # tied weights may stand for other units elsewhere: those of the last
                alive[name] |= units
    outputs = torch.cat([reached[i].flatten() for i in graph.outputs])
    return Live(
        active=active,
        kept={name: int(mask.sum()) for name, mask in kept.items()},
        units={name: (int(alive[name].sum()), len(alive[name])) for name in kept},
        outputs=outputs.reshape(graph.nodes[graph.outputs[0]].shape) if len(graph.outputs) == 1 else outputs,
        total=wiring.total,
        reached=tuple(reached),
        needed=tuple(needed),
    )


def _transposed(
    wiring: Wiring, node: Node, reached: list[Tensor], wanted: Tensor, weight: Tensor | None
) -> tuple[list[Tensor], Tensor | None]:
    """How often each operand's entries, and each weight, lead from what is reached to what is wanted."""
    nonzero = wiring.nonzero(node, reached)
    values = [reached[i].float() for i in node.inputs]
    with derivatives():
        if weight is None:
            _, pull = vjp(lambda *v: spread(node, list(v), None, nonzero), *values)  # pyright: ignore[reportAssignmentType]
            return list(pull(wanted.float())), None
        _, pull = vjp(lambda w, *v: spread(node, list(v), w, nonzero), weight, *values)  # pyright: ignore[reportAssignmentType]
        by_weight, *back = pull(wanted.float())
        return back, by_weight


def _least(node: Node) -> float:
    """Above which a count is one: whole numbers come out of products, whose fast algorithms round; means keep zeros."""
    return 0.0 if node.op == "adaptive_avg_pool" else 0.5


def _ratio(total: int, count: int) -> float:
    return total / count if count else math.inf
