"""Bases of a layer's values in coordinates, sent through an affine node some rows at a time: what `coordinates` holds.

A basis (K, *shape) has a row for each coordinate; row 2 belongs to the coordinate 1, which takes what a node adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from cutaway.geometry.program import StagedProgram
from cutaway.network.graph import Node

_ROW_BYTES = 32  # of one number of a layer while its operator runs: operands, results, what the operator copies


def affine_bytes(program: StagedProgram, node: Node, bases: Mapping[int, Tensor], block: int) -> int:
    """Bytes that `affine_basis` takes: the new basis, and the rows that go through the operator together."""
    count = max(len(b) for b in bases.values())
    return 8 * count * node.numel + _step(program, node, count, block) * _ROW_BYTES * _widest(program, node)


def affine_basis(program: StagedProgram, node: Node, bases: Mapping[int, Tensor], block: int) -> Tensor:
    """(K, *shape): the basis of an affine node from `bases` (k, *shape) of those inputs that are no constants, K the
    longest k. Exact. Memory: the result and about `block` bytes (one row at least), since operators copy what they
    read. Cost: K + 2 passes of one sample through the node."""
    given = {i: bases[i] if i in bases else program.constants[i] for i in node.inputs}
    count = max(len(b) for b in bases.values())
    one = {i: torch.zeros_like(v[:1]) if i in bases else v for i, v in given.items()}
    still = {i: v if i in bases else torch.zeros_like(v) for i, v in one.items()}
    bare = replace(node, constants={k: v for k, v in node.constants.items() if k not in ("bias", "shift")})
    empty = program._apply(bare, [still[i] for i in node.inputs])  # what a constant padding adds by itself
    made = torch.empty(count, *node.shape, dtype=torch.float64)
    step = _step(program, node, count, block)
    for begin in range(0, count, step):
        end = min(begin + step, count)
        some = {i: _rows(bases[i], begin, end) if i in bases else still[i] for i in given}
        torch.sub(program._apply(bare, [some[i] for i in node.inputs]), empty, out=made[begin:end])
    made[2] += program._apply(node, [one[i] for i in node.inputs])[0]
    return made


def same_length(bases: list[Tensor]) -> list[Tensor]:
    """Bases with zero rows added, so that all have those of the longest."""
    longest = max((len(b) for b in bases), default=0)
    return [b if len(b) == longest else torch.cat([b, b.new_zeros(longest - len(b), *b.shape[1:])]) for b in bases]


def _rows(basis: Tensor, begin: int, end: int) -> Tensor:
    """Some rows of a basis, zeros past its end."""
    some = basis[begin:end]
    missing = end - begin - len(some)
    return torch.cat([some, basis.new_zeros(missing, *basis.shape[1:])]) if missing else some


def _step(program: StagedProgram, node: Node, count: int, block: int) -> int:
    return max(1, min(count, block // (_ROW_BYTES * _widest(program, node))))


def _widest(program: StagedProgram, node: Node) -> int:
    """Numbers of the largest array that the operator makes of one sample; a convolution unfolds its windows."""
    widest = max(node.numel, *(program.graph.nodes[i].numel for i in node.inputs), 1)
    if node.op == "convolution":
        weight = node.constants["weight"]
        widest = max(widest, node.numel // len(weight) * weight[0].numel() * 8 // _ROW_BYTES)
    return widest
