"""Information exponent, leap and generative exponent of a target, each with its uncertainty.

With he_k orthonormal Hermite polynomials and z standard normal:

- information exponent: min{k >= 1 : E[f he_k] != 0} (Ben Arous, Gheissari, Jagannath 2021); for several directions
  the lowest degree of a non-zero Hermite tensor;
- leap: directions are learned in steps, each from the Hermite tensors contracted with what is known already; the leap
  is the largest number of new legs that a step needs (Abbe, Boix-Adsera, Misiakiewicz 2023; here in any basis);
- generative exponent: min{k >= 1 : E_y |E[he_k(z) | y]|^2 > 0} (Damian, Pillaud-Vivien, Lee, Bruna 2024).

The first two are quadratures (error stated by halving the grid; Monte Carlo beyond three directions). The third is an
estimate: two half-samples' conditional means multiplied over quantile bins of y, free of the squared noise's bias. A
degree whose value does not clear its threshold and four standard errors does not count, and when none does, `value` is
None and says so: no guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway.dynamics.hermite import normalized_hermites, product_rule
from cutaway.dynamics.targets import Target, target
from cutaway.errors import InputError
from cutaway.seeds import check_seed

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
    above = np.flatnonzero(sizes > np.maximum(_floor(chosen), 4.0 * noise))
    value = int(above[0]) + 1 if above.size else None
    return Exponent(value=value, sizes=sizes, errors=noise, max_degree=max_degree)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leap:
    """`value` (None: nothing significant, or directions not seen), and what decides it.

    `legs` (S,) the new legs of each step of the staircase, `sizes` (S,) and `errors` (S,) the squared norm of the
    contraction that takes the step and its error. `unseen` (u, k): orthonormal directions of which the target varies
    but which no tensor up to `max_degree` shows.
    """

    value: int | None
    legs: tuple[int, ...]
    sizes: Array
    errors: Array
    unseen: Array
    max_degree: int

    @property
    def words(self) -> str:
        if not self.legs:
            return f"not significant up to degree {self.max_degree}: no leap can be told"
        if self.value is None:
            names = ", ".join(_direction_words(row) for row in self.unseen)
            return f"direction {names} not seen up to degree {self.max_degree}: no leap can be told"
        return str(self.value)


def leap(link: Link, *, max_degree: int = MAX_DEGREE, num_directions: int | None = None) -> Leap:
    """Largest number of new legs that a step of the learning staircase needs.

    Of the Hermite tensors up to `max_degree`: tensors beyond can only lower it. A direction of which the target varies
    (fresh draws along it change the values by more than (1e-3)^2 of the variance) but which no step finds leaves the
    value None. Directions of which it does not vary have no step.
    """
    chosen = target(link, num_directions)
    tensors, errors = hermite_tensors(chosen, max_degree)
    floor = _floor(chosen)
    known = np.zeros((chosen.num_directions, 0))
    legs, sizes, spreads = [], [], []
    while known.shape[1] < chosen.num_directions:
        step = _cheapest_step(tensors, errors, known, floor)
        if step is None:
            break
        count, fresh, size, error = step
        legs.append(count)
        sizes.append(size)
        spreads.append(error)
        known = np.concatenate([known, fresh], axis=1)
    # the directions found are tilted by their error, which lets the target vary a little across them
    tilt = sum(error / size for error, size in zip(spreads, sizes))
    unseen = _unseen(chosen, known, max(floor, 10.0 * tilt * floor / COEFFICIENT_FLOOR**2))
    return Leap(
        value=max(legs) if legs and not len(unseen) else None,
        legs=tuple(legs),
        sizes=np.array(sizes),
        errors=np.array(spreads),
        unseen=unseen,
        max_degree=max_degree,
    )


def _floor(chosen: Target) -> float:
    """What a squared norm has to exceed: (1e-3)^2 of the target's variance, and rounding."""
    if chosen.num_directions <= 3:
        points, weights = product_rule(chosen.num_directions, 400_000)
    else:
        points = np.random.default_rng(2).standard_normal((400_000, chosen.num_directions))
        weights = np.full(400_000, 1.0 / 400_000)
    values = np.asarray(chosen(points))
    mean = float(values @ weights)
    variance = float((values - mean) ** 2 @ weights)
    return max(COEFFICIENT_FLOOR**2 * variance, (64.0 * np.finfo(float).eps * mean) ** 2)


