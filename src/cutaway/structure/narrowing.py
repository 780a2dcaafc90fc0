"""An operator graph without the units that nothing reads: rows and columns of its matrices are really taken out.

Units lie along one axis of an operator's value (channels of a convolution, features of a layer), and what follows keeps
them apart or mixes them. A unit may go where every weight that reads it is zero; through sums, concatenations,
flattening, pooling, normalisation and elementwise functions it goes together with the units that it meets there. What
must stay is found by going back from the outputs until nothing changes, so what goes is zero for every input. Operators
that are not named below keep all their operands.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from cutaway.network.graph import Graph, Node
from cutaway.structure.spread import passes_on

_POOLS = {"avg_pool": "kernel", "max_pool": "kernel", "adaptive_avg_pool": "size"}
_REDUCTIONS = ("sum", "mean", "max_reduce")
_MEETINGS = ("add", "mul", "maximum", "minimum")


Kept = list[Tensor | None]
"""By node, which units along its axis stay; None: no axis, everything stays."""


def narrowed(graph: Graph) -> Graph:
    """`graph` with fewer units a layer: the same function up to rounding.

    Inputs and outputs keep their shapes; a layer of which nothing is read keeps one unit. Exact: only what is
    multiplied by zeros goes (an infinite value of such a unit would have made NaN). Cost: a few passes over the
    weights. Source: ours.
    """
    axes = _axes(graph)
    kept: Kept = [
        torch.zeros(n.shape[axes[n.index]], dtype=torch.bool) if n.index in axes else None for n in graph.nodes
    ]
    for index in graph.outputs:
        _keep(kept, index)
    while True:
        before = sum(int(k.sum()) for k in kept if k is not None)
        for node in reversed(graph.nodes):
            _back(graph, node, axes, kept)
        for mask in kept:
            if mask is not None and not bool(mask.any()):
                mask[0] = True
        if sum(int(k.sum()) for k in kept if k is not None) == before:
            break
    return replace(graph, nodes=tuple(_cut(node, axes, kept) for node in graph.nodes))


def _axes(graph: Graph) -> dict[int, int]:
    """By node, the axis of its value along which units may go."""
    found: dict[int, int] = {}
    for node in graph.nodes:
        axis = _axis(graph, node, found)
        if axis is not None:
            found[node.index] = axis
    return found


def _axis(graph: Graph, node: Node, axes: dict[int, int]) -> int | None:
    rank, sources = len(node.shape), [graph.nodes[i] for i in node.inputs]
    if node.op == "linear":
        return rank - 1
    if node.op == "convolution":
        spatial = len(node.attributes["stride"])
        return rank - spatial - 1 if _plain(node) or (_separate(node) and sources[0].index in axes) else None
    if node.op == "cat":  # inputs stay whole beside what is narrowed
        known = {axes[s.index] for s in sources if s.index in axes}
        return known.pop() if len(known) == 1 else None
    if not sources or any(s.index not in axes for s in sources):
        return None
    first, axis = sources[0], axes[sources[0].index]
    if passes_on(node) or node.op == "scale_shift":
        return axis if node.shape == first.shape else None
    if node.op in _MEETINGS:
        behind = {(len(s.shape) - axes[s.index], s.shape[axes[s.index]]) for s in sources}
        return rank - behind.pop()[0] if len(behind) == 1 else None
    if node.op in _POOLS:
        return axis if axis < rank - len(node.attributes[_POOLS[node.op]]) else None
    if node.op in _REDUCTIONS:
        dims = [d % len(first.shape) for d in node.attributes["dims"]]
        gone = 0 if node.attributes["keepdim"] else sum(d < axis for d in dims)
        return None if axis in dims else axis - gone
    if node.op == "permute":
        return [d % rank for d in node.attributes["dims"]].index(axis)
    if node.op == "slice":
        return axis if node.attributes["dim"] % rank != axis else None
    if node.op == "pad":
        return axis if rank - len(node.attributes["pad"]) // 2 > axis else None
    if node.op == "reshape":
        return _reshaped_axis(first.shape, axis, node.shape)
    return None


def _reshaped_axis(old: tuple[int, ...], axis: int, new: tuple[int, ...]) -> int | None:
    """The axis of the new shape that each old unit fills in whole blocks, nothing but a 1 standing before either."""
    if math.prod(old[:axis]) != 1:
        return None
    inner = math.prod(old[axis + 1 :])
    for place in range(len(new)):
        if math.prod(new[:place]) == 1 and inner % math.prod(new[place + 1 :]) == 0 and new[place] > 1:
            return place
    return None


def _plain(node: Node) -> bool:
    return node.attributes["groups"] == 1


def _separate(node: Node) -> bool:
    """A convolution of every channel by itself."""
    groups = node.attributes["groups"]
    weight = node.constants["weight"]
    return weight.shape[0] == groups and weight.shape[1] == 1


def _keep(kept: Kept, index: int, units: Tensor | None = None) -> None:
    """Keep these units of a node, all by default."""
    mask = kept[index]
    if mask is not None:
        mask |= torch.ones_like(mask) if units is None else units


def _back(graph: Graph, node: Node, axes: dict[int, int], kept: Kept) -> None:
    """Keep of a node's operands what it reads; and of itself what they cannot do without."""
    if not node.inputs:
        return
    mine, source = kept[node.index], node.inputs[0]
    if node.op in ("linear", "convolution"):
        _read(graph, node, axes, kept)
        return
    if mine is None:
        for index in node.inputs:
            _keep(kept, index)
        return
    if node.op == "cat" and node.attributes["dim"] % len(node.shape) == axes[node.index]:
        parts = mine.split([graph.nodes[index].shape[axes[node.index]] for index in node.inputs])
        for index, part in zip(node.inputs, parts, strict=True):
            _keep(kept, index, part)
            theirs = kept[index]
            part |= torch.ones_like(part) if theirs is None else theirs
        return
    if node.op == "reshape":
        theirs = kept[source]
        assert theirs is not None
        times = len(mine) // len(theirs)
        _keep(kept, source, mine.view(-1, times).any(dim=1))
        mine |= theirs.repeat_interleave(times)
        return
    for index in node.inputs:  # unit by unit
        _keep(kept, index, mine)
        theirs = kept[index]
        mine |= torch.ones_like(mine) if theirs is None else theirs


