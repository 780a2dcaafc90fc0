"""Which Hermite coefficients of an expression are 0 because it is even or odd.

Where f(.., -z_i, ..) = s f for the axes i of a set S, E[f He_a(z)] = 0 unless (-1)^(sum of a_i over S) = s. What an
expression does under a change of signs is read from how it is written: a "not known" loses a zero, never makes one.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator

from cutaway.dynamics.closed_form import called_function

MOST_AXES = 12
_ODD = frozenset({"sin", "tanh", "erf", "sign"})
_EVEN = frozenset({"cos", "abs"})


def parity(node: ast.expr, axes: frozenset[int]) -> int:
    """1 where the signs of these axes change nothing, -1 where they change the sign, 0 where that is not known."""
    if isinstance(node, ast.Constant):
        return 1
    if isinstance(node, ast.Name):
        return -1 if node.id != "pi" and int(node.id[1:] or 1) - 1 in axes else 1
    if isinstance(node, ast.UnaryOp):
        return parity(node.operand, axes)
    if isinstance(node, ast.BinOp):
        left, right = parity(node.left, axes), parity(node.right, axes)
        if isinstance(node.op, ast.Add | ast.Sub):
            return left if left == right else 0
        if isinstance(node.op, ast.Pow):
            return _of_power(left, right, node.right)
        return left * right
    if isinstance(node, ast.Call) and called_function(node):
        return _of_function(called_function(node), parity(node.args[0], axes))
    return 0


def _of_power(base: int, exponent: int, power: ast.expr) -> int:
    whole = _whole(power)
    if whole is not None:
        return base if whole % 2 else base * base
    return 1 if base == exponent == 1 else 0


def _whole(node: ast.expr) -> int | None:
    """A whole number that is written out, with or without a sign."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return _whole(node.operand)  # its sign does not matter here
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and float(node.value).is_integer():
        return int(node.value)
    return None


def _of_function(name: str, inner: int) -> int:
    if inner == -1:
        if name[:2] in ("He", "he"):
            return -1 if int(name[2:]) % 2 else 1
        return -1 if name in _ODD else 1 if name in _EVEN else 0
    return inner


class Symmetries:
    """The changes of sign that leave an expression as it is but for its sign; `even`: those that leave it as it is."""

    def __init__(self, tree: ast.expr, *, even: bool = False) -> None:
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id.startswith("z")}
        self._used = sorted(int(name[1:] or 1) - 1 for name in names)
        sets = _sets(self._used) if len(self._used) <= MOST_AXES else ()
        found = [(axes, parity(tree, axes)) for axes in sets]
        self._known = [(axes, sign) for axes, sign in found if sign == 1 or (sign == -1 and not even)]

    def vanishes(self, degree: int) -> bool:
        """Whether every coefficient of this degree is known to be 0."""
        return not any(self._may_be(odd) for odd in self._odd_axes(degree))

    def _odd_axes(self, degree: int) -> Iterator[frozenset[int]]:
        """The axes of odd degree of every monomial of this degree, over the axes that are there."""
        for count in range(degree % 2, min(degree, len(self._used)) + 1, 2):
            if self._used or not degree:
                yield from map(frozenset, itertools.combinations(self._used, count))

    def _may_be(self, odd: frozenset[int]) -> bool:
        return all((-1) ** len(odd & axes) == sign for axes, sign in self._known)


def _sets(axes: list[int]) -> Iterator[frozenset[int]]:
    """All sets of up to two axes, and that of all of them; every set of up to six."""
    most = len(axes) if len(axes) <= 6 else 2
    for count in range(1, most + 1):
        yield from map(frozenset, itertools.combinations(axes, count))
    if len(axes) > most:
        yield frozenset(axes)
