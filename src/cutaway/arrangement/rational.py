"""Tensors of rational numbers, all over one denominator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np
from numpy.typing import NDArray

from cutaway.arrays import Floats


@dataclass(frozen=True, slots=True)
class Whole:
    """Exact tensor: `number` (object array of int) * 2**-`shift` / `over`."""

    number: NDArray
    shift: int
    over: int = 1

    def aligned(self, shift: int, over: int) -> NDArray:
        return self.number * ((1 << (shift - self.shift)) * (over // self.over))

    def with_number(self, number: NDArray) -> Whole:
        return Whole(number, self.shift, self.over)

    def fraction(self, index: int) -> Fraction:
        return Fraction(int(self.number.reshape(-1)[index]), self.over << self.shift)


def as_wholes(values: Floats) -> Whole:
    """Floats as exact integers over a power of two (the shift is at least 0)."""
    mantissa, exponent = np.frexp(np.asarray(values, dtype=np.float64))
    digits = (mantissa * 2.0**53).astype(np.int64)
    power = exponent.astype(np.int64) - 53
    shift = int(max(0, -power[digits != 0].min(initial=0)))
    number = np.empty(digits.shape, dtype=object)
    flat = number.reshape(-1)
    for i, (d, p) in enumerate(zip(digits.reshape(-1).tolist(), power.reshape(-1).tolist())):
        flat[i] = d << (p + shift) if p + shift >= 0 else d >> -(p + shift)
    return Whole(number, shift)


def multiply_wholes(x: Whole, y: Whole) -> Whole:
    return Whole(x.number * y.number, x.shift + y.shift, x.over * y.over)


def together(parts: list[Whole]) -> list[Whole]:
    shift, over = max(p.shift for p in parts), lcm(*(p.over for p in parts))
    return [Whole(p.aligned(shift, over), shift, over) for p in parts]


def add_wholes(parts: list[Whole], coefficients: Sequence[float]) -> Whole:
    scaled = []
    for part, c in zip(parts, coefficients):
        factor = as_wholes(np.array(float(c)))
        scaled.append(Whole(part.number * factor.number.item(), part.shift + factor.shift, part.over))
    level = together(scaled)
    total = level[0].number
    for part in level[1:]:
        total = total + part.number
    return level[0].with_number(total)


def padded(x: NDArray, widths: Sequence[tuple[int, int]]) -> NDArray:
    """Zeros around an object array, as Python integers (np.pad would put in 64-bit ones, which overflow)."""
    made = np.zeros([n + a + b for n, (a, b) in zip(x.shape, widths)], dtype=object)
    made[tuple(slice(a, a + n) for n, (a, _) in zip(x.shape, widths))] = x
    return made
