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
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cutaway.arrays import Array
from cutaway.dynamics.hermite import normalized_hermites
from cutaway.dynamics.hermite_tensors import compositions, energy, hermite_tensors
from cutaway.dynamics.targets import Target, target
from cutaway.errors import InputError
from cutaway.seeds import check_seed

Link = str | Target | Callable[[Any], Any]

MAX_DEGREE = 8
STRONG = 1e-3
"""Size of a coefficient, over the target's standard deviation, from which it is strong."""
KNOWN = 1e-9
"""Size from which a coefficient that a quadrature found counts as known to be non-zero."""
GENERATIVE_FLOOR = 2e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponent:
    """`value` (None: nothing significant up to `max_degree`), `strong` (the first degree whose size is above 1e-3 of
    the target's standard deviation, which may be later or None), and by degree 1 .. max_degree the squared size of
    what decides it with its error; `scale` is the standard deviation.

    `sizes`, `errors` (max_degree,).
    """

    value: int | None
    strong: int | None
    sizes: Array
    errors: Array
    max_degree: int
    scale: float = 1.0

    @property
    def words(self) -> str:
        if self.value is None:
            return f"not significant up to degree {self.max_degree}: no exponent can be told"
        if self.value == self.strong:
            return str(self.value)
        size = math.sqrt(self.sizes[self.value - 1]) / self.scale
        return f"{self.value}, weak (size {size:.1e}); {_first_strong(self.strong, self.max_degree)}"


def information_exponent(link: Link, *, max_degree: int = MAX_DEGREE, num_directions: int | None = None) -> Exponent:
    """Lowest degree k >= 1 with a non-zero Hermite tensor, and the lowest with a strong one.

    Up to three directions a coefficient is known to be non-zero from 1e-9 of the target's standard deviation on, if
    its square is also 25 times the quadrature's error; beyond, and for `strong`, from 1e-3 on and 4 times the error.
    """
    chosen = target(link, num_directions)
    tensors, errors = hermite_tensors(chosen, max_degree)
    sizes = np.array([float(np.sum(t**2)) for t in tensors[1:]])
    noise = np.array([float(e) for e in errors[1:]])
    mean, variance = energy(chosen)
    first = [_first(sizes, noise, bar) for bar in _bars(chosen, mean, variance)]
    scale = math.sqrt(variance) or 1.0
    return Exponent(value=first[0], strong=first[1], sizes=sizes, errors=noise, max_degree=max_degree, scale=scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bar:
    """What a squared norm has to exceed: `floor` and `times` its error."""

    floor: float
    times: float

    def passed(self, size: Any, error: Any) -> Any:
        return size > np.maximum(self.floor, self.times * error)


def _bars(chosen: Target, mean: float, variance: float) -> tuple[_Bar, _Bar]:
    """For what is known to be non-zero and for what is strong; both above the rounding of the target's offset."""
    rounding = (64.0 * np.finfo(float).eps * mean) ** 2
    strong = _Bar(floor=max(STRONG**2 * variance, rounding), times=4.0)
    known = _Bar(floor=max(KNOWN**2 * variance, rounding), times=25.0) if chosen.num_directions <= 3 else strong
    return known, strong


def _first(sizes: Array, noise: Array, bar: _Bar) -> int | None:
    above = np.flatnonzero(bar.passed(sizes, noise))
    return int(above[0]) + 1 if above.size else None


def _first_strong(strong: int | None, max_degree: int) -> str:
    return (
        f"none up to {max_degree} is above {STRONG:g}" if strong is None else f"{strong} is the first above {STRONG:g}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Leap:
    """`value` (None: nothing significant, or directions not seen), `strong` (the same of what is above 1e-3 alone),
    and what decides it.

    `legs` (S,) the new legs of each step of the staircase, `sizes` (S,) and `errors` (S,) the squared norm of the
    contraction that takes the step and its error. `unseen` (u, k): orthonormal directions of which the target varies
    but which no tensor up to `max_degree` shows.
    """

    value: int | None
    strong: int | None
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
        if self.value == self.strong:
            return str(self.value)
        return f"{self.value}, by weak steps; {self.strong or 'none'} of what is above {STRONG:g}"


def leap(link: Link, *, max_degree: int = MAX_DEGREE, num_directions: int | None = None) -> Leap:
    """Largest number of new legs that a step of the learning staircase needs.

    Of the Hermite tensors up to `max_degree`: tensors beyond can only lower it. A direction of which the target varies
    (fresh draws along it change the values by more than (1e-3)^2 of the variance) but which no step finds leaves the
    value None. Directions of which it does not vary have no step.
    """
    chosen = target(link, num_directions)
    tensors, errors = hermite_tensors(chosen, max_degree)
    known, strong = _bars(chosen, *energy(chosen))
    found = _staircase(chosen, tensors, errors, strong, max_degree)
    if known == strong:
        return found
    weak = _staircase(chosen, tensors, errors, known, max_degree)
    return replace(weak, strong=found.value)


def _staircase(chosen: Target, tensors: list[Array], errors: list[float], bar: _Bar, max_degree: int) -> Leap:
    """Steps of the fewest new legs each until nothing is left, and which directions no step has found."""
    known = np.zeros((chosen.num_directions, 0))
    legs, sizes, spreads = [], [], []
    while known.shape[1] < chosen.num_directions:
        step = _cheapest_step(tensors, errors, known, bar)
        if step is None:
            break
        count, fresh, size, error = step
        legs.append(count)
        sizes.append(size)
        spreads.append(error)
        known = np.concatenate([known, fresh], axis=1)
    # the directions found are tilted by their error, which lets the target vary a little across them
    tilt = sum(error / size for error, size in zip(spreads, sizes))
    variance = energy(chosen)[1]
    unseen = _unseen(chosen, known, max(STRONG**2, 10.0 * tilt) * variance)
    value = max(legs) if legs and not len(unseen) else None
    return Leap(
        value=value,
        strong=value,
        legs=tuple(legs),
        sizes=np.array(sizes),
        errors=np.array(spreads),
        unseen=unseen,
        max_degree=max_degree,
    )


def _cheapest_step(
    tensors: list[Array], errors: list[float], known: Array, bar: _Bar
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
            if bar.passed(size, errors[degree]):
                found.append(part.reshape(part.shape[0], -1))
                sizes.append(size)
                spreads.append(errors[degree])
        if found:
            left, lengths, _ = np.linalg.svd(np.concatenate(found, axis=1), full_matrices=False)
            fresh = bar.passed(lengths**2, max(spreads))
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
            remedy="give more draws, or a variance of at least 0",
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
        for powers in compositions(degree, chosen.num_directions):
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
            return Exponent(value=degree, strong=degree, sizes=sizes, errors=errors, max_degree=max_degree)
    return Exponent(value=None, strong=None, sizes=sizes, errors=errors, max_degree=max_degree)


def _binned(chosen: Target, num: int, noise: float, generator: np.random.Generator) -> tuple[Array, Array]:
    points = generator.standard_normal((num, chosen.num_directions))
    values = np.asarray(chosen(points), dtype=float)
    if noise:
        values = values + math.sqrt(noise) * generator.standard_normal(num)
    if values.std() == 0:
        raise InputError(
            f"target {chosen.name!r}",
            found="one constant value",
            expected="a target that varies",
            remedy="give a function that depends on its projections",
        )
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
