"""Colours of slices: one qualitative set for classes, one sequential scale, the same in pictures and explorer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# light to mid tones that stay apart for the common colour-vision deficiencies, dark edges readable on top
CLASSES = (
    "#8ecae6",
    "#f4a261",
    "#95d5b2",
    "#e5989b",
    "#cdb4db",
    "#ffd166",
    "#a3b18a",
    "#f7b2d9",
    "#9fb4ff",
    "#c8ad8d",
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
