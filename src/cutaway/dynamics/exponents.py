"""Information exponent, leap and generative exponent of a target, each with its uncertainty.

With he_k orthonormal Hermite polynomials and z standard normal:

- information exponent: min{k >= 1 : E[f he_k] != 0} (Ben Arous, Gheissari, Jagannath 2021); for several directions
  the lowest degree of a non-zero Hermite tensor;
- leap: the largest number of new directions that a step of learning needs (`dynamics.staircase`);
- generative exponent: min{k >= 1 : E_y |E[he_k(z) | y]|^2 > 0} (Damian, Pillaud-Vivien, Lee, Bruna 2024).

Polynomials times exponentials and waves are exact: whether a coefficient is 0 is decided (`closed_form`). Other targets
are integrated (error stated by halving the grid; Monte Carlo beyond three directions). The third is an estimate: two
half-samples' conditional means multiplied over quantile bins of y, free of the squared noise's bias. A degree whose
value does not clear its threshold and four standard errors does not count, and when none does, `value` is None and says
so: no guess. A degree that does not count may be small and not 0, unless a closed form or a symmetry says that it is:
`value` is an upper bound then, `at_least` the lower one, and the words say "at most".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cutaway.arrays import Array
from cutaway.dynamics.certain import Certain
from cutaway.dynamics.exact_numbers import DIGITS
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
    """`value` (None: nothing significant up to `max_degree`), `at_least` (the first degree that is not known to be 0;
    the exponent is `value` itself where the two agree), `strong` (the first degree whose size is above 1e-3 of the
    target's standard deviation, which may be later or None), and by degree 1 .. max_degree the squared size of what
    decides it with its error, and its size over the standard deviation `scale`. `open`: the degrees before `value` that
    were not told from 0, in words below what.

    `sizes`, `errors`, `relative` (max_degree,).
    """

    value: int | None
    strong: int | None
    sizes: Array
    errors: Array
    max_degree: int
    scale: float = 1.0
    at_least: int = 1
    relative: Array | None = None
    open: tuple[int, ...] = ()
    below: str = ""

    @property
    def exact(self) -> bool:
        """Whether `value` is the exponent itself, and no bound."""
        return self.value == self.at_least

    @property
    def words(self) -> str:
        if self.value is None:
            if self.at_least <= self.max_degree:
                return f"not significant up to degree {self.max_degree}: no exponent can be told"
            return (
                "none: the target does not vary"
                if not self.scale
                else f"above {self.max_degree}: every degree up to it is 0"
            )
        text = str(self.value) if self.exact else f"at most {self.value}"
        if self.value != self.strong:
            text += f", weak ({_size_words(self._relative(self.value))}); {_first_strong(self.strong, self.max_degree)}"
        return text if self.exact else f"{text} ({self._doubt()})"

    def _relative(self, degree: int) -> float:
        if self.relative is not None:
            return float(self.relative[degree - 1])
        return math.sqrt(max(float(self.sizes[degree - 1]), 0.0)) / self.scale

    def _doubt(self) -> str:
        some = ", ".join(map(str, self.open))
        return f"degree{'s' if len(self.open) > 1 else ''} {some} below {self.below}, not known to be 0"


def _size_words(size: float) -> str:
    return f"size {size:.1e}" if size > 0 else "size below 1e-300"


def information_exponent(link: Link, *, max_degree: int = MAX_DEGREE, num_directions: int | None = None) -> Exponent:
    """Lowest degree k >= 1 with a non-zero Hermite tensor, and the lowest with a strong one.

    Exact where the target is a sum of polynomials times exponentials and waves. Else, up to three directions, a
    coefficient is known to be non-zero from 1e-9 of the target's standard deviation on, if its square is also 25 times
    the quadrature's error; beyond, and for `strong`, from 1e-3 on and 4 times the error. Raises `InputError` for an
    expression whose variance is infinite, or not known to be finite.
    """
    chosen = target(link, num_directions)
    known = Certain(chosen, max_degree)
    known.check_variance()
    degrees = range(1, max_degree + 1)
    zeros = [known.is_zero(k) for k in degrees]
    at_least = next((k for k, zero in zip(degrees, zeros) if zero is not True), max_degree + 1)
    measured = _exactly(known, max_degree) if known.closed else None
    if measured is None:
        measured = _measured(chosen, known, zeros, max_degree)
    open_degrees = tuple(k for k, zero in zip(degrees, zeros) if zero is None and k < (measured.value or 0))
    return replace(measured, at_least=at_least, open=open_degrees)


def _exactly(known: Certain, max_degree: int) -> Exponent | None:
    """The exponent of a target in closed form, None where its variance is not at hand."""
    import mpmath

    variance = known.variance()
    if variance is None:
        return None
    scale = mpmath.sqrt(variance)
    squares = [known.size(k) for k in range(1, max_degree + 1)]
    shares = [mpmath.sqrt(square) / scale if scale else mpmath.mpf(0) for square in squares]
    degrees = list(enumerate(shares, 1))
    return Exponent(
        value=next((k for k, _ in degrees if known.is_zero(k) is False), None),
        strong=next((k for k, share in degrees if share > STRONG), None),
        sizes=np.array([float(square) for square in squares]),
        errors=np.zeros(max_degree),
        max_degree=max_degree,
        scale=float(scale),
        relative=np.array([float(share) for share in shares]),
        below=f"1e-{DIGITS} of what is added there",
    )


def _measured(chosen: Target, known: Certain, zeros: list[bool | None], max_degree: int) -> Exponent:
    """The exponent by quadrature, or by draws, with what is known put in its place."""
    tensors, errors = hermite_tensors(chosen, max_degree)
    sizes = np.array([float(np.sum(t**2)) for t in tensors[1:]])
    noise = np.array([float(e) for e in errors[1:]])
    for k, zero in enumerate(zeros):
        if zero is not None:
            sizes[k], noise[k] = float(known.size(k + 1)), 0.0
    mean, variance = energy(chosen)
    scale = math.sqrt(variance) or 1.0
    certain, strong = bars_of(chosen, mean, variance)
    counts = np.where([zero is None for zero in zeros], certain.passed(sizes, noise), [zero is False for zero in zeros])
    value = _first(counts)
    open_degrees = [k for k, zero in enumerate(zeros) if zero is None and (value is None or k + 1 < value)]
    least = [max(certain.floor, sizes[k] + certain.times * noise[k]) for k in open_degrees]
    return Exponent(
        value=value,
        strong=_first(strong.passed(sizes, noise)),
        sizes=sizes,
        errors=noise,
        max_degree=max_degree,
        scale=scale,
        below=f"{math.sqrt(max(least, default=0.0)) / scale:.0e} of its size",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What a squared norm has to exceed: `floor` and `times` its error."""

    floor: float
    times: float

    def passed(self, size: Any, error: Any) -> Any:
        return size > np.maximum(self.floor, self.times * error)


def bars_of(chosen: Target, mean: float, variance: float) -> tuple[Bar, Bar]:
    """For what is known to be non-zero and for what is strong; both above the rounding of the target's offset."""
    rounding = (64.0 * np.finfo(float).eps * mean) ** 2
    strong = Bar(floor=max(STRONG**2 * variance, rounding), times=4.0)
    known = Bar(floor=max(KNOWN**2 * variance, rounding), times=25.0) if chosen.num_directions <= 3 else strong
    return known, strong


def _first(counts: Any) -> int | None:
    above = np.flatnonzero(counts)
    return int(above[0]) + 1 if above.size else None


def _first_strong(strong: int | None, max_degree: int) -> str:
    return (
        f"none up to {max_degree} is above {STRONG:g}" if strong is None else f"{strong} is the first above {STRONG:g}"
    )


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
    (nan). Where a lower degree is not 0 by a symmetry of the values it may be below that: the answer is a bound then.
    Cost: num_samples x monomials up to the answer. Raises `InputError` for a constant target, fewer than 100 draws, a
    negative noise or a seed outside 0 .. 2^32 - 1.
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
    known = Certain(chosen, max_degree)
    unknown = [k for k in range(1, max_degree + 1) if not known.tells_nothing(k)]
    at_least = min(unknown, default=max_degree + 1)
    found = Exponent(value=None, strong=None, sizes=sizes, errors=errors, max_degree=max_degree, at_least=at_least)
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
            before = tuple(k for k in unknown if k < degree)
            least = [max(GENERATIVE_FLOOR, sizes[k - 1] + 4.0 * errors[k - 1]) for k in before]
            return replace(found, value=degree, strong=degree, open=before, below=f"{max(least, default=0.0):.0e}")
    return found


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


def sample_complexity(
    information: int | None, generative: int | None, leap: int | None, *, generative_at_least: int | None = None
) -> dict[str, str]:
    """What the exponents imply, in words of d.

    `one_pass_sgd` to learn every direction, by the leap (conjectured by Abbe et al. 2023, who prove it for a class of
    targets); `one_pass_first` and `data_repetition` to the first direction learned, by the information
    and the generative exponent; `low_degree_bound` for any of them, by the least that the generative exponent can be
    (where not given, `generative`). Where the leap is above the information exponent, what data repetition needs for
    the later directions is not told.
    """
    repeated = {None: "unknown", 1: "d", 2: "d log d"}.get(generative, "more than d log d (hard)")
    least = generative if generative_at_least is None else generative_at_least
    return {
        "one_pass_sgd": _one_pass(leap),
        "one_pass_first": _one_pass(information),
        "data_repetition": repeated,
        "low_degree_bound": "unknown" if generative is None or least is None else f"d^{max(1.0, least / 2):g}",
    }


def _one_pass(exponent: int | None) -> str:
    return {None: "unknown", 1: "d", 2: "d log d"}.get(exponent, f"d^{(exponent or 0) - 1}")
