"""Linear inequalities over inputs and outputs, conjunctions of them, and the `Query` of a disjunction of those.

A conjunction holds its numbers in arrays (16 bytes for a limit of an input), since files of tens of megabytes have
thousands of conjunctions with hundreds of limits each. An input i is coded as i, an output j as -1 - j.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field

import numpy as np
import torch

from cutaway.engines.budget import format_bytes
from cutaway.errors import BudgetError, InputError
from cutaway.robustness.query import Clause, Query

MAX_CLAUSES = 100_000


class Refusal(Exception):
    """What a formula has that cannot be asked: `found`, `expected`, `remedy`; the reader adds where."""

    def __init__(self, found: str, expected: str, remedy: str = "") -> None:
        self.found, self.expected, self.remedy = found, expected, remedy
        super().__init__(found)


@dataclass(slots=True)
class Linear:
    """sum of coefficients * variables + constant."""

    terms: dict[int, float] = field(default_factory=dict)
    constant: float = 0.0

    def add(self, other: Linear, factor: float = 1.0) -> None:
        """self += factor * other."""
        for key, value in other.terms.items():
            self.terms[key] = self.terms.get(key, 0.0) + factor * value
        self.constant += factor * other.constant

    def multiply(self, other: Linear) -> None:
        """self *= other, where one of the two is a number."""
        scalar, terms = (other.constant, self.terms) if self.terms else (self.constant, other.terms)
        self.terms, self.constant = {k: v * scalar for k, v in terms.items()}, self.constant * other.constant

    def tidy(self) -> None:
        """Without variables that cancel."""
        self.terms = {k: v for k, v in self.terms.items() if v != 0.0}


class Conjunction:
    """Limits of inputs, `side` 2 i (x_i >= edge) or 2 i + 1 (x_i <= edge), and rows over outputs: slopes at `columns`
    up to `ends`, at most `limits`."""

    __slots__ = ("columns", "edges", "ends", "limits", "sides", "slopes")

    def __init__(self) -> None:
        self.sides, self.edges = array("q"), array("d")
        self.columns, self.slopes, self.ends, self.limits = array("q"), array("d"), array("q"), array("d")

    @property
    def nbytes(self) -> int:
        return 16 * (len(self.sides) + len(self.columns) + len(self.ends))

    def limit(self, code: int, upper: bool, value: float) -> None:
        """variable <= value, or >= value."""
        if code >= 0:
            self.sides.append(2 * code + upper)
            self.edges.append(-(0.0 - value) if upper else value)
        else:
            self.row({code: 1.0 if upper else -1.0}, 0.0 - value if upper else value)

    def row(self, terms: dict[int, float], constant: float) -> None:
        """terms over outputs + constant <= 0."""
        self.columns.extend(-1 - code for code in terms)
        self.slopes.extend(terms.values())
        self.ends.append(len(self.columns))
        self.limits.append(-constant)

    def at_most_zero(self, linear: Linear) -> None:
        """linear <= 0. Raises Refusal for what is neither a limit of one input nor about outputs alone."""
        if not all(math.isfinite(v) for v in (linear.constant, *linear.terms.values())):
            raise Refusal("numbers whose sum or product overflows", "finite numbers")
        inputs = [code for code in linear.terms if code >= 0]
        if not inputs:
            self.row(linear.terms, linear.constant)
            return
        if len(inputs) < len(linear.terms):
            remedy = "have the network give the inputs it is compared with as outputs too"
            raise Refusal("a constraint that mixes inputs and outputs", "limits on one input, or outputs only", remedy)
        if len(inputs) > 1:
            remedy = "put a linear layer that makes these inputs from others in front of the network"
            raise Refusal("a constraint on several inputs", "lower and upper limits of single inputs", remedy)
        ((code, slope),) = linear.terms.items()
        self.sides.append(2 * code + (slope > 0))
        self.edges.append(-linear.constant / slope)

    def extend(self, other: Conjunction) -> None:
        """Both."""
        self.sides.extend(other.sides)
        self.edges.extend(other.edges)
        self.ends.extend(end + len(self.columns) for end in other.ends)
        self.columns.extend(other.columns)
        self.slopes.extend(other.slopes)
        self.limits.extend(other.limits)

    def narrow(self, low: np.ndarray, high: np.ndarray) -> None:
        """The box low, high (n,) cut to the limits of inputs, in place."""
        sides, edges = np.frombuffer(self.sides, dtype=np.int64), np.frombuffer(self.edges)
        upper = sides % 2 == 1
        np.minimum.at(high, sides[upper] // 2, edges[upper])
        np.maximum.at(low, sides[~upper] // 2, edges[~upper])

    def matrix(self, outputs: int) -> np.ndarray:
        """The rows (k, outputs)."""
        matrix = np.zeros((len(self.ends), outputs))
        rows = np.repeat(np.arange(len(self.ends)), np.diff(np.frombuffer(self.ends, dtype=np.int64), prepend=0))
        matrix[rows, np.frombuffer(self.columns, dtype=np.int64)] = np.frombuffer(self.slopes)
        return matrix


def both(left: Conjunction, right: Conjunction) -> Conjunction:
    result = Conjunction()
    result.extend(left)
    result.extend(right)
    return result


def conjoin(left: list[Conjunction], right: list[Conjunction], budget: int, source: str) -> list[Conjunction]:
    """The disjunctive form of "left and right"; `left` may be changed. Raises Refusal (too many) or BudgetError."""
    if len(left) * len(right) > MAX_CLAUSES:
        raise Refusal("too many combinations of 'or'", f"at most {MAX_CLAUSES} conjunctions")
    if len(left) == len(right) == 1:
        left[0].extend(right[0])
        return left
    size = len(right) * sum(c.nbytes for c in left) + len(left) * sum(c.nbytes for c in right)
    check_budget(size, budget, source)
    return [both(a, b) for a in left for b in right]


def check_budget(size: int, budget: int, source: str, what: str = "its conjunctions take") -> None:
    """Raise BudgetError for more bytes than the budget."""
    if size > budget:
        raise BudgetError(
            source,
            found=f"{what} {format_bytes(size)}",
            expected=f"at most {format_bytes(budget)}, the memory budget",
            remedy="give a larger --budget, or check that the file is what it should be",
        )


def query_of(
    common: Conjunction, choices: list[Conjunction], inputs: int, outputs: int, source: str, budget: int
) -> Query:
    """ "common and (choice or choice ...)"; branches that no input meets drop out. Raises InputError (an input without
    a limit, an empty region), Refusal (no branch is left) or BudgetError."""
    rows = sum(len(c.ends) for c in choices) + len(choices) * len(common.ends)
    check_budget(8 * (2 * inputs * (len(choices) + 1) + rows * outputs), budget, source)
    first = np.full(inputs, -np.inf), np.full(inputs, np.inf)
    common.narrow(*first)
    asked = bool((first[0] <= first[1]).all())
    low, high = np.empty((len(choices), inputs)), np.empty((len(choices), inputs))
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    for choice in choices:
        place = len(kept)
        low[place], high[place] = first
        choice.narrow(low[place], high[place])
        _check_bounded(low[place], high[place], source)
        wrong = (low[place] > high[place]).nonzero()[0]
        if not len(wrong):
            matrix = np.concatenate([common.matrix(outputs), choice.matrix(outputs)])
            kept.append((matrix, np.array([*common.limits, *choice.limits])))
        elif not asked:
            _refuse_empty(low[place], high[place], int(wrong[0]), source)
    if not kept:
        raise Refusal("no branch of an 'or' that any input meets", "a region that is not empty")
    lowest, highest = torch.from_numpy(low).unbind(), torch.from_numpy(high).unbind()
    clauses = tuple(
        Clause(lower=lower, upper=upper, matrix=torch.from_numpy(matrix), limits=torch.from_numpy(limits))
        for lower, upper, (matrix, limits) in zip(lowest, highest, kept)
    )
    return Query(clauses=clauses, num_inputs=inputs, num_outputs=outputs, source=source)


def _check_bounded(low: np.ndarray, high: np.ndarray, source: str) -> None:
    free = (~(np.isfinite(low) & np.isfinite(high))).nonzero()[0]
    if len(free):
        i = int(free[0])
        below = low[i] == -np.inf
        raise InputError(
            source,
            found=f"input {i} without a {'lower' if below else 'upper'} limit",
            expected="every input bounded from both sides",
            remedy=f"add (assert ({'>=' if below else '<='} X_{i} ...))",
        )


def _refuse_empty(low: np.ndarray, high: np.ndarray, i: int, source: str) -> None:
    raise InputError(
        source,
        found=f"input {i} with lower limit {float(low[i])!r} above upper limit {float(high[i])!r}",
        expected="lower <= upper",
        remedy="correct the limits: the region is empty",
    )
