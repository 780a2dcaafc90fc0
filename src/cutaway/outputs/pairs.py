"""What a predictor does not know, told by its second answers: p1(y | x) p2(y' | y, x), a model of two outcomes a row.

Let A be what the predictor can tell of a row x (for a calibrated predictor its answer), and P(y) the true probability
of y at x, which varies among the rows of one A. A calibrated pair model has p1(y) = E[P(y) | A] and p1(y) p2(y' | y) =
E[P(y) P(y') | A], so that

    V(y) = p1(y) (p2(y | y) - p1(y)) = Var(P(y) | A)             what it does not know of P(y),
    C(y) = p1(y) / p2(y | y),   P(P(y) = 0 | A) <= 1 - C(y)      by Cantelli's inequality.

Who knew the row would not learn from being told one of its outcomes. Whether the model is calibrated can be seen on
other rows with two outcomes: there E[(p1(y) - 1[y1 = y]) (p1(y) - 1[y2 = y]) | A] must be V(y). Source: Johnson et al.
2024 (arXiv 2402.08733), whose proofs were not read; the inequalities are derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway.arrays import Floats
from cutaway.errors import InputError
from cutaway.outputs.probability import paired_terms

LEAST_ROWS = 5  # rows of a bin


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairProbabilities:
    """Of each row: `first` (n, C), p1(y), and `second` (n, C, C), p2(y' | y) at [row, y, y']; rows sum to one."""

    first: Floats
    second: Floats

    @property
    def repeated(self) -> Floats:
        """p2(y | y), (n, C): how likely the same outcome comes again. Exact."""
        return np.diagonal(self.second, axis1=1, axis2=2)

    @property
    def variance(self) -> Floats:
        """V(y), (n, C), the epistemic variance; below 0 where the model is not calibrated, and left so."""
        return self.first * (self.repeated - self.first)

    @property
    def confidence(self) -> Floats:
        """C(y), (n, C): 1 where being told the outcome changes nothing; above 1 where V(y) is below 0."""
        return self.first / np.maximum(self.repeated, np.finfo(np.float64).tiny)

    @property
    def asymmetry(self) -> Floats:
        """Per row (n,) the total variation between p1(y) p2(y' | y) and p1(y') p2(y | y'): 0 for any calibrated pair
        model, as the two outcomes are alike."""
        joint = self.first[:, :, None] * self.second
        return np.abs(joint - joint.transpose(0, 2, 1)).sum(axis=(1, 2)) / 2


def pair_probabilities(scores: torch.Tensor, classes: int) -> PairProbabilities:
    """Of the scores (n, C + C^2) of a pair network: logits of the first outcome, then, for y = 0 .. C - 1, those of
    the second outcome where the first was y. Softmax in float64; exact.

    Raises `InputError` for another number of scores, or scores that are not finite. Source: the layout is ours.

    >>> import torch
    >>> pair_probabilities(torch.zeros(1, 6), 2).variance.tolist()
    [[0.0, 0.0]]
    """
    if scores.ndim != 2 or scores.shape[1] != classes * (classes + 1) or not bool(torch.isfinite(scores).all()):
        finite = "" if bool(torch.isfinite(scores).all()) else ", not all finite"
        raise InputError(
            "scores of a pair network",
            found=f"shape {tuple(scores.shape)}{finite}",
            expected=f"(n, {classes * (classes + 1)}): {classes} of the first outcome, {classes}^2 of the second",
            remedy="give PairPredictor.network(), or a network with these outputs",
        )
    logits = scores.double().cpu()
    first, second = logits[:, :classes], logits[:, classes:].reshape(-1, classes, classes)
    return PairProbabilities(first=first.softmax(dim=-1).numpy(), second=second.softmax(dim=-1).numpy())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairCheck:
    """Claim against fact in bins (k,) of rising claimed variance: mean of V `claimed`, mean squared `error` against
    the true probabilities by pairs of outcomes, the ends `low` and `high` of its interval, and `rows`."""

    claimed: Floats
    error: Floats
    low: Floats
    high: Floats
    rows: NDArray[np.int64]

    @property
    def holds(self) -> bool:
        """Whether no claim lies outside its interval: nothing speaks against a calibrated pair model."""
        return bool(((self.low <= self.claimed) & (self.claimed <= self.high)).all())


def check_pairs(
    pairs: PairProbabilities,
    first: NDArray,
    second: NDArray,
    *,
    column: int = -1,
    bins: int = 5,
    level: float = 0.95,
) -> PairCheck:
    """Of rows that the model was not trained on, with outcomes `first` and `second` (n,): the mean error of bins of
    equal count in the order of V, with intervals that hold for all bins at once with probability `level` or more,
    whatever the model and the data (empirical Bernstein bound; Maurer and Pontil 2009, arXiv 0907.3740, theorem 4,
    both sides, Bonferroni over bins).

    `column`: the class whose V is judged; -1 sums V and errors over classes. Estimates with sure intervals. Raises
    `InputError` for fewer than five rows a bin. Cost: one sort.
    """
    n = len(first)
    if n < LEAST_ROWS * bins:
        raise InputError(
            "pairs of outcomes",
            found=f"{n} rows for {bins} bins",
            expected=f"at least {LEAST_ROWS * bins}",
            remedy="give more rows, or fewer bins",
        )
    claimed, terms = claims_and_terms(pairs, first, second, column)
    parts = np.array_split(np.argsort(claimed, kind="stable"), bins)
    span = 1.25 if column >= 0 else 2.5  # a term lies in [-1/4, 1], the sum over classes in [-1/2, 2]
    halves = np.array([_half_width(terms[p], span, 1 - (1 - level) / bins) for p in parts])
    error = np.array([terms[p].mean() for p in parts])
    return PairCheck(
        claimed=np.array([claimed[p].mean() for p in parts]),
        error=error,
        low=error - halves,
        high=error + halves,
        rows=np.array([len(p) for p in parts]),
    )


def claims_and_terms(pairs: PairProbabilities, first: NDArray, second: NDArray, column: int) -> tuple[Floats, Floats]:
    """Per row (n,) the claimed V and an unbiased estimate of what it claims, of class `column`, or summed for -1.

    Exact. Source: the head of this file.
    """
    if column < 0:
        return pairs.variance.sum(axis=1), paired_terms(pairs.first, first, second)
    hits = [(np.asarray(labels) == column).astype(float) for labels in (first, second)]
    return pairs.variance[:, column], paired_terms(pairs.first[:, column], *hits)


def _half_width(values: Floats, span: float, level: float) -> float:
    """Of the empirical Bernstein interval of a mean of independent numbers in a range of length `span`."""
    n, log = len(values), math.log(4 / (1 - level))
    return math.sqrt(2 * float(values.var(ddof=1)) * log / n) + 7 * span * log / (3 * (n - 1))
