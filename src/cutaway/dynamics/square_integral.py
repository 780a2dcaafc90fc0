"""Whether a target has a finite variance: how fast it grows, and how it runs up to where it is infinite.

A bound |f(z)| <= C sum_j exp(z' A_j z + o(|z|^2)) prod_i (1 + |z_i - r|^-s) is read from how the expression is written.
Under the standard normal E f(z)^2 is finite if every eigenvalue of every A_j is below 1/4 and every s below 1/2. The
bound is `sharp` where it is attained, so that what exceeds it is known to be infinite; otherwise it is not known.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cutaway.dynamics.closed_form import called_function, closed_form_of
from cutaway.dynamics.ranges import constant_of, values_between

FASTER = 1e9
"""Stands for growth that is faster than every exponential of a square."""
SLOW = 1e-9
"""Stands for growth that is slower than every power, as a logarithm's."""
MOST_FORMS = 16
LIMIT, MARGIN = 0.25, 1e-12

Place = tuple[int, float]
"""Axis and value of a coordinate at which an expression is 0 or infinite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """`forms`: the A_j. `orders`: s by place (below 0 where it goes to 0). `degree`, `factor`: |f| <= (factor + o(1))
    |z|^degree far out, where there is such a bound."""

    forms: tuple[Any, ...]
    orders: dict[Place, float] = field(default_factory=dict)
    degree: float = math.inf
    factor: float = math.inf
    sharp: bool = False

    @property
    def rate(self) -> float:
        """The largest eigenvalue of its forms."""
        return max(float(np.linalg.eigvalsh(form)[-1]) for form in self.forms)

    @property
    def order(self) -> float:
        return max(self.orders.values(), default=0.0)

    @property
    def finite(self) -> bool | None:
        """Whether E f^2 is; None where the bound does not tell."""
        if self.rate < LIMIT - MARGIN and self.order < 0.5 - MARGIN:
            return True
        return False if self.sharp else None

    def power(self, exponent: float) -> Bound:
        """|f|^exponent, exponent >= 0."""
        if exponent == 0:
            return replace(self, forms=(0 * self.forms[0],), orders={}, degree=0.0, factor=1.0, sharp=True)
        return replace(
            self,
            forms=tuple(exponent * form for form in self.forms),
            orders={place: exponent * s for place, s in self.orders.items()},
            degree=exponent * self.degree,
            factor=self.factor**exponent if self.factor < math.inf else math.inf,
        )

    def times(self, other: Bound) -> Bound | None:
        if len(self.forms) * len(other.forms) > MOST_FORMS:
            return None
        places = {*self.orders, *other.orders}
        return Bound(
            forms=tuple(a + b for a in self.forms for b in other.forms),
            orders={place: self.orders.get(place, 0.0) + other.orders.get(place, 0.0) for place in places},
            degree=self.degree + other.degree,
            factor=self.factor * other.factor if self.factor and other.factor else 0.0,
            sharp=self.sharp and other.sharp,
        )

    def plus(self, other: Bound) -> Bound | None:
        if len(self.forms) + len(other.forms) > MOST_FORMS:
            return None
        places = {*self.orders, *other.orders}
        alike = self.degree == other.degree
        longer = self if self.degree > other.degree else other
        return Bound(
            forms=(*self.forms, *other.forms),
            orders={place: max(self.orders.get(place, 0.0), other.orders.get(place, 0.0)) for place in places},
            degree=longer.degree,
            factor=self.factor + other.factor if alike else longer.factor,
        )


class GrowthBounds:
    """Bounds of the parts of an expression of `num` directions."""

    def __init__(self, num: int) -> None:
        self.num = num
        self._flat = np.zeros((num, num))

    def of(self, node: ast.expr) -> Bound | None:
        """The bound of an expression, None where none is known."""
        low, high = values_between(node)
        found = self._polynomial(node) or self._composed(node)
        if math.isfinite(low) and math.isfinite(high) and (found is None or not found.sharp):
            return self._bounded(max(abs(low), abs(high)))
        return found

    def _bounded(self, size: float) -> Bound:
        return Bound(forms=(self._flat,), degree=0.0, factor=size)

    def _polynomial(self, node: ast.expr) -> Bound | None:
        """Of a polynomial; its zeros where it is a power of one coordinate or a line in one."""
        terms = _polynomial(node, self.num)
        if not terms:
            return None
        degree = max(map(sum, terms))
        top = sum(abs(factor) for powers, factor in terms.items() if sum(powers) == degree)
        orders: dict[Place, float] = {}
        axes = {axis for powers in terms for axis, power in enumerate(powers) if power}
        if len(terms) == 1:
            (powers,) = terms
            orders = {(axis, 0.0): -float(power) for axis, power in enumerate(powers) if power}
        elif degree == 1 and len(axes) == 1:
            (axis,) = axes
            slope = next(factor for powers, factor in terms.items() if any(powers))
            orders = {(axis, -terms[(0,) * self.num] / slope): -1.0}
        return Bound(forms=(self._flat,), orders=orders, degree=float(degree), factor=top, sharp=True)

    def _composed(self, node: ast.expr) -> Bound | None:
        if isinstance(node, ast.UnaryOp):
            return self.of(node.operand)
        if isinstance(node, ast.BinOp):
            return self._of_two(node)
        if not isinstance(node, ast.Call) or not called_function(node):
            return None
        name, inner = called_function(node), node.args[0]
        if name == "exp":
            return self._exponential(inner, 1.0)
        if name == "log":
            return self._logarithm(inner)
        if name == "sign" and _polynomial(inner, self.num):  # 1 or -1 but for its zeros
            return replace(self._bounded(1.0), sharp=True)
        found = self.of(inner)
        if found is None or name == "abs":
            return found
        if name == "sqrt":
            return found.power(0.5)
        if name == "relu":
            return replace(found, sharp=False)
        if name[:2] in ("He", "he"):
            return self._bounded(1.0).plus(replace(found.power(int(name[2:])), sharp=False))
        return None

    def _of_two(self, node: ast.BinOp) -> Bound | None:
        if isinstance(node.op, ast.Pow):
            return self._power(node, 1.0)
        left = self.of(node.left)
        right = self.inverse(node.right) if isinstance(node.op, ast.Div) else self.of(node.right)
        if left is None or right is None:
            return None
        return left.plus(right) if isinstance(node.op, ast.Add | ast.Sub) else left.times(right)

    def _power(self, node: ast.BinOp, sign: float) -> Bound | None:
        """base^(sign exponent)."""
        base, exponent = constant_of(node.left), constant_of(node.right)
        if exponent is None:
            return self._exponential(node.right, sign * math.log(base)) if base is not None and base > 0 else None
        inner = self.of(node.left) if sign * exponent >= 0 else self.inverse(node.left)
        return None if inner is None else inner.power(abs(exponent))

    def inverse(self, node: ast.expr) -> Bound | None:
        """The bound of 1 / expression."""
        value = constant_of(node)
        if value is not None:
            return replace(self._bounded(1 / abs(value)), sharp=True) if value else None
        found = self._inverse(node)
        if found is not None:
            return found
        low, high = values_between(node)
        least = max(low, -high)
        return self._bounded(1 / least) if least > 0 else None

    def _inverse(self, node: ast.expr) -> Bound | None:
        if isinstance(node, ast.UnaryOp):
            return self.inverse(node.operand)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            return self._power(node, -1.0)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
            left = self.inverse(node.left)
            right = self.of(node.right) if isinstance(node.op, ast.Div) else self.inverse(node.right)
            return None if left is None or right is None else left.times(right)
        if isinstance(node, ast.Call) and called_function(node) == "exp":
            return self._exponential(node.args[0], -1.0)
        if isinstance(node, ast.Call) and called_function(node) in ("abs", "sqrt"):
            found = self.inverse(node.args[0])
            return found if found is None or called_function(node) == "abs" else found.power(0.5)
        found = self._polynomial(node)
        if found is None or not found.orders:
            return None
        # far from its zeros it is at least a constant; along an axis it falls no faster than any power
        orders = {place: -s for place, s in found.orders.items()}
        return Bound(forms=(self._flat,), orders=orders, degree=0.0, factor=math.inf, sharp=True)

    def _exponential(self, inner: ast.expr, scale: float) -> Bound | None:
        """exp(scale u)."""
        terms = _polynomial(inner, self.num)
        low, high = values_between(inner)
        highest = max(scale * low, scale * high) if scale else 0.0
        if terms is not None:
            return self._of_polynomial(terms, scale, highest)
        if highest < math.inf:
            return self._bounded(math.exp(min(highest, 700.0)))
        found = self.of(inner)
        endless = (
            called_function(inner) == "exp" and values_between(inner)[1] == math.inf
        )  # exp(exp(..)), as large as one likes
        if found is not None and found.sharp and scale > 0 and low >= 0 and (found.rate > 0 or endless):
            return Bound(forms=(FASTER * np.eye(self.num),), sharp=True)
        if found is None or found.order > 0 or found.degree > 2:
            return None
        rate = abs(scale) * found.factor if found.degree == 2 else 0.0
        return Bound(forms=(rate * np.eye(self.num),)) if rate < math.inf else None

    def _of_polynomial(self, terms: dict[tuple[int, ...], float], scale: float, highest: float) -> Bound | None:
        degree = max(map(sum, terms), default=0)
        if degree <= 2:
            form = np.zeros((self.num, self.num))
            for powers, factor in terms.items():
                axes = [axis for axis, power in enumerate(powers) for _ in range(power)]
                if len(axes) == 2:
                    form[axes[0], axes[1]] += scale * factor / 2
                    form[axes[1], axes[0]] += scale * factor / 2
            steep = any(sum(powers) == 1 for powers in terms)
            size = math.exp(min(scale * terms.get((0,) * self.num, 0.0), 700.0))
            flat = not form.any() and not steep
            return Bound(forms=(form,), degree=0.0 if flat else math.inf, factor=size if flat else math.inf, sharp=True)
        top = [(powers, scale * factor) for powers, factor in terms.items() if sum(powers) == degree]
        falls = self.num == 1 and degree % 2 == 0 and top[0][1] < 0
        if highest < math.inf or falls:
            return self._bounded(math.exp(min(highest, 700.0)))
        rises = any(sum(f * math.prod(map(pow, way, p)) for p, f in top) > 0 for way in _ways(self.num))
        return Bound(forms=(FASTER * np.eye(self.num),), sharp=True) if rises else None

    def _logarithm(self, inner: ast.expr) -> Bound | None:
        if isinstance(inner, ast.Call) and called_function(inner) == "exp":
            return self.of(inner.args[0])
        found, inverse = self.of(inner), self.inverse(inner)
        if found is None or inverse is None:
            return None
        rates = [abs(float(v)) for b in (found, inverse) for form in b.forms for v in np.linalg.eigvalsh(form)]
        orders = {place: SLOW for b in (found, inverse) for place, s in b.orders.items() if s}
        steep = any(rates) or math.inf in (found.degree, inverse.degree)
        return Bound(
            forms=(self._flat,),
            orders=orders,
            degree=2.0 if steep else SLOW,
            factor=max(rates) if steep and max(rates) < FASTER else math.inf if steep else 1.0,
        )


def _ways(num: int) -> Iterator[tuple[float, ...]]:
    """Some directions; none in more than six dimensions."""
    return itertools.product((-1.0, 1.0, 0.5), repeat=num) if num <= 6 else iter(())


def _polynomial(node: ast.expr, num: int) -> dict[tuple[int, ...], float] | None:
    """Powers to factor of a polynomial."""
    form = closed_form_of(node, num)
    terms = None if form is None else form.polynomial
    if terms is None or not all(factor.real for factor in terms.values()):
        return None
    return {powers: float(factor.value().real) for powers, factor in terms.items()}
