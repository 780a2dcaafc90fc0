"""When labels that a model made may be trained on after a filter: break-even error, and how far away it is.

Of generated labels a share p is wrong; a filter keeps right ones with rate phi, wrong ones with rate psi. A learner of
many rows follows the kept majority, so what decides is whether right kept labels outnumber wrong ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import InputError
from cutaway.reading.intervals import proportion_interval


def break_even(keep_right: float, keep_wrong: float, num_classes: int = 2) -> float:
    """Share of wrong labels p* at which right and wrong kept labels of a class are equally many, 0 to 1.

    p* = phi / (phi + psi / (C - 1)) for rates phi = `keep_right`, psi = `keep_wrong` (numbers in [0, 1]) and wrong
    labels spread evenly over C - 1 other classes; C = `num_classes` = 2 is the worst case of any number of classes, in
    which all wrong labels of a class agree. NaN where the filter keeps nothing. Exact. Raises `InputError` for rates
    outside [0, 1] and fewer than two classes. Source: Feng et al. 2024 (arXiv 2406.07515) for two classes; the form
    for C classes is ours.

    >>> round(break_even(0.9, 0.45), 4), round(break_even(0.9, 0.45, 10), 4)
    (0.6667, 0.9474)
    """
    if not (0 <= keep_right <= 1 and 0 <= keep_wrong <= 1 and num_classes >= 2):
        raise InputError(
            "break-even of a filter",
            found=f"rates {keep_right:g} and {keep_wrong:g}, {num_classes} classes",
            expected="rates in [0, 1], at least two classes",
            remedy="give shares of the right and of the wrong labels that are kept",
        )
    total = keep_right + keep_wrong / (num_classes - 1)
    return keep_right / total if total > 0 else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterCounts:
    """Audited rows by what they are and what the filter did: right and kept, right and dropped, wrong and kept, wrong
    and dropped."""

    right_kept: int
    right_dropped: int
    wrong_kept: int
    wrong_dropped: int

    @classmethod
    def of(cls, right: NDArray[np.bool_], kept: NDArray[np.bool_]) -> FilterCounts:
        """Counts of rows `right` (n,) and `kept` (n,)."""
        return cls(
            right_kept=int((right & kept).sum()),
            right_dropped=int((right & ~kept).sum()),
            wrong_kept=int((~right & kept).sum()),
            wrong_dropped=int((~right & ~kept).sum()),
        )

    @property
    def right(self) -> int:
        return self.right_kept + self.right_dropped

    @property
    def wrong(self) -> int:
        return self.wrong_kept + self.wrong_dropped

    @property
    def kept(self) -> int:
        return self.right_kept + self.wrong_kept

    @property
    def rows(self) -> int:
        return self.right + self.wrong

    def even(self, num_classes: int = 2) -> float:
        """p* of these rows; NaN without right or without wrong rows."""
        if not (self.right and self.wrong):
            return math.nan
        return break_even(self.right_kept / self.right, self.wrong_kept / self.wrong, num_classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterMargin:
    """Break-even `even` and the margin p* - p, `margin`, each with its interval (low, high)."""

    even: float
    even_band: tuple[float, float]
    margin: float
    margin_band: tuple[float, float]


def filter_margin(counts: FilterCounts, num_classes: int = 2, level: float = 0.95) -> FilterMargin:
    """Break-even and p* - p of audited rows, estimates with intervals at confidence `level`.

    p, phi and psi have Clopper-Pearson intervals; that of psi / phi follows from theirs (variance estimates recovered,
    Donner and Zou 2012), p* is monotone in it, and that of the difference p* - p is joined as Newcombe (1998) joins two
    proportions (p is uncorrelated with phi and psi, which are rates within right and wrong rows). All NaN without right
    or without wrong rows, or with nothing kept. Raises `InputError` for fewer than two classes. Source: as
    `break_even`; intervals Newcombe 1998, Donner and Zou 2012 (doi 10.1177/0962280210383082).
    """
    even = counts.even(num_classes)
    if math.isnan(even):
        nothing = (math.nan, math.nan)
        return FilterMargin(even=math.nan, even_band=nothing, margin=math.nan, margin_band=nothing)
    wrong = counts.wrong / counts.rows
    phi, psi = counts.right_kept / counts.right, counts.wrong_kept / counts.wrong
    phis = proportion_interval(counts.right_kept, counts.right, level)
    psis = proportion_interval(counts.wrong_kept, counts.wrong, level)
    if phi > 0:
        ratios = _ratio_band(psi, psis, phi, phis)
        band = tuple(1 / (1 + r / (num_classes - 1)) for r in ratios[::-1])
    else:
        ratios = _ratio_band(phi, phis, psi, psis)
        band = tuple(r / (r + 1 / (num_classes - 1)) for r in ratios)
    p = proportion_interval(counts.wrong, counts.rows, level)
    margin = even - wrong
    low = margin - math.hypot(even - band[0], p[1] - wrong)
    high = margin + math.hypot(band[1] - even, wrong - p[0])
    return FilterMargin(even=even, even_band=(band[0], band[1]), margin=margin, margin_band=(low, high))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassLeads:
    """By true class `names` (c,): `lead` (c,), kept rows with the right label among these and those with the commonest
    wrong one, NaN where none is kept; `low`, `high` (c,), its interval for all classes and wrong labels at once."""

    names: NDArray[Any]
    lead: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def safe(self) -> bool:
        """Whether right labels outnumber every wrong one in every class, beyond the intervals."""
        return bool((self.low > 0.5).all())

    @property
    def unsafe(self) -> bool:
        """Whether in some class a wrong label outnumbers the right one, beyond the intervals."""
        return bool((self.high < 0.5).any())


def class_leads(truth: NDArray[Any], given: NDArray[Any], kept: NDArray[np.bool_], level: float = 0.95) -> ClassLeads:
    """Leads of the right label in rows with true classes `truth`, labels `given` and what the filter `kept`, each (n,).

    Estimates; Clopper-Pearson intervals at 1 - (1 - level) / (classes x wrong labels), since the commonest wrong label
    was chosen by looking. Cost: one pass over the rows a class and label. Source: ours.
    """
    names, labels = np.unique(truth), np.unique(np.concatenate([truth, given]))
    each, found = 1 - (1 - level) / (len(names) * max(len(labels) - 1, 1)), []
    for name in names:
        own = given[(truth == name) & kept]
        right = int((own == name).sum())
        others = [int((own == label).sum()) for label in labels if label != name] or [0]
        bands = [proportion_interval(right, right + k, each) if right + k else (0.0, 1.0) for k in others]
        most = right + max(others)
        found.append((right / most if most else math.nan, min(b[0] for b in bands), min(b[1] for b in bands)))
    lead, low, high = np.array(found).T
    return ClassLeads(names=names, lead=lead, low=low, high=high)


def _ratio_band(a: float, ends_a: tuple[float, float], b: float, ends_b: tuple[float, float]) -> tuple[float, float]:
    """Interval of a / b, b > 0, from those of a and of b: roots of (a - r b)^2 = (what both intervals allow)^2."""
    (low_a, high_a), (low_b, high_b) = ends_a, ends_b
    inside = (a * b) ** 2 - low_a * high_b * (2 * a - low_a) * (2 * b - high_b)
    below = high_b * (2 * b - high_b)
    low = (a * b - math.sqrt(max(inside, 0.0))) / below if below > 0 else 0.0
    inside = (a * b) ** 2 - high_a * low_b * (2 * a - high_a) * (2 * b - low_b)
    above = low_b * (2 * b - low_b)
    high = (a * b + math.sqrt(max(inside, 0.0))) / above if above > 0 else math.inf
    return max(0.0, low), high
