"""How an error grows from generation to generation, or falls with the rows: which simple form a measured table follows.

Forms of generations n: `flat` a; `linear` a + b n; `power` a + b n^c; `saturating` a + b (1 - r^n). Forms of rows T:
`flat` a; `power` b T^-c; `floor` a + b T^-c.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cutaway import seeds
from cutaway.arrays import Floats
from cutaway.errors import InputError

EXPONENTS = np.concatenate([np.linspace(0.1, 0.9, 33), np.linspace(1.1, 3.0, 39)])
RATIOS = np.linspace(0.02, 0.98, 49)
Columns = Callable[[Floats, float], Floats]

GENERATIONS: Mapping[str, tuple[Columns, tuple[str, ...], Floats]] = {
    "flat": (lambda n, _: np.stack([np.ones_like(n)], 1), ("a",), np.zeros(1)),
    "linear": (lambda n, _: np.stack([np.ones_like(n), n], 1), ("a", "b"), np.zeros(1)),
    "power": (lambda n, c: np.stack([np.ones_like(n), n**c], 1), ("a", "b", "c"), EXPONENTS),
    "saturating": (lambda n, r: np.stack([np.ones_like(n), 1 - r**n], 1), ("a", "b", "r"), RATIOS),
}
ROWS: Mapping[str, tuple[Columns, tuple[str, ...], Floats]] = {
    "flat": (lambda t, _: np.stack([np.ones_like(t)], 1), ("a",), np.zeros(1)),
    "power": (lambda t, c: np.stack([t**-c], 1), ("b", "c"), np.linspace(0.02, 2.0, 199)),
    "floor": (lambda t, c: np.stack([np.ones_like(t), t**-c], 1), ("a", "b", "c"), np.linspace(0.02, 2.0, 199)),
}
"""Form -> (columns of its linear part given its shape, names of its parameters, shapes that are tried)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GrowthFit:
    """One form: `parameters` by name, `low` and `high` their intervals, `fitted` (n,), `weight` its Akaike weight among
    all forms (0 to 1), `residual` the root mean square that is left."""

    form: str
    parameters: Mapping[str, float]
    low: Mapping[str, float]
    high: Mapping[str, float]
    fitted: Floats
    weight: float
    residual: float


def fit_growth(
    where: Any, errors: Any, *, rows: bool = False, resamples: int = 200, seed: int = 0
) -> dict[str, GrowthFit]:
    """Every form fitted to `errors` (n,) at generations `where` (n,), or at numbers of rows where `rows` says so, the
    best first.

    Least squares, of log errors where `rows` (their noise is relative): linear parameters in closed form, the exponent
    or ratio on a grid. Weights are Akaike's, corrected for few points (AICc): how often this form would be the nearest
    of these, given such data; a form with as many parameters as points less two is left out. Intervals by resampling
    the residuals of the form itself, rescaled for its parameters: estimates, too narrow where the form is wrong. Cost:
    a few hundred small products. Raises `InputError` for fewer than five points or three places, numbers that are not
    finite, negative generations, and errors that are not positive where logs are taken. Source: the forms are those of
    Dohmatob et al. 2024 (arXiv 2402.07712, 2402.07043); the choice by AICc (Hurvich and Tsai 1989) is ours.
    """
    x, y = np.asarray(where, dtype=float), np.asarray(errors, dtype=float)
    _check(x, y, rows)
    forms = ROWS if rows else GENERATIONS
    found = {}
    rng = np.random.default_rng(seeds.stream(seed, "growth"))
    for form, (columns, names, shapes) in forms.items():
        if len(names) + 1 < len(x) - 1:
            found[form] = _fitted(x, y, columns, names, shapes, rows, resamples, rng)
    scores = {form: _aicc(fit[3], len(x), len(forms[form][1]) + 1) for form, fit in found.items()}
    least = min(scores.values())
    total = sum(math.exp((least - score) / 2) for score in scores.values())
    made = [
        GrowthFit(
            form=form,
            parameters=dict(zip(forms[form][1], fit[0])),
            low=dict(zip(forms[form][1], fit[1].tolist())),
            high=dict(zip(forms[form][1], fit[2].tolist())),
            fitted=fit[4],
            weight=math.exp((least - scores[form]) / 2) / total,
            residual=math.sqrt(fit[3] / len(x)),
        )
        for form, fit in found.items()
    ]
    return {fit.form: fit for fit in sorted(made, key=lambda fit: -fit.weight)}