def _read(graph: Graph, node: Node, axes: dict[int, int], kept: Kept) -> None:
    """Keep the operand's units that some weight of a kept unit reads."""
    weight, mine, source = node.constants["weight"], kept[node.index], node.inputs[0]
    rank = len(graph.nodes[source].shape)
    axis = rank - 1 if node.op == "linear" else rank - len(node.attributes["stride"]) - 1
    theirs = kept[source]
    if theirs is None:
        return
    if mine is None or axes[source] != axis:
        _keep(kept, source)
    elif node.op == "convolution" and not _plain(node):
        _keep(kept, source, mine)
        mine |= theirs
    else:
        rows = weight.transpose(0, 1) if node.op == "convolution" and node.attributes["transposed"] else weight
        reads = (rows[mine.to(rows.device)] != 0).transpose(0, 1).flatten(1).any(dim=1)
        _keep(kept, source, reads.cpu())


def _cut(node: Node, axes: dict[int, int], kept: Kept) -> Node:
    """The node on the units that stay."""
    mine = kept[node.index]
    shape, constants, attributes = node.shape, dict(node.constants), dict(node.attributes)
    if mine is not None:
        axis = axes[node.index]
        shape = (*shape[:axis], int(mine.sum()), *shape[axis + 1 :])
    if node.op in ("linear", "convolution"):
        turned = node.op == "convolution" and node.attributes["transposed"]
        separate = node.op == "convolution" and not _plain(node)
        outer, inner = (1, 0) if turned and not separate else (0, 1)
        constants["weight"] = _chosen(constants["weight"], outer, mine)
        if not separate:
            constants["weight"] = _chosen(constants["weight"], inner, kept[node.inputs[0]])
        elif mine is not None:
            attributes["groups"] = int(mine.sum())
        if "bias" in constants:
            constants["bias"] = _chosen(constants["bias"], 0, mine)
    elif mine is not None:
        behind = len(node.shape) - axes[node.index]
        for name, value in constants.items():
            if value.ndim >= behind and value.shape[-behind] == len(mine):
                constants[name] = _chosen(value, value.ndim - behind, mine)
    return replace(node, shape=shape, constants=constants, attributes=attributes)


def _chosen(value: Tensor, dim: int, mask: Tensor | None) -> Tensor:
    return value if mask is None or bool(mask.all()) else value.index_select(dim, mask.nonzero()[:, 0].to(value.device))
