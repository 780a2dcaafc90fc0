"""Hermite coefficients in closed form: of sums of monomials times exponentials, sines and cosines of lines, and
exponentials of squares.

A term is c prod_i z_i^m_i exp(q_i z_i^2 + b_i z_i) with exact numbers, b_i complex. Under the standard normal, with
s = 1 / (1 - 2 q) and mu = b s,

    E[z^m exp(q z^2 + b z)] = sqrt(s) exp(b^2 s / 2) E[(sqrt(s) z + mu)^m],

so that every coefficient is a sum of exact numbers times exponentials of exact numbers: whether it is 0 is decided,
not measured.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from cutaway.dynamics.exact_numbers import DIGITS, ONE, PI, ZERO, Exact, exact_root

MOST_TERMS = 400
MOST_COEFFICIENTS = 20_000
HIGHEST_POWER = 64

Powers = tuple[int, ...]
Sums = dict[Exact, Exact]
"""Exponent to factor: the sum of factor x e^exponent."""
_Key = tuple[Powers, tuple[Fraction, ...], tuple[Exact, ...], Exact]


class OutsideForm(Exception):
    """An expression that is no such sum, or one of too many terms."""


@dataclass(frozen=True, slots=True)
class ClosedForm:
    """`terms`: (powers, factors of squares, of lines, exponent) to the factor in front, none of which is 0."""

    terms: dict[_Key, Exact]
    num: int

    def __add__(self, other: ClosedForm) -> ClosedForm:
        found = dict(self.terms)
        for key, factor in other.terms.items():
            found[key] = found.get(key, ZERO) + factor
        return _kept(found, self.num)

    def __mul__(self, other: ClosedForm) -> ClosedForm:
        if len(self.terms) * len(other.terms) > MOST_TERMS**2:
            raise OutsideForm
        found: dict[_Key, Exact] = {}
        for (m, q, b, c), factor in self.terms.items():
            for (n, r, d, e), other_factor in other.terms.items():
                key = (_sum(m, n), _sum(q, r), _sum(b, d), c + e)
                found[key] = found.get(key, ZERO) + factor * other_factor
        return _kept(found, self.num)

    def scaled(self, factor: Exact) -> ClosedForm:
        return _kept({key: factor * each for key, each in self.terms.items()}, self.num)

    @property
    def polynomial(self) -> dict[Powers, Exact] | None:
        """Powers to factor, where there are no exponentials."""
        if any(any(q) or any(b) or e for _, q, b, e in self.terms):
            return None
        return {powers: factor for (powers, _, _, _), factor in self.terms.items()}

    @property
    def steepest(self) -> Fraction:
        """The largest factor of a square: it grows or falls as exp(steepest z^2)."""
        return max((q for _, squares, _, _ in self.terms for q in squares), default=Fraction(0))

    def coefficients(self, max_degree: int) -> dict[Powers, Sums] | None:
        """E[f He_a1(z1) He_a2(z2) ...] by (a1, a2, ...) up to a total of `max_degree`; what is not there is 0. None
        where there are too many, or their numbers too large."""
        found: dict[Powers, Sums] = {}
        for (powers, squares, lines, exponent), factor in self.terms.items():
            columns = [_moments(m, q, b, max_degree) for m, q, b in zip(powers, squares, lines)]
            if any(column is None for column in columns):
                return None
            chosen = [column for column in columns if column is not None]
            moved = exponent
            for _, own in chosen:
                moved = moved + own
            for degrees in _degrees([len(values) for values, _ in chosen], max_degree):
                value = factor
                for (values, _), degree in zip(chosen, degrees):
                    value = value * values[degree]
                if value:
                    sums = found.setdefault(degrees, {})
                    sums[moved] = sums.get(moved, ZERO) + value
                if len(found) > MOST_COEFFICIENTS:
                    return None
        cleaned = {k: {e: c for e, c in sums.items() if c} for k, sums in found.items()}
        return {k: sums for k, sums in cleaned.items() if sums}

    def mean_square(self) -> Any | None:
        """E[f^2] (mpmath), None where its terms are too many."""
        try:
            found = (self * self).coefficients(0)
        except OutsideForm:
            return None
        return None if found is None else total(found.get((0,) * self.num, {}))


def closed_form_of(tree: ast.expr, num: int) -> ClosedForm | None:
    """The expression as such a sum, None where it is none."""
    try:
        return _form(tree, num)
    except (OutsideForm, ValueError, OverflowError):  # a number that is not finite
        return None


def is_zero(sums: Sums) -> bool | None:
    """Whether the sum is 0; None where that is not known (several exponentials with pi in them, 0 to all digits)."""
    if not sums:
        return True
    if len(sums) == 1 or not any(e.with_pi or c.with_pi for e, c in sums.items()):
        return False
    import mpmath

    with mpmath.workdps(2 * DIGITS):
        parts = [c.value() * mpmath.exp(e.value()) for e, c in sums.items()]
        certain = abs(mpmath.fsum(parts)) > mpmath.mpf(10) ** -DIGITS * max(map(abs, parts))
    return False if certain else None


def total(sums: Sums) -> Any:
    """The real value of a sum (mpmath)."""
    import mpmath

    with mpmath.workdps(2 * DIGITS):
        return mpmath.fsum(c.value() * mpmath.exp(e.value()) for e, c in sums.items()).real


def _moments(power: int, square: Fraction, line: Exact, max_degree: int) -> tuple[list[Exact], Exact] | None:
    """E[z^power exp(square z^2 + line z) He_a(z)] for a = 0 .. max_degree without its exponential, and the exponent;
    one entry alone where nothing depends on this z."""
    if not power and not square and not line:
        return [ONE], ZERO
    if square >= Fraction(1, 2):
        return None
    spread = 1 / (1 - 2 * square)
    front = exact_root(spread)
    if front is None:
        return None
    mean, variance = line * Exact.of(spread), Exact.of(spread)
    plain = [front, front * mean]
    for j in range(1, power + max_degree):
        plain.append(mean * plain[j] + variance * plain[j - 1] * Exact.of(j))
    before, now, found = [], plain, []
    for degree in range(max_degree + 1):
        found.append(now[power])
        later = [now[j + 1] + (before[j] * Exact.of(-degree) if degree else ZERO) for j in range(len(now) - 1)]
        before, now = now, later
    return found, line * line * Exact.of(spread / 2)


def _degrees(lengths: list[int], most: int) -> Iterator[Powers]:
    """Whole numbers from 0 below each length, with a sum of at most `most`."""
    if not lengths:
        yield ()
        return
    for first in range(min(lengths[0], most + 1)):
        for rest in _degrees(lengths[1:], most - first):
            yield (first, *rest)


def _sum(a: tuple, b: tuple) -> tuple:
    return tuple(x + y for x, y in zip(a, b))


def _kept(terms: dict[_Key, Exact], num: int) -> ClosedForm:
    kept = {key: factor for key, factor in terms.items() if factor}
    if len(kept) > MOST_TERMS:
        raise OutsideForm
    return ClosedForm(kept, num)


def _term(
    num: int,
    factor: Exact = ONE,
    *,
    axis: int | None = None,
    squares: tuple[Fraction, ...] | None = None,
    lines: tuple[Exact, ...] | None = None,
    exponent: Exact = ZERO,
) -> ClosedForm:
    powers = tuple(int(each == axis) for each in range(num))
    none = (Fraction(0),) * num
    return _kept({(powers, squares or none, lines or (ZERO,) * num, exponent): factor}, num)


def _form(node: ast.expr, num: int) -> ClosedForm:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return _term(num, Exact.of(node.value))
    if isinstance(node, ast.Name):
        return _term(num, PI) if node.id == "pi" else _term(num, axis=int(node.id[1:] or 1) - 1)
    if isinstance(node, ast.UnaryOp):
        inner = _form(node.operand, num)
        return inner.scaled(Exact.of(-1)) if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp):
        return _OPERATIONS[type(node.op)](node, num)
    if isinstance(node, ast.Call) and called_function(node):
        return _called(called_function(node), _form(node.args[0], num))
    raise OutsideForm


def _called(name: str, inner: ClosedForm) -> ClosedForm:
    if name == "exp":
        return _exponential(inner, waves=False)
    if name in ("sin", "cos"):
        wave, back = (_exponential(inner.scaled(Exact.of(sign)), waves=True) for sign in (1, -1))
        half = Exact.of(Fraction(1, 2)) if name == "cos" else Exact.of(0, Fraction(-1, 2))
        return wave.scaled(half) + back.scaled(half if name == "cos" else -half)
    if name[:2] in ("He", "he"):
        return _hermite(inner, int(name[2:]), normalised=name[:2] == "he")
    value = _constant(inner).rational
    found = (
        None if value is None else {"abs": lambda: Exact.of(abs(value)), "sqrt": lambda: exact_root(value)}.get(name)
    )
    made = None if found is None else found()
    if made is None:
        raise OutsideForm
    return _term(inner.num, made)


def _exponential(inner: ClosedForm, *, waves: bool) -> ClosedForm:
    """exp of a polynomial of squares and lines; with `waves`, of i times a line."""
    polynomial, num = inner.polynomial, inner.num
    if polynomial is None or not all(factor.real for factor in polynomial.values()):
        raise OutsideForm
    squares, lines, exponent = [Fraction(0)] * num, [ZERO] * num, ZERO
    turn = Exact.of(0, 1) if waves else ONE
    for powers, factor in polynomial.items():
        degree = sum(powers)
        if degree == 0:
            exponent = turn * factor
        elif degree == 1:
            lines[powers.index(1)] = turn * factor
        elif degree == 2 and max(powers) == 2 and not waves and factor.rational is not None:
            squares[powers.index(2)] = factor.rational
        else:
            raise OutsideForm
    return _term(num, squares=tuple(squares), lines=tuple(lines), exponent=exponent)


def _hermite(inner: ClosedForm, degree: int, *, normalised: bool) -> ClosedForm:
    before, now = _term(inner.num), inner
    for k in range(1, degree):
        before, now = now, inner * now + before.scaled(Exact.of(-k))
    if not normalised:
        return now
    factorial = Fraction(1)
    for k in range(2, degree + 1):
        factorial *= k
    scale = exact_root(1 / factorial)
    assert scale is not None  # 8! is small
    return now.scaled(scale)


def _constant(form: ClosedForm) -> Exact:
    polynomial = form.polynomial
    if polynomial is None or any(any(powers) for powers in polynomial):
        raise OutsideForm
    return next(iter(polynomial.values()), ZERO)


def _inverse(form: ClosedForm) -> ClosedForm:
    """1 / a form of one term without powers, whose factor is a rational number times a root."""
    if len(form.terms) != 1:
        raise OutsideForm
    (((powers, squares, lines, exponent), factor),) = form.terms.items()
    made = factor.inverse
    if any(powers) or made is None:
        raise OutsideForm
    squares, lines = tuple(-q for q in squares), tuple(-b for b in lines)
    return _term(form.num, made, squares=squares, lines=lines, exponent=-exponent)


def _power(node: ast.BinOp, num: int) -> ClosedForm:
    power = _constant(_form(node.right, num)).rational
    base = node.left
    if power is None:
        raise OutsideForm
    if isinstance(base, ast.Call) and called_function(base) == "abs" and power.denominator == 1 and power % 2 == 0:
        base = base.args[0]  # of real numbers
    if isinstance(base, ast.Call) and called_function(base) == "exp":
        return _exponential(_form(base.args[0], num).scaled(Exact.of(power)), waves=False)
    form = _form(base, num)
    if power.denominator == 2 and (value := _constant(form).rational) is not None and (made := exact_root(value)):
        form, power = _term(num, made), 2 * power
    if power.denominator != 1 or abs(power) > HIGHEST_POWER:
        raise OutsideForm
    if power < 0:
        form, power = _inverse(form), -power
    found = _term(num)
    for _ in range(int(power)):
        found = found * form
    return found


def called_function(node: ast.AST) -> str:
    """The function that an expression calls, "" where it is none."""
    return (
        node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1 else ""
    )


_OPERATIONS: dict[type, Callable[[ast.BinOp, int], ClosedForm]] = {
    ast.Add: lambda node, num: _form(node.left, num) + _form(node.right, num),
    ast.Sub: lambda node, num: _form(node.left, num) + _form(node.right, num).scaled(Exact.of(-1)),
    ast.Mult: lambda node, num: _form(node.left, num) * _form(node.right, num),
    ast.Div: lambda node, num: _form(node.left, num) * _inverse(_form(node.right, num)),
    ast.Pow: _power,
}
