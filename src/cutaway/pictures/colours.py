"""Colours of slices: one qualitative set for classes, one sequential scale, the same in pictures and explorer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Twenty fills, light enough for edges on top, found by farthest-point search in OKLab over normal vision and the three
# colour-vision deficiencies (Machado et al. 2009); tests/geometry/test_colours.py holds how far apart they stay.
CLASSES = (
    "#f4c873",
    "#5f86cb",
    "#ae7e2a",
    "#66d7fb",
    "#e98d99",
    "#b1fdd3",
    "#a99de8",
    "#c8a950",
    "#abd1b5",
    "#99829a",
    "#f6ef98",
    "#2dbbb6",
    "#78926a",
    "#cde6fa",
    "#f1aa83",
    "#30a3c2",
    "#a29f6e",
    "#d7b6d8",
    "#aae7a3",
    "#99b7fd",
)
EDGE_SCALE = "plasma"
FACE_SCALE = "viridis"
BOUNDARY = "#111111"
DOMAIN = "#444444"


def class_colour(number: int) -> str:
    return CLASSES[number % len(CLASSES)]


def depth_colours(count: int) -> list[str]:
    """One colour for each site, first to last."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    scale = colormaps[EDGE_SCALE]
    return [to_hex(scale(0.05 + 0.8 * i / max(count - 1, 1))) for i in range(count)]


def robust_range(values: NDArray[np.float64]) -> tuple[float, float]:
    """1st and 99th percentile of the finite values, never equal."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, [1, 99]))
    return (low, high) if high > low else (low - 0.5, low + 0.5)
