"""Which rows of a training set to keep: the hardest by a score, at random, or class by class by quotas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cutaway import seeds
from cutaway.errors import InputError

if TYPE_CHECKING:
    from cutaway.data import Dataset

Integers = NDArray[np.int64]


def prune(data: Dataset, scores: Any, keep: float, quotas: Any = None, *, seed: int = 0) -> Integers:
    """Numbers of the rows of `data` to keep, ascending: `data.subset(prune(data, scores, 0.3))`.

    `scores` (n,): the rows of largest score are kept, ties at random by `seed`; None: any rows, at random. `keep`: the
    share of rows that stay, above 0 up to 1, rounded to whole rows, at least one. `quotas` (classes,): how many rows of
    each class stay, in sum as many as `keep` asks; the scores then choose within the class. Exact. Raises `InputError`
    for a share outside, scores of other rows or that are not numbers, quotas that do not fit the classes or the share.
    Cost: a sort of the scores. Source: definition.
    """
    count = kept_count(keep, len(data))
    generator = np.random.default_rng(seeds.stream(seed, "prune"))
    values = np.zeros(len(data)) if scores is None else _checked_scores(scores, data)
    order = np.lexsort((generator.permutation(len(data)), -values))
    if quotas is None:
        return np.sort(order[:count])
    labels = _labels(data)
    sizes = np.bincount(labels, minlength=data.num_classes or 0)
    wanted = _checked_quotas(quotas, sizes, count)
    chosen = [order[labels[order] == c][: wanted[c]] for c in range(len(sizes))]
    return np.sort(np.concatenate(chosen))


def kept_count(keep: float, rows: int) -> int:
    """Whole rows that a share `keep` of `rows` is, at least 1. Raises `InputError` unless 0 < keep <= 1."""
    if not 0 < keep <= 1:
        raise InputError(
            "share of rows to keep", found=f"{keep:g}", expected="above 0, at most 1", remedy="give 0.1 for a tenth"
        )
    return max(1, round(keep * rows))


def recall_quotas(labels: Any, recalls: Any, keep: float) -> Integers:
    """DRoP's quotas (classes,): of a share `keep` of the rows, class c gets a part that goes with 1 - recall_c.

    n_c = m (1 - r_c) / sum_k (1 - r_k) for m rows in all; what exceeds a class's size goes to the others by the same
    weights until all fits, parts are rounded by largest remainder so that the sum is m, and a class with rows keeps one
    at least. Equal shares where every recall is 1. `labels` (n,), `recalls` (classes,) of a network trained on all
    rows, on rows held out. Exact. Raises `InputError` for recalls outside 0 to 1, and for fewer rows than classes.
    Source: Vysogorets, Ahuja and Kempe 2024 (arXiv 2404.05579), algorithm 1, with the floor and the rounding our own.
    """
    labels, weights = np.asarray(labels), 1.0 - np.asarray(recalls, dtype=float)
    sizes = np.bincount(labels, minlength=len(weights))
    if len(sizes) > len(weights) or not ((weights >= 0) & (weights <= 1)).all():
        raise InputError(
            "recalls",
            found=f"{np.asarray(recalls)}"[:80],
            expected=f"{len(sizes)} numbers from 0 to 1, one a class",
            remedy="give the recall of every class, on rows held out",
        )
    count, there = kept_count(keep, len(labels)), sizes > 0
    if count < there.sum():
        raise InputError(
            "share of rows to keep",
            found=f"{count} rows for {int(there.sum())} classes",
            expected="a row of every class at least",
            remedy="keep a larger share",
        )
    parts, weights = np.zeros(len(sizes)), np.where(there, weights, 0.0)
    while (left := count - parts.sum()) > 1e-9:
        open_ = np.where(parts < sizes, weights, 0.0)
        if not open_.sum() > 0:  # only classes of recall 1 have rows left
            open_ = (parts < sizes).astype(float)
        parts = np.minimum(parts + left * open_ / open_.sum(), sizes)
    quotas = _whole(parts, count)
    for c in np.flatnonzero(there & (quotas == 0)):
        quotas[quotas.argmax()] -= 1
        quotas[c] = 1
    return quotas


def _whole(parts: NDArray[np.float64], count: int) -> Integers:
    """Whole numbers next to `parts` whose sum is `count`: the largest remainders are rounded up."""
    parts = parts + 1e-9  # 3 - 1e-16 is 3
    floor = np.floor(parts).astype(np.int64)
    up = np.argsort(floor - parts, kind="stable")[: count - int(floor.sum())]
    floor[up] += 1
    return floor


def _labels(data: Dataset) -> Integers:
    if data.labels is None:
        raise InputError(
            f"data set {data.name!r}", found="no labels", expected="labels for quotas", remedy="give labelled data"
        )
    return data.labels.cpu().numpy()


def _checked_scores(scores: Any, data: Dataset) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=float)
    if values.shape != (len(data),) or np.isnan(values).any():
        found = f"shape {values.shape}" if values.shape != (len(data),) else f"{int(np.isnan(values).sum())} NaN"
        raise InputError(
            f"scores for data set {data.name!r}",
            found=found,
            expected=f"({len(data)},), a number for every row",
            remedy="give the scores of these rows, in their order",
        )
    return values


def _checked_quotas(quotas: Any, sizes: Integers, count: int) -> Integers:
    wanted = np.asarray(quotas)
    if wanted.shape != sizes.shape or wanted.dtype.kind not in "iu" or (wanted < 0).any():
        raise InputError(
            "quotas",
            found=f"{wanted.dtype} of shape {wanted.shape}",
            expected=f"({len(sizes)},) whole numbers of rows, 0 or more, one a class",
            remedy="make them with recall_quotas",
        )
    over = np.flatnonzero(wanted > sizes)
    if len(over):
        raise InputError(
            f"quota of class {int(over[0])}",
            found=f"{int(wanted[over[0]])} rows",
            expected=f"at most {int(sizes[over[0]])}, the rows of the class",
            remedy="lower it, or make quotas with recall_quotas, which shares out what a class cannot give",
        )
    if int(wanted.sum()) != count:
        raise InputError(
            "quotas",
            found=f"{int(wanted.sum())} rows in all",
            expected=f"{count}, the share to keep",
            remedy="make quotas and pruning with the same share",
        )
    return wanted.astype(np.int64)
