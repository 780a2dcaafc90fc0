"""Which part of a plane a slice shows when nobody says: the square that holds the inputs, or what of it can be cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from cutaway.arrays import Floats
from cutaway.errors import BudgetError
from cutaway.geometry.plane import Plane, rectangle

Cut = TypeVar("Cut")

HALVINGS = 12
"""Times that a domain is halved before its slice is given up: 1/4096 of its side."""


def square_holding(plane: Plane, *, margin: float = 0.1) -> Floats:
    """The square along the plane's axes that holds its anchors, its side their extent and `margin` of it on every side;
    of side 2 about a single one.

    (4, 2), in the units of the input, counter-clockwise. Exact. Raises `InputError` for a plane without anchors.
    """
    low, high = (np.atleast_2d(plane.anchors).min(axis=0), np.atleast_2d(plane.anchors).max(axis=0))
    half = float((high - low).max()) * (0.5 + margin) or 1.0
    x, y = (low + high) / 2
    return rectangle(x - half, x + half, y - half, y + half)


def largest_that_fits(cut: Callable[[Floats], Cut], polygon: Floats) -> tuple[Cut, float]:
    """`cut(polygon)` and 1, or `cut` of the polygon halved about its middle until its regions fit, and the share of
    its width that is left.

    Raises the last `BudgetError` after `HALVINGS` tries. Cost: a cut up to the budget for every halving.
    """
    middle, share = polygon.mean(axis=0), 1.0
    for left in range(HALVINGS, -1, -1):
        try:
            return cut(middle + share * (polygon - middle)), share
        except BudgetError:
            if not left:
                raise
            share /= 2
    raise AssertionError("not reached")