def _cheapest_step(
    tensors: list[Array], errors: list[float], known: Array, floor: float
) -> tuple[int, Array, float, float] | None:
    """The smallest number of unknown legs of a non-zero contraction, the new directions that all such show, the squared
    norm and its error."""
    inside = known @ known.T
    outside = np.eye(len(inside)) - inside
    for legs in range(1, len(tensors)):
        found, sizes, spreads = [], [], []
        for degree in range(legs, len(tensors)):
            part = tensors[degree]
            for leg in range(degree):
                part = np.moveaxis(np.tensordot(part, outside if leg < legs else inside, axes=(leg, 0)), -1, leg)
            size = float(np.sum(part**2))
            if size > max(floor, 4.0 * errors[degree]):
                found.append(part.reshape(part.shape[0], -1))
                sizes.append(size)
                spreads.append(errors[degree])
        if found:
            left, lengths, _ = np.linalg.svd(np.concatenate(found, axis=1), full_matrices=False)
            fresh = lengths**2 > max(floor, 4.0 * max(spreads))
            fresh[0] = True
            return legs, left[:, fresh], sum(sizes), sum(spreads)
    return None


def _unseen(chosen: Target, known: Array, floor: float, num: int = 100_000) -> Array:
    """Directions orthogonal to `known` (k, m) of which the target varies: E[(f(z) - f(z'))^2] / 2 > floor, z' drawn
    afresh along the direction."""
    generator = np.random.default_rng(3)
    points = generator.standard_normal((num, chosen.num_directions))
    values = np.asarray(chosen(points))
    out = []
    for axis in _complement(known):
        moved = points + np.outer(generator.standard_normal(num) - points @ axis, axis)
        if 0.5 * float(np.mean((values - np.asarray(chosen(moved))) ** 2)) > floor:
            out.append(axis)
    return np.array(out).reshape(-1, chosen.num_directions)


def _complement(known: Array) -> Array:
    """Orthonormal rows orthogonal to the columns of `known`, along the axes where they can be."""
    rest, rows = np.eye(len(known)) - known @ known.T, []
    for _ in range(known.shape[0] - known.shape[1]):
        axis = rest[np.argmax(np.linalg.norm(rest, axis=1))]
        axis = axis / np.linalg.norm(axis)
        rest = rest - np.outer(rest @ axis, axis)
        rows.append(axis)
    return np.array(rows).reshape(-1, len(known))


def _direction_words(axis: Array) -> str:
    terms = [(value, f"z{number}") for number, value in enumerate(axis, 1) if abs(value) > 1e-3]
    if len(terms) == 1:
        return terms[0][1]
    return " ".join(f"{value:+.2f} {name}" for value, name in terms)


def hermite_tensors(chosen: Target, max_degree: int) -> tuple[list[Array], list[float]]:
    """E[f H_k(z)] / sqrt(k!) as symmetric tensors of k legs, k = 0 .. max_degree, and the error of each squared norm.

    Normalised so that the squared norms add up to E[f^2]. Quadrature for up to three directions, 2e6 draws beyond.
    """
    count = chosen.num_directions
    if count <= 3:
        fine = _grid_coefficients(chosen, 3_000_000 if count > 1 else 6001, max_degree)
        coarse = _grid_coefficients(chosen, 400_000 if count > 1 else 3001, max_degree)
        one, two = (_tensors(table.__getitem__, count, max_degree) for table in (fine, coarse))
        return one, [float(np.sum((a - b) ** 2)) for a, b in zip(one, two)]
    generator = np.random.default_rng(0)
    halves = []
    for _ in range(2):
        points = generator.standard_normal((1_000_000, count))
        halves.append(_tensors(_drawn_coefficients(chosen, points, max_degree), count, max_degree))
    errors = [float(np.sum((a - b) ** 2)) for a, b in zip(*halves)]
    return [0.5 * (a + b) for a, b in zip(*halves)], errors


