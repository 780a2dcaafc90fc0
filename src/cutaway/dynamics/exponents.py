"""Information exponent, leap and generative exponent of a target, each with its uncertainty.

With he_k orthonormal Hermite polynomials and z standard normal:

- information exponent: min{k >= 1 : E[f he_k] != 0} (Ben Arous, Gheissari, Jagannath 2021); for several directions
  the lowest degree of a non-zero Hermite tensor;
- leap: directions are learned in steps, each from the Hermite tensors contracted with what is known already; the leap
is
  the largest number of new legs that a step needs (Abbe, Boix-Adsera, Misiakiewicz 2023; here in any basis);
- generative exponent: min{k >= 1 : E_y |E[he_k(z) | y]|^2 > 0} (Damian, Pillaud-Vivien, Lee, Bruna 2024).

The first two are quadratures (error stated by halving the grid; Monte Carlo beyond three directions). The third is an
estimate: two half-samples' conditional means multiplied over quantile bins of y, free of the squared noise's bias. A
degree whose value does not clear its threshold and four standard errors does not count, and when none does, `value` is
None and says so: no guess.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway.dynamics.hermite import normalized_hermites, product_rule
from cutaway.dynamics.targets import Target, target
from cutaway.errors import InputError

Array = NDArray[Any]
Link = str | Target | Callable[[Any], Any]

MAX_DEGREE = 8
COEFFICIENT_FLOOR = 1e-3
GENERATIVE_FLOOR = 2e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponent:
    """`value` (None: nothing significant up to `max_degree`), and by degree 1 .. max_degree the squared size of what
    decides it with its error."""

    value: int | None
    sizes: Array
    errors: Array
    max_degree: int

    @property
    def words(self) -> str:
        if self.value is None:
            return f"not significant up to degree {self.max_degree}: no exponent can be told"
        return str(self.value)


def information_exponent(link: Link, *, max_degree: int = MAX_DEGREE, num_directions: int | None = None) -> Exponent:
    """Lowest degree k >= 1 with a Hermite tensor of squared norm above (1e-3)^2 of the target's variance and its
    error."""
    chosen = target(link, num_directions)
    tensors, errors = hermite_tensors(chosen, max_degree)
    sizes = np.array([float(np.sum(t**2)) for t in tensors[1:]])
    noise = np.array([float(e) for e in errors[1:]])
    above = np.flatnonzero(sizes > _floors(chosen, errors)[1:])
    value = int(above[0]) + 1 if above.size else None
    return Exponent(value=value, sizes=sizes, errors=noise, max_degree=max_degree)


def leap(link: Link, *, max_degree: int = 6, num_directions: int | None = None) -> int | None:
    """Largest number of new legs that a step of the learning staircase needs; None when no tensor is significant.

    Directions that the target has but that no tensor up to `max_degree` shows are left out.
    """
    chosen = target(link, num_directions)
    tensors, errors = hermite_tensors(chosen, max_degree)
    floor = float(_floors(chosen, errors)[1:].max())
    known = np.zeros((chosen.num_directions, 0))
    largest = None
    while known.shape[1] < chosen.num_directions:
        step = _cheapest_step(tensors, known, floor)
        if step is None:
            break
        legs, fresh = step
        largest = max(largest or 0, legs)
        known = np.concatenate([known, fresh], axis=1)
    return largest


def _floors(chosen: Target, errors: list[float]) -> Array:
    """What a squared norm has to exceed, by degree: (1e-3)^2 of the variance, four errors, and rounding."""
    if chosen.num_directions <= 3:
        points, weights = product_rule(chosen.num_directions, 400_000)
    else:
        points = np.random.default_rng(2).standard_normal((400_000, chosen.num_directions))
        weights = np.full(400_000, 1.0 / 400_000)
    values = np.asarray(chosen(points))
    mean = float(values @ weights)
    variance = float((values - mean) ** 2 @ weights)
    rounding = (64.0 * np.finfo(float).eps * mean) ** 2
    return np.maximum(max(COEFFICIENT_FLOOR**2 * variance, rounding), 4.0 * np.asarray(errors, dtype=float))


def _cheapest_step(tensors: list[Array], known: Array, floor: float) -> tuple[int, Array] | None:
    """The smallest number of unknown legs m of a non-zero contraction, and the new directions that all such show."""
    inside = known @ known.T
    outside = np.eye(len(inside)) - inside
    for legs in range(1, len(tensors)):
        found = []
        for degree in range(legs, len(tensors)):
            part = tensors[degree]
            for leg in range(degree):
                part = np.moveaxis(np.tensordot(part, outside if leg < legs else inside, axes=(leg, 0)), -1, leg)
            if float(np.sum(part**2)) > floor:
                found.append(part.reshape(part.shape[0], -1))
        if found:
            left, size, _ = np.linalg.svd(np.concatenate(found, axis=1), full_matrices=False)
            return legs, left[:, size**2 > floor]
    return None


def hermite_tensors(chosen: Target, max_degree: int) -> tuple[list[Array], list[float]]:
    """E[f H_k(z)] / sqrt(k!) as symmetric tensors of k legs, k = 0 .. max_degree, and the error of each squared norm.

    Normalised so that the squared norms add up to E[f^2]. Quadrature for up to three directions, 4e6 draws beyond.
    """
    count = chosen.num_directions
    if count <= 3:
        fine = _tensors_on(chosen, *product_rule(count, 3_000_000 if count > 1 else 6001), max_degree)
        coarse = _tensors_on(chosen, *product_rule(count, 400_000 if count > 1 else 3001), max_degree)
        return fine, [float(np.sum((a - b) ** 2)) for a, b in zip(fine, coarse)]
    generator = np.random.default_rng(0)
    halves = []
    for _ in range(2):
        points = generator.standard_normal((1_000_000, count))
        halves.append(_tensors_on(chosen, points, np.full(1_000_000, 1e-6), max_degree))
    errors = [float(np.sum((a - b) ** 2)) for a, b in zip(*halves)]
    return [0.5 * (a + b) for a, b in zip(*halves)], errors


def _tensors_on(chosen: Target, points: Array, weights: Array, max_degree: int) -> list[Array]:
    """The mean is taken off first, so that an offset costs no digits and, on draws, no noise."""
    count = chosen.num_directions
    values = np.asarray(chosen(points))
    mean = float(values @ weights)
    weighted = (values - mean) * weights
    tables = [normalized_hermites(points[:, axis], max_degree) for axis in range(count)]
    out = []
    for degree in range(max_degree + 1):
        tensor = np.zeros((count,) * degree)
        for powers in _compositions(degree, count):
            product = weighted
            for axis, power in enumerate(powers):
                if power:
                    product = product * tables[axis][power]
            multiplicity = math.factorial(degree)
            for power in powers:
                multiplicity //= math.factorial(power)
            value = float(product.sum()) / math.sqrt(multiplicity) if degree else mean
            legs = [axis for axis, power in enumerate(powers) for _ in range(power)]
            for order in set(itertools.permutations(legs)):
                tensor[order] = value
        out.append(tensor)
    return out


def _compositions(total: int, parts: int):
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)


def generative_exponent(
    link: Link,
    *,
    num_samples: int = 2_000_000,
    num_bins: int = 400,
    max_degree: int = 6,
    noise: float = 0.0,
    num_directions: int | None = None,
    seed: int = 0,
) -> Exponent:
    """Lowest k with E_y |E[he_k(z) | y]|^2 above 2e-3 and four standard errors; `noise` adds N(0, noise) to y.

    Sizes are the squared norms summed over all monomials of the degree; degrees beyond the answer are not computed
    (nan). Cost: num_samples x monomials up to the answer. Raises `InputError` for a constant target, fewer than
    100 draws or a negative noise.
    """
    if num_samples < 100 or not noise >= 0:
        raise InputError(
            "samples and noise",
            found=f"{num_samples} draws, noise of variance {noise:g}",
            expected="at least 100 draws and a variance of at least 0",
        )
    chosen = target(link, num_directions)
    generator = np.random.default_rng(seed)
    halves = [_binned(chosen, num_samples // 2, noise, generator) for _ in range(2)]
    edges = np.unique(np.quantile(halves[0][1], np.linspace(0, 1, num_bins + 1)[1:-1]))
    if np.unique(halves[0][1][:20000]).size <= num_bins // 4:
        values = np.unique(halves[0][1])
        edges = 0.5 * (values[1:] + values[:-1])
    codes = [np.searchsorted(edges, values, side="right") for _, values in halves]
    counts = [np.bincount(code, minlength=edges.size + 1) for code in codes]
    share = counts[0] / counts[0].sum()
    tables = [
        [normalized_hermites(points[:, axis], max_degree) for axis in range(points.shape[1])] for points, _ in halves
    ]
    sizes, errors = np.full(max_degree, np.nan), np.full(max_degree, np.nan)
    usable = (counts[0] > 0) & (counts[1] > 0)
    for degree in range(1, max_degree + 1):
        size = variance = 0.0
        for powers in _compositions(degree, chosen.num_directions):
            means = []
            for table, code, count in zip(tables, codes, counts):
                product = np.prod([table[a][p] for a, p in enumerate(powers) if p], axis=0)
                means.append(np.bincount(code, weights=product, minlength=count.size) / np.maximum(count, 1))
            product = (means[0] * means[1])[usable]
            size += float(share[usable] @ product)
            # under no dependence a bin's mean has variance 1 / count in each half
            spread = 1.0 / (counts[0][usable] * counts[1][usable])
            variance += float(share[usable] ** 2 @ spread)
        sizes[degree - 1], errors[degree - 1] = size, math.sqrt(variance)
        if size > max(GENERATIVE_FLOOR, 4.0 * errors[degree - 1]):
            return Exponent(value=degree, sizes=sizes, errors=errors, max_degree=max_degree)
    return Exponent(value=None, sizes=sizes, errors=errors, max_degree=max_degree)


def _binned(chosen: Target, num: int, noise: float, generator: np.random.Generator) -> tuple[Array, Array]:
    points = generator.standard_normal((num, chosen.num_directions))
    values = np.asarray(chosen(points), dtype=float)
    if noise:
        values = values + math.sqrt(noise) * generator.standard_normal(num)
    if values.std() == 0:
        raise InputError(f"target {chosen.name!r}", found="one constant value", expected="a target that varies")
    return points, values


def sample_complexity(information: int | None, generative: int | None) -> dict[str, str]:
    """What the exponents imply, in words of d: one-pass SGD, data repetition, and the low-degree lower bound."""
    one_pass = {None: "unknown", 1: "d", 2: "d log d"}.get(information, f"d^{(information or 0) - 1}")
    repeated = {None: "unknown", 1: "d", 2: "d log d"}.get(generative, "more than d log d (hard)")
    bound = "unknown" if generative is None else f"d^{max(1.0, generative / 2):g}"
    return {"one_pass_sgd": one_pass, "data_repetition": repeated, "low_degree_bound": bound}
