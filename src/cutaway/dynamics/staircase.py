"""The leap of a target: by how many new legs of a Hermite tensor its directions are learned, step after step.

Directions are learned in steps, each from the tensors contracted with what is known already; the leap is the largest
number of new legs that a step needs (Abbe, Boix-Adsera, Misiakiewicz 2023; here in any basis).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cutaway.arrays import Array
from cutaway.dynamics.certain import Certain
from cutaway.dynamics.exponents import MAX_DEGREE, STRONG, Bar, Exponent, Link, bars_of, information_exponent
from cutaway.dynamics.hermite_tensors import energy, exact_tensors, hermite_tensors
from cutaway.dynamics.targets import Target, target


@dataclass(frozen=True, slots=True, kw_only=True)
class Leap:
    """`value` (None: nothing significant, or directions not seen), `at_least` (below which it is not; it is `value`
    itself where the two agree), `strong` (the same of what is above 1e-3 alone), and what decides it.

    `legs` (S,) the new legs of each step of the staircase, `sizes` (S,) and `errors` (S,) the squared norm of the
    contraction that takes the step and its error. `unseen` (u, k): orthonormal directions of which the target varies
    but which no tensor up to `max_degree` shows. `along_axes`: whether every direction that was found is a coordinate.
    """

    value: int | None
    strong: int | None
    legs: tuple[int, ...]
    sizes: Array
    errors: Array
    unseen: Array
    max_degree: int
    at_least: int = 1
    along_axes: bool = False

    @property
    def exact(self) -> bool:
        """Whether `value` is the leap itself, and no bound."""
        return self.value == self.at_least

    @property
    def words(self) -> str:
        if not self.legs:
            return f"not significant up to degree {self.max_degree}: no leap can be told"
        if self.value is None:
            names = ", ".join(_direction_words(row) for row in self.unseen)
            return f"direction {names} not seen up to degree {self.max_degree}: no leap can be told"
        text = str(self.value) if self.exact else f"at most {self.value}"
        if self.value == self.strong:
            return text
        return f"{text}, by weak steps; {self.strong or 'none'} of what is above {STRONG:g}"


def leap(link: Link, *, max_degree: int = MAX_DEGREE, num_directions: int | None = None) -> Leap:
    """Largest number of new legs that a step of the learning staircase needs.

    Of the Hermite tensors up to `max_degree`: tensors beyond, and coefficients too small to be told from 0, can only
    lower it, so that `value` is an upper bound; the information exponent is a lower one, and in one direction the leap
    itself. Of a polynomial up to that degree whose directions are found along the axes `value` is exact. A direction of
    which the target varies (fresh draws along it change the values by more than (1e-3)^2 of the variance) but which no
    step finds leaves the value None. Directions of which it does not vary have no step. Raises what
    `information_exponent` does.
    """
    chosen = target(link, num_directions)
    information = information_exponent(chosen, max_degree=max_degree)
    if chosen.num_directions == 1:
        return _of_one_direction(information)
    known = Certain(chosen, max_degree)
    variance = known.variance() if known.closed else None
    if variance is not None:
        square = float(variance)
        tensors, errors = exact_tensors(known, max_degree), [0.0] * (max_degree + 1)
        certain, strong = Bar(floor=ROUNDING**2, times=1.0), Bar(floor=STRONG**2, times=1.0)
    else:
        mean, square = energy(chosen)
        tensors, errors = hermite_tensors(chosen, max_degree)
        certain, strong = bars_of(chosen, mean, square)
    scale = square if variance is not None else 1.0
    steps = [_staircase(chosen, tensors, errors, bar, max_degree, square, scale) for bar in (certain, strong)]
    value, degree = steps[0].value, known.polynomial_degree
    exact = degree is not None and degree <= max_degree and steps[0].along_axes and _all_seen(tensors, certain)
    at_least = value if exact and value is not None else information.at_least
    return replace(steps[0], strong=steps[1].value, at_least=at_least)


ROUNDING = 1e-12
"""Size, over the standard deviation, below which exact coefficients are lost when directions are turned."""


def _of_one_direction(found: Exponent) -> Leap:
    steps = [] if found.value is None else [found.value]
    return Leap(
        value=found.value,
        strong=found.strong,
        legs=tuple(steps),
        sizes=np.array([found.sizes[k - 1] for k in steps]),
        errors=np.array([found.errors[k - 1] for k in steps]),
        unseen=np.zeros((0, 1)),
        max_degree=found.max_degree,
        at_least=found.at_least,
    )


def _all_seen(tensors: list[Array], bar: Bar) -> bool:
    """Whether no entry of the tensors is so small that a step may have missed it."""
    entries = np.concatenate([np.abs(tensor).ravel() for tensor in tensors[1:]])
    return not np.any((entries > 0) & (entries**2 <= 1e4 * bar.floor))


def _staircase(
    chosen: Target,
    tensors: list[Array],
    errors: list[float],
    bar: Bar,
    max_degree: int,
    variance: float,
    scale: float,
) -> Leap:
    """Steps of the fewest new legs each until nothing is left, and which directions no step has found; `scale`: by what
    squared sizes are multiplied to be those of the target."""
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
    unseen = _unseen(chosen, known, max(STRONG**2, 10.0 * tilt) * variance)
    value = max(legs) if legs and not len(unseen) else None
    return Leap(
        along_axes=bool(np.all((np.abs(known) < 1e-14) | (np.abs(np.abs(known) - 1.0) < 1e-14))),
        value=value,
        strong=value,
        legs=tuple(legs),
        sizes=scale * np.array(sizes),
        errors=scale * np.array(spreads),
        unseen=unseen,
        max_degree=max_degree,
    )


def _cheapest_step(
    tensors: list[Array], errors: list[float], known: Array, bar: Bar
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
        axis = axis * np.sign(axis[np.abs(axis) > 1e-9][0])  # one of two signs
        rest = rest - np.outer(rest @ axis, axis)
        rows.append(axis)
    return np.array(rows).reshape(-1, len(known))


def _direction_words(axis: Array) -> str:
    terms = [(value, f"z{number}") for number, value in enumerate(axis, 1) if abs(value) > 1e-3]
    if len(terms) == 1:
        return terms[0][1]
    return " ".join(f"{value:+.2f} {name}" for value, name in terms)