def _grid_coefficients(chosen: Target, budget: int, max_degree: int) -> Array:
    """E[f he_i(z1) he_j(z2) ..] for every i, j, ..: shape (max_degree + 1,) * k. The mean is taken off first, so that
    an offset costs no digits."""
    count = chosen.num_directions
    points, weights = product_rule(count, budget)
    side = round(len(weights) ** (1.0 / count))
    values = np.asarray(chosen(points))
    mean = float(values @ weights)
    table = normalized_hermites(points[:side, -1], max_degree)
    out = ((values - mean) * weights).reshape((side,) * count)
    for _ in range(count):
        out = np.tensordot(out, table, axes=(0, 1))  # the axes turn round once
    out[(0,) * count] = mean
    return out


def _drawn_coefficients(chosen: Target, points: Array, max_degree: int) -> Callable[[tuple[int, ...]], float]:
    """The same on draws, powers by powers; without its mean the target leaves less noise."""
    values = np.asarray(chosen(points))
    mean = float(values.mean())
    tables = [normalized_hermites(column, max_degree) for column in points.T]

    def coefficient(powers: tuple[int, ...]) -> float:
        if not any(powers):
            return mean
        product = values - mean
        for table, power in zip(tables, powers):
            if power:
                product = product * table[power]
        return float(product.mean())

    return coefficient


def _tensors(coefficient: Callable[[tuple[int, ...]], float], count: int, max_degree: int) -> list[Array]:
    """Symmetric tensors from the coefficients: an entry is that of its axes' powers, shared among the entries alike."""
    marks = (max_degree + 1) ** np.arange(count)  # an entry's powers as digits of one number
    code, out = np.zeros((), dtype=int), []
    for degree in range(max_degree + 1):
        values = {}
        for powers in _compositions(degree, count):
            alike = math.factorial(degree)
            for power in powers:
                alike //= math.factorial(power)
            values[int(np.dot(powers, marks))] = float(coefficient(powers)) / math.sqrt(alike)
        codes = np.array(sorted(values))
        out.append(np.array([values[each] for each in codes.tolist()])[np.searchsorted(codes, code)])
        code = np.add.outer(code, marks)
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
    100 draws, a negative noise or a seed outside 0 .. 2^32 - 1.
    """
    check_seed(seed)
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


def sample_complexity(information: int | None, generative: int | None, leap: int | None) -> dict[str, str]:
    """What the exponents imply, in words of d.

    `one_pass_sgd` to learn every direction, by the leap (conjectured by Abbe et al. 2023, who prove it for a class of
    targets); `one_pass_first` and `data_repetition` to the first direction learned, by the information
    and the generative exponent; `low_degree_bound` for any of them. Where the leap is above the information exponent,
    what data repetition needs for the later directions is not told.
    """
    repeated = {None: "unknown", 1: "d", 2: "d log d"}.get(generative, "more than d log d (hard)")
    return {
        "one_pass_sgd": _one_pass(leap),
        "one_pass_first": _one_pass(information),
        "data_repetition": repeated,
        "low_degree_bound": "unknown" if generative is None else f"d^{max(1.0, generative / 2):g}",
    }


def _one_pass(exponent: int | None) -> str:
    return {None: "unknown", 1: "d", 2: "d log d"}.get(exponent, f"d^{(exponent or 0) - 1}")
