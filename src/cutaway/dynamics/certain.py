"""What is known of a target's Hermite coefficients without measuring one: those in closed form, those that a symmetry
makes 0, and whether there are any (a finite variance).

An expression is taken apart into what has a closed form and the rest, addend by addend; relu(u) is u / 2 + |u| / 2.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from cutaway.dynamics.closed_form import (
    ClosedForm,
    OutsideForm,
    Powers,
    Sums,
    called_function,
    closed_form_of,
    is_zero,
    total,
)
from cutaway.dynamics.exact_numbers import ONE, Exact
from cutaway.dynamics.square_integral import LIMIT, GrowthBounds
from cutaway.dynamics.symmetry import Symmetries
from cutaway.dynamics.targets import Target
from cutaway.errors import InputError

HALF = Exact.of(Fraction(1, 2))


class Certain:
    """What is known of a target of `num` directions up to `max_degree`. Of a callable nothing is."""

    def __init__(self, chosen: Target, max_degree: int) -> None:
        self.num, self.max_degree = chosen.num_directions, max_degree
        self._name, self._tree = chosen.name, chosen.tree
        parts = [] if chosen.tree is None else list(_addends(chosen.tree, ONE))
        exact, self._rest = ClosedForm({}, self.num), []
        for factor, node in parts:
            form = closed_form_of(node, self.num)
            joined = None if form is None else _joined(exact, form, factor)
            exact = joined or exact
            self._rest += [node] if joined is None and factor else []
        self._exact = exact
        steep = exact.steepest >= Fraction(1, 2)  # then there are none
        found = None if chosen.tree is None or steep else exact.coefficients(max_degree)
        self._symmetries = [Symmetries(node) for node in self._rest]
        self._by_degree: list[dict[Powers, Sums]] | None = None
        if found is not None:
            self._by_degree = [{k: s for k, s in found.items() if sum(k) == d} for d in range(max_degree + 1)]

    @property
    def closed(self) -> bool:
        """Whether every coefficient has a closed form."""
        return self._by_degree is not None and not self._rest

    def is_zero(self, degree: int) -> bool | None:
        """Whether all coefficients of a degree are 0; None where that is not known."""
        if self._by_degree is None or not all(symmetries.vanishes(degree) for symmetries in self._symmetries):
            return None
        found = [is_zero(sums) for sums in self._by_degree[degree].values()]
        return False if False in found else None if None in found else True

    def size(self, degree: int) -> Any:
        """The squared norm of the coefficients in closed form (mpmath)."""
        import mpmath

        parts = (self._by_degree or [{}])[degree] if self._by_degree is not None else {}
        squares = (total(s) ** 2 / math.prod(map(math.factorial, powers)) for powers, s in parts.items())
        return mpmath.fsum(squares)

    def coefficient(self, powers: Powers) -> Any:
        """E[f He_a1(z1) ...] / sqrt(a1! ...) of what is `closed` (mpmath)."""
        import mpmath

        assert self._by_degree is not None
        sums = self._by_degree[sum(powers)].get(powers, {})
        return total(sums) / mpmath.sqrt(math.prod(map(math.factorial, powers)))

    def variance(self) -> Any | None:
        """Of what is `closed` (mpmath); None where its terms are too many."""
        square = self._exact.mean_square()
        return None if square is None else max(square - self.size(0), 0)

    @property
    def polynomial_degree(self) -> int | None:
        """Of a polynomial."""
        terms = self._exact.polynomial if self.closed else None
        return None if terms is None else max(map(sum, terms), default=0)

    def tells_nothing(self, degree: int) -> bool:
        """Whether E[he_a | f] is known to be 0 for every a of this degree (at least 1).

        By a change of signs that leaves f as it is; or where f has two values alone, of which E[he_a | f] is a line,
        by E[f he_a] = 0.
        """
        if self._tree is None:
            return False
        if Symmetries(self._tree, even=True).vanishes(degree):
            return True
        return _two_valued(self._tree, self.num) and self.is_zero(degree) is True

    def singular_at(self) -> dict[tuple[int, float], float]:
        """Where the rest may be infinite, and with which power of the distance."""
        growth, found = GrowthBounds(self.num), {}
        for node in self._rest:
            bound = growth.of(node)
            for place, order in (bound.orders if bound is not None else {}).items():
                found[place] = max(order, found.get(place, 0.0))
        return {place: order for place, order in found.items() if order > 0}

    def finite_variance(self) -> bool | None:
        """Whether E f^2 is finite; None where that is not known."""
        if self._tree is None:
            return None
        growth = GrowthBounds(self.num)
        bounds = [growth.of(node) for node in self._rest]
        known = [None if bound is None else bound.finite for bound in bounds]
        known.append(self._exact.steepest < Fraction(LIMIT))
        bad = [each for each in known if each is not True]
        return True if not bad else False if bad == [False] else None

    def check_variance(self) -> None:
        """Raises `InputError` for an expression whose variance is infinite, or not known to be finite."""
        finite = True if self._tree is None else self.finite_variance()
        if not finite:
            infinite, doubt = "values whose square has no integral", "values of which it is not known that their square"
            raise InputError(
                f"target {self._name!r}",
                found=infinite if finite is False else f"{doubt} has an integral",
                expected="a finite variance for Gaussian fields: less than exp(z^2/4) far out, and than |z - r|^(-1/2) "
                "where it is infinite",
                remedy="bound the link where it grows, for example tanh(1/z)",
            )


def _two_valued(node: ast.expr, num: int) -> bool:
    """Whether an expression is written as a product of signs of polynomials, which are 0 almost nowhere."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _two_valued(node.left, num) and _two_valued(node.right, num)
    if isinstance(node, ast.UnaryOp):
        return _two_valued(node.operand, num)
    form = closed_form_of(node.args[0], num) if isinstance(node, ast.Call) and called_function(node) == "sign" else None
    return form is not None and bool(form.polynomial)


def _joined(exact: ClosedForm, form: ClosedForm, factor: Exact) -> ClosedForm | None:
    try:
        return exact + form.scaled(factor)
    except OutsideForm:  # too many terms
        return None


def _addends(node: ast.expr, factor: Exact) -> Iterator[tuple[Exact, ast.expr]]:
    """The addends of an expression with the numbers before them."""
    inside = _without_number(node)
    if inside is not None:
        yield from _addends(inside[1], factor * inside[0])
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        yield from _addends(node.left, factor)
        yield from _addends(node.right, -factor if isinstance(node.op, ast.Sub) else factor)
    elif isinstance(node, ast.Call) and called_function(node) == "relu":
        yield from _addends(node.args[0], factor * HALF)
        yield factor * HALF, ast.Call(func=ast.Name(id="abs", ctx=ast.Load()), args=node.args, keywords=[])
    else:
        yield factor, node


def _without_number(node: ast.expr) -> tuple[Exact, ast.expr] | None:
    """An expression as a number times another, where it is written so."""
    if isinstance(node, ast.UnaryOp):
        return Exact.of(-1 if isinstance(node.op, ast.USub) else 1), node.operand
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        left, right = _number(node.left), _number(node.right)
        return (left, node.right) if left is not None else (right, node.left) if right is not None else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        value = _number(node.right)
        inverse = None if value is None else value.inverse
        return None if inverse is None else (inverse, node.left)
    return None


def _number(node: ast.expr) -> Exact | None:
    """The exact value of an expression without projections."""
    if any(isinstance(n, ast.Name) and n.id.startswith("z") for n in ast.walk(node)):
        return None
    form = closed_form_of(node, 1)
    terms = None if form is None else form.polynomial
    return None if terms is None else terms.get((0,), Exact())
