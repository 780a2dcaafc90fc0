"""An affine plane in input space and a convex polygon in it: where a slice is taken.

Plane point p (2) <-> input x = origin + p @ directions, directions (2, D) orthonormal in float64. Made from one, two or
three inputs, or from any two directions; the polygon may be any strictly convex one, counter-clockwise. (SplineCam
takes the mean of a closed polygon as origin, with the first corner counted twice, and maps back rightly only for
rectangles; here the back-projection is right for every polygon because the directions are orthonormal.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cutaway.arrays import Floats
from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plane:
    """`origin` (D,), `directions` (2, D) orthonormal, `input_shape` with prod = D, `anchors` (k, 2) in the plane with
    their `labels`, if they have any."""

    origin: Floats
    directions: Floats
    input_shape: tuple[int, ...]
    anchors: Floats
    labels: tuple[str, ...] = ()

    def lift(self, points: ArrayLike) -> Floats:
        """Inputs (n, *input_shape) of plane points (n, 2)."""
        flat = self.origin + np.asarray(points, dtype=np.float64) @ self.directions
        return flat.reshape(-1, *self.input_shape)

    def project(self, inputs: ArrayLike) -> Floats:
        """Plane points (n, 2) nearest to inputs (n, *input_shape)."""
        flat = np.asarray(inputs, dtype=np.float64).reshape(-1, len(self.origin))
        return (flat - self.origin) @ self.directions.T


def plane_through(inputs: ArrayLike, *, seed: int = 0, directions: ArrayLike | None = None) -> Plane:
    """The plane through 1 to 3 inputs (k, *input_shape), its origin at their mean.

    With fewer than three inputs the missing directions are Gaussian (`seed`) or `directions` (1 or 2, *input_shape).
    Raises InputError for NaN, inputs that coincide or lie on one line, and inputs of fewer than two dimensions.
    """
    anchors = np.asarray(inputs, dtype=np.float64)
    if anchors.ndim < 2 or not 1 <= len(anchors) <= 3:
        raise InputError(
            "anchors of the slice",
            found=f"shape {anchors.shape}",
            expected="(k, *input_shape), k = 1, 2, 3",
            remedy="give one to three inputs, stacked",
        )
    _finite(anchors, "anchor")
    shape, flat = tuple(anchors.shape[1:]), anchors.reshape(len(anchors), -1)
    if flat.shape[1] < 2:
        raise InputError(
            "the plane of the slice",
            found=f"inputs of dimension {flat.shape[1]}",
            expected="at least 2",
            remedy="for a network of one input use ray crossings instead of a slice",
        )
    spans = list(flat[1:] - flat[0])
    if directions is not None:
        given = np.asarray(directions, dtype=np.float64)
        if given.size % flat.shape[1] or given.size == 0:
            raise InputError(
                "directions of the slice",
                found=f"shape {given.shape}",
                expected=f"(m, {', '.join(map(str, shape))})",
                remedy="a plane must lie in the network's input space",
            )
        _finite(given, "direction")
        spans += list(given.reshape(-1, flat.shape[1]))
    generator = np.random.default_rng(seed)
    while len(spans) < 2:
        spans.append(generator.standard_normal(flat.shape[1]))
    if len(spans) > 2:
        raise InputError(
            "directions of the slice",
            found=f"{len(spans)} spans",
            expected="two, anchors included",
            remedy="give one direction more or fewer",
        )
    kind = np.asarray(inputs).dtype
    rounding = float(np.finfo(kind).eps) if np.issubdtype(kind, np.floating) else 0.0
    slack = 4 * rounding * float(np.linalg.norm(flat, axis=1).max()) if len(flat) == 3 else 0.0
    return _plane(flat.mean(axis=0), np.stack(spans), shape, flat, slack)


def plane_of(origin: ArrayLike, directions: ArrayLike) -> Plane:
    """The plane origin + span(directions); `origin` (*input_shape), `directions` (2, *input_shape).

    Raises `InputError` for other shapes, values that are not finite, and directions that are zero or parallel.
    """
    start, spans = np.asarray(origin, dtype=np.float64), np.asarray(directions, dtype=np.float64)
    if spans.shape != (2, *start.shape):
        raise InputError(
            "directions of the slice",
            found=f"shape {spans.shape}",
            expected=f"{(2, *start.shape)}",
            remedy="give directions of the anchor's shape",
        )
    _finite(start, "origin")
    _finite(spans, "direction")
    return _plane(start.reshape(-1), spans.reshape(2, -1), tuple(start.shape), start.reshape(1, -1))


def plane_along(axes: tuple[int, int], inputs: ArrayLike) -> Plane:
    """The plane along two of the input's numbers, counted in the flat input, through the mean of `inputs`
    (k, *input_shape), which are its anchors.

    Plane coordinates are the two numbers themselves. Exact. Raises `InputError` for numbers that the input does not
    have, for twice the same, and for values that are not finite.
    """
    points = np.asarray(inputs, dtype=np.float64)
    shape, flat = tuple(points.shape[1:]), points.reshape(len(points), -1)
    if len(set(axes)) != 2 or not all(0 <= axis < flat.shape[1] for axis in axes):
        raise InputError(
            "axes of the slice",
            found=", ".join(map(str, axes)),
            expected=f"two different numbers from 0 to {flat.shape[1] - 1}",
            remedy="count along the flat input",
        )
    _finite(flat, "anchor")
    origin, directions = flat.mean(axis=0), np.eye(flat.shape[1])[list(axes)]
    origin[list(axes)] = 0.0
    return Plane(origin=origin, directions=directions, input_shape=shape, anchors=flat[:, list(axes)])


def input_plane() -> Plane:
    """All of a two-dimensional input space."""
    return Plane(origin=np.zeros(2), directions=np.eye(2), input_shape=(2,), anchors=np.zeros((0, 2)))


def square_around(plane: Plane, half_diagonal: float) -> Floats:
    """The square c ± r u1, c ± r u2 about the plane's origin, counter-clockwise (the published tool's domain).

    (4, 2). Raises `InputError` for a half diagonal that is not above 0.
    """
    if not half_diagonal > 0 or not np.isfinite(half_diagonal):
        raise InputError(
            "pad of the slice", found=str(half_diagonal), expected="a positive number", remedy="give a number above 0"
        )
    return half_diagonal * np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def rectangle(xmin: float, xmax: float, ymin: float, ymax: float) -> Floats:
    """The corners of a rectangle, counter-clockwise.

    (4, 2). Raises `InputError` unless xmin < xmax and ymin < ymax, all finite.
    """
    if not (xmin < xmax and ymin < ymax) or not np.isfinite([xmin, xmax, ymin, ymax]).all():
        raise InputError(
            "domain",
            found=f"{xmin},{xmax},{ymin},{ymax}",
            expected="xmin < xmax and ymin < ymax, finite",
            remedy="order the limits so",
        )
    return np.array([[xmin, ymin], [xmax, ymin], [xmax, ymax], [xmin, ymax]], dtype=np.float64)


def chords(polygon: Floats, count: int) -> Floats:
    """(count, 2, 2): `count` evenly spaced chords of a convex polygon (m, 2) along the plane's first direction.

    Their lengths times the spacing add up to the area as the midpoint rule has it: error O(1 / count^2).
    """
    low, high = polygon[:, 1].min(), polygon[:, 1].max()
    height = low + (np.arange(count) + 0.5) / count * (high - low)
    start, end = polygon, np.roll(polygon, -1, axis=0)
    rise = end[:, 1] - start[:, 1]
    met = (np.minimum(start[:, 1], end[:, 1]) <= height[:, None]) & (
        height[:, None] < np.maximum(start[:, 1], end[:, 1])
    )
    share = (height[:, None] - start[:, 1]) / np.where(rise == 0, 1.0, rise)
    x = start[:, 0] + share * (end[:, 0] - start[:, 0])
    ends = np.stack([np.where(met, x, np.inf).min(axis=1), np.where(met, x, -np.inf).max(axis=1)], axis=1)
    return np.stack([ends, np.repeat(height[:, None], 2, axis=1)], axis=2)


def check_domain(polygon: ArrayLike) -> Floats:
    """The polygon (m, 2) as float64; InputError unless it is strictly convex and counter-clockwise, corners finite."""
    corners = np.asarray(polygon, dtype=np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
        raise InputError(
            "domain polygon",
            found=f"shape {corners.shape}",
            expected="(m, 2) with m >= 3",
            remedy="give at least three corners",
        )
    _finite(corners, "domain polygon, corner", of="")
    sides = np.roll(corners, -1, axis=0) - corners
    turns = sides[:, 0] * np.roll(sides[:, 1], -1) - sides[:, 1] * np.roll(sides[:, 0], -1)
    scale = np.abs(sides).max() ** 2
    if np.all(turns < -1e-12 * scale):
        raise InputError(
            "domain polygon", found="clockwise corners", expected="counter-clockwise", remedy="reverse the order"
        )
    if not np.all(turns > 1e-12 * scale):
        worst = int((np.argmin(turns) + 1) % len(corners))
        raise InputError(
            f"domain polygon, corner {worst}",
            found="a reflex or straight corner",
            expected="a strictly convex polygon",
            remedy="split the domain into convex parts, or drop corners that lie on a side",
        )
    total = np.sum(np.arctan2(turns, np.sum(sides * np.roll(sides, -1, axis=0), axis=1)))
    if not np.isclose(total, 2 * np.pi):
        raise InputError(
            "domain polygon",
            found="a boundary that winds around more than once",
            expected="a simple one",
            remedy="give a polygon that does not cross itself",
        )
    return corners


def _plane(origin: Floats, spans: Floats, shape: tuple[int, ...], anchors: Floats, slack: float = 0.0) -> Plane:
    """`slack`: how far from one line three anchors may seem to lie by the rounding of what they were stored in."""
    first = spans[0]
    length = np.linalg.norm(first)
    if not length > 0:
        raise InputError(
            "anchors of the slice",
            found="two that coincide",
            expected="different points",
            remedy="give different anchors",
        )
    u = first / length
    second = spans[1] - (spans[1] @ u) * u
    second -= (second @ u) * u
    rest = np.linalg.norm(second)
    if not rest > max(1e-10 * max(np.linalg.norm(spans[1]), length), slack):
        raise InputError(
            "anchors of the slice",
            found="points on one line",
            expected="three points in general position",
            remedy="drop one of them: the plane is then completed by a random direction",
        )
    directions = np.stack([u, second / rest])
    return Plane(origin=origin, directions=directions, input_shape=shape, anchors=(anchors - origin) @ directions.T)


def _finite(values: Floats, what: str, of: str = " of the slice") -> None:
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        raise InputError(
            f"{what} {row}{of}",
            found="NaN or infinite values",
            expected="finite numbers",
            remedy="remove or mend these values",
        )