def _check(x: Floats, y: Floats, rows: bool) -> None:
    bad = x.ndim != 1 or x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all())
    if bad or len(x) < 5 or len(np.unique(x)) < 3:
        raise InputError(
            "table of errors",
            found=f"{x.size} places ({len(np.unique(x))} different) and {y.size} errors" + ", not all finite" * bad,
            expected="at least five finite errors at three different places",
            remedy="measure more generations, or each of them several times",
        )
    if (x < (1 if rows else 0)).any() or (rows and (y <= 0).any()):
        raise InputError(
            "table of errors",
            found=f"places from {x.min():g}, errors from {y.min():g}",
            expected="at least one row, errors above 0" if rows else "generations of at least 0",
            remedy="number generations from 0, and give errors as they were measured",
        )


def _aicc(squares: float, points: int, parameters: int) -> float:
    floor = 1e-300
    return points * math.log(max(squares / points, floor)) + 2 * parameters * points / (points - parameters - 1)


def _fitted(
    x: Floats, y: Floats, columns: Columns, names: tuple[str, ...], shapes: Floats, logs: bool, resamples: int, rng: Any
) -> tuple[list[float], Floats, Floats, float, Floats]:
    """Parameters, both ends, sum of squares (of logs), fitted values."""
    shaped = len(names) > len(columns(x[:1], 0.5).T)
    designs = [columns(x, shape) for shape in shapes]
    best, squares, fitted = _least(designs, y[None], logs)
    values = [*map(float, best[0][0]), *([float(shapes[best[1][0]])] if shaped else [])]
    own = fitted[0]
    left = np.log(y / own) if logs else y - own
    left = (left - left.mean()) * math.sqrt(len(x) / max(len(x) - len(names), 1))
    drawn = left[rng.integers(0, len(x), (resamples, len(x)))]
    again = _least(designs, own * np.exp(drawn) if logs else own + drawn, logs)[0]
    table = np.column_stack([again[0], shapes[again[1]]]) if shaped else again[0]
    ends = np.quantile(table, [0.025, 0.975], axis=0)
    low, high = np.minimum(ends[0], values), np.maximum(ends[1], values)
    return values, low, high, float(squares[0]), own


def _least(designs: list[Floats], ys: Floats, logs: bool) -> tuple[tuple[Floats, Any], Floats, Floats]:
    """Of tables `ys` (b, n): linear parameters (b, k) and number of the shape (b,), squares (b,), fitted (b, n)."""
    least = np.full(len(ys), np.inf)
    which, fitted = np.zeros(len(ys), dtype=int), np.ones_like(ys)
    found = np.zeros((len(ys), designs[0].shape[1]))
    for number, design in enumerate(designs):
        for weight in (
            (1 / ys, None) if logs else (None,)
        ):  # relative residuals, which are small where logs differ little
            if weight is None:
                linear = ys @ np.linalg.pinv(design).T
            else:
                scaled = design[None] * weight[:, :, None]
                linear = (np.linalg.pinv(scaled) @ np.ones((len(ys), ys.shape[1], 1)))[:, :, 0]
            values = linear @ design.T
            if logs:
                safe = np.where(values > 0, values, np.nan)
                squares = np.nan_to_num((np.log(ys / safe) ** 2).sum(axis=1), nan=np.inf)
                squares[(linear[:, 0] < 0) & (design.shape[1] > 1)] = np.inf  # a floor below 0 is none
            else:
                squares = ((ys - values) ** 2).sum(axis=1)
            better = squares < least
            least[better], which[better], found[better], fitted[better] = (
                squares[better],
                number,
                linear[better],
                values[better],
            )
    return (found, which), least, fitted
