"""How much two discrete variables tell of each other: Rajski's distance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from cutaway.errors import InputError


def rajski_distance(first: ArrayLike, second: ArrayLike) -> float:
    """(H(X | Y) + H(Y | X)) / H(X, Y) of the values `first` and `second` (n,), by their relative frequencies.

    A metric in [0, 1]: 0 where each determines the other (also where both are constant), 1 where they are independent.
    Exact for the distribution of the rows given, which is the truth where they list all cases alike; of a sample it is
    biased downwards, by about (classes of both) / 2 n nats in the numerator. If X determines Y, it is 1 - H(Y) / H(X),
    so that parts X_1 .. X_n that determine X have distances from X that add up to n - 1 at most. Raises `InputError`
    for lengths that differ or no rows. Cost: one sort. Source: Rajski 1961; the bound is derived here.

    >>> round(rajski_distance([0, 0, 1, 1], [0, 1, 0, 1]), 12), rajski_distance([0, 1, 2], [5, 3, 4])
    (1.0, 0.0)
    """
    x, y = np.asarray(first), np.asarray(second)
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise InputError(
            "two discrete variables",
            found=f"shapes {x.shape} and {y.shape}",
            expected="one value of each a row, at least one row",
            remedy="give both for the same rows",
        )
    codes = np.stack([np.unique(v, return_inverse=True)[1].reshape(-1) for v in (x, y)], axis=1)
    joint = _entropy(np.unique(codes, axis=0, return_counts=True)[1])
    alone = sum(_entropy(np.bincount(column)) for column in codes.T)
    return 0.0 if joint == 0 else float(min(1.0, max(0.0, (2 * joint - alone) / joint)))


def _entropy(counts: np.ndarray) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum()) + 0.0
