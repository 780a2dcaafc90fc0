"""Whether a series that falls has come to rest: for any loss that is watched while something trains.

The paper's rule (Galaxy distillation, arXiv 2311.17967) calls a series falling where the correlation r of its last n
values with their places is below -lambda / sqrt(n - 2). That alone stops as soon as n is too small to see the fall, so
here a series rests only where the last values would have shown a fall of half the speed before them.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cutaway.errors import InputError

Trend = Literal["falling", "resting", "unknown"]


def trend_stop(losses: ArrayLike, *, share: float = 0.15, least: int = 30, sure: float = 3.5) -> Trend:
    """Whether `losses` (T,) still fall, rest, or do not tell.

    Of the last n = max(`least`, `share` T) values, b is the slope by least squares and s its standard error; a the
    slope of the values before them. `falling` where b + `sure` s < 0; `resting` where b - `sure` s > a / 2, that is
    where the slope has left half of the earlier one behind, and it is not falling; `unknown` else, and with fewer than
    2 n values or where the values before did not fall.

    An estimate: the standard error takes the deviations from the line as independent with one variance. Asked again at
    every step, as a stopping rule is, `sure` = 3.5 keeps false
    stops rare on losses that fall straight (the reproduction `distillation` counts them); a loss that falls ever more
    slowly rests, by this rule, once its speed has halved. Cost:
    O(T). Raises `InputError` for values that are not finite numbers and settings out of range. Source: after Galaxy
    distillation, arXiv 2311.17967 (`falling`, with lambda = `sure`, is its test up to n against n - 2); `resting` is
    ours.
    """
    values = _checked(losses, share, least, sure)
    count = max(least, math.ceil(share * len(values)))
    if len(values) < 2 * count:
        return "unknown"
    slope, error = _slope(values[-count:])
    if slope + sure * error < 0:
        return "falling"
    before, doubt = _slope(values[:-count])
    fell = before + sure * doubt < 0
    return "resting" if fell and slope - sure * error > before / 2 else "unknown"


def _slope(values: NDArray[np.float64]) -> tuple[float, float]:
    """Slope a step by least squares, and its standard error."""
    place = np.arange(len(values)) - (len(values) - 1) / 2
    square = float(place @ place)
    slope = float(place @ values) / square
    rest = values - values.mean() - slope * place
    return slope, math.sqrt(float(rest @ rest) / (len(values) - 2) / square)


def _checked(losses: ArrayLike, share: float, least: int, sure: float) -> NDArray[np.float64]:
    values = np.asarray(losses, dtype=float)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise InputError(
            "losses of trend_stop",
            found=f"shape {values.shape}" if values.ndim != 1 else "values that are not finite",
            expected="one row of finite numbers",
            remedy="leave out what is missing",
        )
    if not (0 < share <= 0.5 and least >= 3 and sure > 0):
        raise InputError(
            "trend_stop",
            found=f"share {share:g}, least {least}, sure {sure:g}",
            expected="a share above 0 and at most .5, least of at least 3, sure above 0",
            remedy="leave them out for the defaults",
        )
    return values
