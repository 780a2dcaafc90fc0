"""Numbers that are kept exact: sums of rational (complex) multiples of powers of pi and of square roots.

The products pi^p sqrt(n) of whole p >= 0 and square-free n are linearly independent over the rational complex numbers
(pi is transcendental, Lindemann 1882), so a number is 0 if and only if nothing is written. A sum of exponentials
c_1 e^(x_1) + ... of different exact x_j without pi and c_j without pi is 0 if and only if every c_j is (Lindemann and
Weierstrass 1885).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

DIGITS = 60
"""Decimal digits of what is evaluated."""
LARGEST_ROOT = 10**12

_Part = tuple[Fraction, Fraction]


@dataclass(frozen=True, slots=True)
class Exact:
    """`parts`: ((power of pi, square-free whole number), (real, imaginary factor)), sorted, none of them 0."""

    parts: tuple[tuple[tuple[int, int], _Part], ...] = ()

    @classmethod
    def of(cls, value: float | Fraction, imaginary: float | Fraction = 0) -> Exact:
        """A number as it was written in decimals: 0.1 is a tenth."""
        return _gathered([((0, 1), (_fraction(value), _fraction(imaginary)))])

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __add__(self, other: Exact) -> Exact:
        return _gathered([*self.parts, *other.parts])

    def __neg__(self) -> Exact:
        return Exact(tuple((key, (-a, -b)) for key, (a, b) in self.parts))

    def __mul__(self, other: Exact) -> Exact:
        found = []
        for (p, n), (a, b) in self.parts:
            for (q, m), (c, d) in other.parts:
                common = math.gcd(n, m)
                key = (p + q, n * m // common**2)
                found.append((key, (common * (a * c - b * d), common * (a * d + b * c))))
        return _gathered(found)

    def __pow__(self, power: int) -> Exact:
        found = ONE
        for _ in range(power):
            found = found * self
        return found

    @property
    def rational(self) -> Fraction | None:
        """The number itself where it is a real rational one."""
        if not self.parts:
            return Fraction(0)
        ((key, (real, imaginary)), *rest) = self.parts
        return real if key == (0, 1) and not imaginary and not rest else None

    @property
    def inverse(self) -> Exact | None:
        """1 / a rational number times a root; None for other numbers, and for 0."""
        if len(self.parts) != 1:
            return None
        (((power, inside), (real, imaginary)),) = self.parts
        if power or imaginary:
            return None
        return Exact((((0, inside), (1 / (real * inside), Fraction(0))),))

    @property
    def real(self) -> bool:
        return all(not imaginary for _, (_, imaginary) in self.parts)

    @property
    def with_pi(self) -> bool:
        return any(power for (power, _), _ in self.parts)

    def value(self) -> Any:
        """The number to `DIGITS` digits (mpmath), inside `mpmath.workdps`."""
        import mpmath

        total = mpmath.mpc(0)
        for (power, root), (a, b) in self.parts:
            scale = mpmath.pi**power * mpmath.sqrt(root)
            total += scale * mpmath.mpc(_quotient(a), _quotient(b))
        return total


def _quotient(value: Fraction) -> Any:
    import mpmath

    return mpmath.mpf(value.numerator) / value.denominator


def _fraction(value: float | Fraction) -> Fraction:
    return value if isinstance(value, Fraction) else Fraction(repr(value))


def _gathered(parts: Iterable[tuple[tuple[int, int], _Part]]) -> Exact:
    found: dict[tuple[int, int], _Part] = {}
    for key, (a, b) in parts:
        before = found.get(key, (Fraction(0), Fraction(0)))
        found[key] = (before[0] + a, before[1] + b)
    return Exact(tuple((key, part) for key, part in sorted(found.items()) if any(part)))


def exact_root(value: Fraction) -> Exact | None:
    """The square root of a rational number that is not negative; None where its whole numbers are too large."""
    whole = value.numerator * value.denominator
    if value < 0 or whole > LARGEST_ROOT:
        return None
    outside, inside, factor = 1, 1, 2
    while factor * factor <= whole:
        while whole % (factor * factor) == 0:
            whole, outside = whole // factor**2, outside * factor
        if whole % factor == 0:
            whole, inside = whole // factor, inside * factor
        factor += 1
    part = Fraction(outside, value.denominator)
    return _gathered([((0, inside * whole), (part, Fraction(0)))]) if value else Exact()


ZERO, ONE = Exact(), Exact.of(1)
PI = _gathered([((1, 1), (Fraction(1), Fraction(0)))])
