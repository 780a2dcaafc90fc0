"""Measures of the faces of a subdivision: area, perimeter, interior point, sides, in-plane slope of linear values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.arrangement.subdivision import Subdivision
from cutaway.arrays import Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaceMeasures:
    """Per face (F): `area`, `perimeter`, `interior` (F, 2) the mean of the corners, `num_sides`; with `start`, `order`
    the half-edge cycles (see `Subdivision.cycles`). `rows`, in the same order: where the values at a corner stand, as
    its face has them: at the number of the vertex, unless the network jumps."""

    area: Floats
    perimeter: Floats
    interior: Floats
    num_sides: NDArray[np.int64]
    start: NDArray[np.int64]
    order: NDArray[np.int32]
    rows: NDArray[np.int64]


def measure_faces(cells: Subdivision, rows: NDArray[np.int64] | None = None) -> FaceMeasures:
    """Exact up to rounding; areas by the shoelace formula about each face's own first corner; `rows` (H,) of the
    values at each half-edge's origin (None: the origin). Cost O(half-edges)."""
    start, order = cells.cycles()
    count = np.diff(start)
    first = start[:-1]
    here = cells.position[cells.origin[order]]
    there = cells.position[cells.origin[cells.twin[order]]]
    base = np.repeat(here[first], count, axis=0)
    a, b = here - base, there - base
    area = np.add.reduceat(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], first) / 2
    perimeter = np.add.reduceat(np.hypot(*(there - here).T), first)
    interior = np.add.reduceat(a, first, axis=0) / count[:, None] + here[first]
    return FaceMeasures(
        area=area,
        perimeter=perimeter,
        interior=interior,
        num_sides=count,
        start=start,
        order=order,
        rows=(cells.origin if rows is None else rows)[order].astype(np.int64),
    )


def slopes(cells: Subdivision, measures: FaceMeasures, values: Floats) -> Floats:
    """In-plane gradients (F, C, 2) of functions linear on every face, from their values (R, C) at the corners.

    Least squares over the corners; relative error about machine epsilon times the face's aspect ratio.
    """
    order, first = measures.order, measures.start[:-1]
    rows = measures.rows
    face = np.repeat(np.arange(len(first)), measures.num_sides)
    offset = cells.position[cells.origin[order]] - measures.interior[face]
    size = np.maximum(np.maximum.reduceat(np.abs(offset).max(axis=1), first), 1e-150)
    offset = offset / size[face, None]
    moment = np.add.reduceat(offset[:, :, None] * offset[:, None, :], first, axis=0)
    centre = np.add.reduceat(values[rows], first, axis=0) / measures.num_sides[:, None]
    found = np.empty((len(first), values.shape[1], 2))
    determinant = moment[:, 0, 0] * moment[:, 1, 1] - moment[:, 0, 1] ** 2
    determinant = np.maximum(determinant, 1e-30)
    for c in range(values.shape[1]):
        mixed = np.add.reduceat(offset * (values[rows, c] - centre[face, c])[:, None], first, axis=0)
        found[:, c, 0] = (moment[:, 1, 1] * mixed[:, 0] - moment[:, 0, 1] * mixed[:, 1]) / determinant
        found[:, c, 1] = (moment[:, 0, 0] * mixed[:, 1] - moment[:, 0, 1] * mixed[:, 0]) / determinant
    return found / size[:, None, None]


def in_plane_spectrum(gradients: Floats) -> Floats:
    """Singular values (F, 2), largest first, of each face's map restricted to the plane, gradients (F, C, 2)."""
    xx = np.einsum("fc,fc->f", gradients[..., 0], gradients[..., 0])
    yy = np.einsum("fc,fc->f", gradients[..., 1], gradients[..., 1])
    xy = np.einsum("fc,fc->f", gradients[..., 0], gradients[..., 1])
    middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    largest = np.sqrt(middle + spread)
    area = np.sqrt(np.maximum(xx * yy - xy**2, 0.0))
    smallest = np.divide(area, largest, out=np.zeros_like(area), where=largest > 0)
    return np.stack([largest, smallest], axis=1)
