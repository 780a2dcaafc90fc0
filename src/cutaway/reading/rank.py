"""p-values by rank among draws of a null, plain and with sequential stopping."""

from __future__ import annotations

from typing import Literal

import numpy as np

Alternative = Literal["greater", "less", "two-sided", "none"]


def p_value(value: float, draws: np.ndarray, alternative: Alternative, *, limit: int | None = None) -> float:
    """Monte-Carlo p-value of `value` among `draws` of the null, shape `(B,)`.

    Without `limit`: (1 + #{exceedances}) / (B + 1), valid for any B (Phipson and Smyth 2010). With `limit` h:
    counting stops at the h-th exceedance, at draw l, and p = h / l (Besag and Clifford 1991), also valid. Two-sided
    is twice the smaller one-sided value, at most 1. NaN draws count as exceedances on both sides. A draw equal to the
    value up to rounding (1e-12 relative) is an exceedance.
    """
    draws = np.asarray(draws, dtype=float)
    slack = 1e-12 * max(1.0, abs(value))
    bad = np.isnan(draws)
    above = _one_sided(bad | (draws >= value - slack), limit)
    below = _one_sided(bad | (draws <= value + slack), limit)
    if alternative == "greater":
        return above
    if alternative == "less":
        return below
    return min(1.0, 2.0 * min(above, below))


def undecided(value: float, draws: np.ndarray, alternative: Alternative, limit: int) -> bool:
    """Whether more draws can still change this figure's p-value under sequential stopping at `limit` exceedances.

    `draws` (k,).
    """
    if alternative == "none":
        return False
    slack = 1e-12 * max(1.0, abs(value))
    bad = np.isnan(draws)
    above = int(np.sum(bad | (draws >= value - slack))) < limit
    below = int(np.sum(bad | (draws <= value + slack))) < limit
    return {"greater": above, "less": below}.get(alternative, above or below)


def _one_sided(exceeds: np.ndarray, limit: int | None) -> float:
    total = np.cumsum(exceeds)
    if limit is not None and total.size and total[-1] >= limit:
        return limit / (int(np.searchsorted(total, limit)) + 1)
    return (1 + int(exceeds.sum())) / (exceeds.size + 1)
