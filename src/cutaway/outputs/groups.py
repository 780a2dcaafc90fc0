"""Who is worst off: accuracy by cell of a population, with intervals that hold for all cells at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.reading.intervals import proportion_intervals

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """Rows by cell: of each cell (k,) its `label` (-1 where cells are whole groups), its `group`, its number of rows
    `counts` and how many of them are right, `hits`. Cells without rows are left out."""

    labels: Integers
    groups: Integers
    counts: Integers
    hits: Integers

    def __len__(self) -> int:
        return len(self.counts)

    def largest(self, least: int) -> Cells:
        """The cells of at least `least` rows."""
        keep = self.counts >= least
        return Cells(labels=self.labels[keep], groups=self.groups[keep], counts=self.counts[keep], hits=self.hits[keep])


def cells_of(correct: NDArray[np.bool_], groups: Integers, labels: Integers | None = None) -> Cells:
    """`correct`, `groups` and, for cells of class and group, `labels` (n,). Exact. Source: definition."""
    labels = np.full(len(groups), -1) if labels is None else labels
    pairs, where = np.unique(np.stack([labels, groups], axis=1), axis=0, return_inverse=True)
    where = where.reshape(-1)
    return Cells(
        labels=pairs[:, 0],
        groups=pairs[:, 1],
        counts=np.bincount(where, minlength=len(pairs)),
        hits=np.bincount(where, weights=correct, minlength=len(pairs)).astype(np.int64),
    )


def simultaneous_intervals(hits: Integers, counts: Integers, level: float = 0.95) -> NDArray[np.float64]:
    """Intervals (k, 2) of proportions `hits / counts` (k,) that hold all at once with probability `level` or more.

    Clopper-Pearson, each at 1 - (1 - level) / k (Bonferroni), so that nothing is asked of how the proportions depend on
    each other; conservative. What follows from all of them, such as their least or their largest difference, then
    lies between its values at the ends with the same probability.
    """
    return proportion_intervals(hits, counts, 1 - (1 - level) / max(len(counts), 1))


def least_interval(bands: NDArray[np.float64]) -> tuple[float, float]:
    """Where the least of proportions with the simultaneous intervals `bands` (k, 2) lies."""
    return float(bands[:, 0].min()), float(bands[:, 1].min())


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """The equalised-odds difference with its interval, and where it is largest: for rows of class `label`, the rate of
    answering `predicted` in group `most` minus that in group `fewest`."""

    difference: float
    low: float
    high: float
    label: int
    predicted: int
    most: int
    fewest: int


def equalised_odds(
    predicted: Integers, labels: Integers, groups: Integers, least: int = 1, level: float = 0.95
) -> Odds | None:
    """max over classes y, answers k and groups g, g' of P(k | y, g) - P(k | y, g'), of `predicted`, `labels` and
    `groups` (n,); 0 where what the network answers does not depend on the group, given the class.

    Groups of fewer than `least` rows of a class are left out there; None where no class has two groups left. The value
    is that of the sample, biased upwards for few rows; the interval takes every rate within its simultaneous one, so
    it holds with probability `level` or more, and is wide. Source: Hardt, Price and Srebro 2016 (arXiv 1610.02413),
    definition 2.1, as a largest difference over classes and answers.
    """
    answers = np.unique(predicted)
    kept: list[tuple[int, Integers, Integers, Integers]] = []
    for label in np.unique(labels):
        own = labels == label
        here, counts = np.unique(groups[own], return_counts=True)
        here, counts = here[counts >= least], counts[counts >= least]
        if len(here) > 1:
            hits = np.array([[(predicted[own & (groups == g)] == k).sum() for k in answers] for g in here])
            kept.append((int(label), here, hits, counts))
    if not kept:
        return None
    counts = np.concatenate([np.repeat(c, len(answers)) for _, _, _, c in kept])
    bands = simultaneous_intervals(np.concatenate([h.reshape(-1) for _, _, h, _ in kept]), counts, level)
    best, low, high, start = None, 0.0, 0.0, 0
    for label, here, hits, count in kept:
        rates = hits / count[:, None]
        ends = bands[start : start + hits.size].reshape(*hits.shape, 2)
        start += hits.size
        low = max(low, float((ends[..., 0].max(axis=0) - ends[..., 1].min(axis=0)).max()))
        high = max(high, float((ends[..., 1].max(axis=0) - ends[..., 0].min(axis=0)).max()))
        gaps = rates.max(axis=0) - rates.min(axis=0)
        k = int(gaps.argmax())
        if best is None or gaps[k] > best[0]:
            most, fewest = int(here[rates[:, k].argmax()]), int(here[rates[:, k].argmin()])
            best = float(gaps[k]), label, int(answers[k]), most, fewest
    assert best is not None
    value, label, answer, most, fewest = best
    return Odds(difference=value, low=low, high=high, label=label, predicted=answer, most=most, fewest=fewest)
