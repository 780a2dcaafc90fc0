"""A radius in the wrong units is told from the data's range.

A radius is implausible when it reaches past the middle of the range from a typical row: everything then fits into one
ball round flat grey, and no classifier can be robust there. 8 for data in [0, 1], meant as 8/255, is such a radius.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from cutaway.errors import CutawayWarning
from cutaway.records import Skipped

if TYPE_CHECKING:
    from cutaway.data import Dataset

_PIXEL_ROWS = 256


def plausible_radius(data: Dataset, norm: str) -> float:
    """Median over rows of the distance (norm "2" or "1", data units) to the middle of the data's range; for "inf" half
    the range.

    The range is `value_range`, or the smallest and largest number of the first 256 rows where there is none.
    """
    raw = data.inputs[:_PIXEL_ROWS].double().flatten(1)
    if data.mean is not None and data.std is not None:
        shape = (1, -1, *[1] * (data.inputs.ndim - 2))
        mean, std = (torch.tensor(v, dtype=torch.float64).reshape(shape) for v in (data.mean, data.std))
        raw = (data.inputs[:_PIXEL_ROWS].double() * std + mean).flatten(1)
    low, high = data.value_range or (float(raw.min()), float(raw.max()))
    if norm == "inf":
        return (high - low) / 2
    return float(torch.linalg.vector_norm(raw - (low + high) / 2, ord=float(norm), dim=1).median())


def told_of_no_range(data: Dataset) -> tuple[Skipped, ...]:
    """What a reading of an attack says of data in no known range, where the ball alone bounds the points."""
    if data.value_range is not None:
        return ()
    reason = "the data declares none, so that attacked rows may be what no input is: give value_range=(low, high)"
    return (Skipped(what="the range of inputs", reason=reason),)


def warn_of_units(what: str, radius: float, norm: str, data: Dataset) -> None:
    """Warn (`CutawayWarning`) when `radius` is above `plausible_radius`."""
    most = plausible_radius(data, norm)
    if radius <= most * (1 + 1e-6):
        return
    low, high = data.value_range or (float(data.inputs.min()), float(data.inputs.max()))
    hint = "radii are given in the data's units"
    if high - low <= 2 and radius >= 1:
        hint += f"; for {radius:g} grey levels of 255 give {radius:g}/255 = {radius * (high - low) / 255:.4g}"
    warnings.warn(
        CutawayWarning(
            f"radius of {what}",
            found=f"{radius:g} in l{norm} on data {data.name!r} that lies in [{low:g}, {high:g}]",
            expected=f"at most {most:.4g}, from where a typical row can be turned into flat grey",
            remedy=hint,
        ),
        stacklevel=3,
    )
