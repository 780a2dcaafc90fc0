"""Functions that jump: what depends on them, where they are cut, and the value that each side has.

A comparison, a sign or a threshold is decided by the sign of one difference per entry. Cut along the zeros of these
differences, it is constant (a threshold: affine) on every face, with one-sided limits at the face's corners that its
neighbours need not share. What is computed from comparisons alone is constant on every face too, and a value that
these multiply or choose from stays affine there.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from cutaway.network.graph import Node
from cutaway.network.graph.facts import known
from cutaway.network.graph.operators import Slot


class Depends(Enum):
    """How a node depends on the input."""

    NOT = "not at all"
    STEPWISE = "constant on every face"
    WHOLE = "affine on every face"


_COMPARE: dict[str, Callable[[Tensor], Tensor]] = {
    "gt": lambda sign: sign > 0,
    "ge": lambda sign: sign >= 0,
    "lt": lambda sign: sign < 0,
    "le": lambda sign: sign <= 0,
    "eq": lambda sign: sign == 0,
    "ne": lambda sign: sign != 0,
}
_JUMPING = {*_COMPARE, "sign", "threshold"}
_CHOOSING = {"where": (0,), "masked_fill": (1,), "mul": (), "matmul": ()}
"""Operators whose operand at these places only steers; the last two multiply."""


def word(node: Node) -> str:
    """The operator's own name: of the vocabulary, or ATen's."""
    return node.op if known(node.op) or node.op.count(".") < 2 else node.op.split(".")[1]


def jumps(node: Node) -> bool:
    """Whether the node jumps where a difference of its operands changes sign."""
    return word(node) in _JUMPING


def stays_affine(node: Node, inputs: list[Depends]) -> bool:
    """Whether a node that mixes whole and stepwise values (or chooses by stepwise ones) is affine on every face."""
    name = word(node)
    if name not in _CHOOSING:
        return False
    if not _CHOOSING[name]:
        return inputs.count(Depends.WHOLE) == 1
    given = node.attributes["args"]
    steering = [given[place] for place in _CHOOSING[name]]
    return all(not isinstance(s, Slot) or inputs[s.position] is not Depends.WHOLE for s in steering)


def is_stepwise(node: Node) -> bool:
    """Whether a function of stepwise values alone is one of them: any that is known and draws nothing at random."""
    return known(word(node)) and "rand" not in word(node)


def compared(node: Node) -> tuple[Any, Any]:
    """What a jumping node compares, each a `Slot` (one of its inputs) or constant."""
    if node.op == "sign":
        return Slot(0), 0.0
    if node.op == "threshold":
        return Slot(0), node.attributes["threshold"]
    return node.attributes["args"][0], node.attributes["args"][1]


def difference(node: Node, values: list[Tensor]) -> Tensor:
    """The function, on one sample, whose sign decides."""
    left, right = (values[c.position] if isinstance(c, Slot) else c for c in compared(node))
    found = left - right
    assert isinstance(found, Tensor)
    return found.expand(node.shape)


def one_sided(node: Node, values: list[Tensor], sign: Tensor) -> Tensor:
    """The node's value, on one sample, on the side of the jump where `difference` has this sign (0: all around)."""
    name = word(node)
    if name in _COMPARE:
        return _COMPARE[name](sign)
    if name == "threshold":
        return torch.where(sign > 0, values[0], node.attributes["value"])
    return sign.to(values[0].dtype)
