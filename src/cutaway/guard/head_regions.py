"""Convex regions round harmful points, and the lowest logit a linear head w . z + b gives anywhere in them.

All closed form or a one-dimensional convex problem (arXiv 2605.10901, section on deterministic certificates, and our
additions; support functions are textbook):

- `BoxRegion`: {V y + r: lo <= y <= hi, r_lo <= r <= r_hi}, faces at the points' extremes along V. With a full frame
  r = 0 and the minimum is sum_j min(a_j lo_j, a_j hi_j) + b, a = V'w, exactly as published.
- `HullRegion`: the convex hull of the points; minimum min_i w . z_i + b. Tightest of all convex regions.
- `EllipsoidRegion`: {mean + u: u'S^-1 u <= radius^2}, S = V diag(variance) V' + rest (I - VV'); minimum
  w . mean + b - radius sqrt(w'Sw). The radius comes from held-out points (split conformal), not from chi-square.
- `CutRegion`: box and ellipsoid at once, on the ellipsoid's axes; the minimum by its one-dimensional dual, every value
  of which is a sound lower bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cutaway.errors import InputError
from cutaway.guard.frames import Frame, principal_frame


class HeadRegion(Protocol):
    """A closed bounded convex set of head inputs z (d,)."""

    @property
    def name(self) -> str: ...

    def minimum(self, weight: np.ndarray, bias: float) -> float:
        """Lowest value of weight . z + bias over the region (for `CutRegion` a lower bound that is tight)."""
        ...

    def minimiser(self, weight: np.ndarray) -> np.ndarray:
        """A point of the region where it is attained."""
        ...

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Which of the points (n, d) lie in it, booleans (n,), up to rounding."""
        ...

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """`count` points of the region."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoxRegion:
    """See the module's text; `low`, `high` (k,) along the frame, `rest_low`, `rest_high` (d,) for what it leaves
    out."""

    axes: Frame
    low: np.ndarray
    high: np.ndarray
    rest_low: np.ndarray
    rest_high: np.ndarray
    name: str = "box"

    def minimum(self, weight: np.ndarray, bias: float) -> float:
        a = self.axes.axes.T @ weight
        inner = np.minimum(a * self.low, a * self.high).sum()
        return float(inner + np.minimum(weight * self.rest_low, weight * self.rest_high).sum() + bias)

    def minimiser(self, weight: np.ndarray) -> np.ndarray:
        a = self.axes.axes.T @ weight
        return self.axes.axes @ np.where(a >= 0, self.low, self.high) + np.where(
            weight >= 0, self.rest_low, self.rest_high
        )

    def contains(self, points: np.ndarray) -> np.ndarray:
        inside, rest = self.axes.split(np.asarray(points, dtype=np.float64))
        slack = 1e-9 * (1 + np.abs(inside).max(initial=0))
        fits = ((inside >= self.low - slack) & (inside <= self.high + slack)).all(1)
        return fits & ((rest >= self.rest_low - slack) & (rest <= self.rest_high + slack)).all(1)

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        y = rng.uniform(self.low, self.high, (count, len(self.low)))
        r = rng.uniform(self.rest_low, self.rest_high, (count, len(self.rest_low)))
        return y @ self.axes.axes.T + r


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HullRegion:
    """Convex hull of `points` (n, d)."""

    points: np.ndarray
    name: str = "hull"

    def minimum(self, weight: np.ndarray, bias: float) -> float:
        return float(row_product(self.points, weight).min() + bias)

    def minimiser(self, weight: np.ndarray) -> np.ndarray:
        return self.points[int(row_product(self.points, weight).argmin())].astype(np.float64)

    def contains(self, points: np.ndarray) -> np.ndarray:
        from scipy.optimize import linprog

        n = len(self.points)
        equal = np.vstack([self.points.T.astype(np.float64), np.ones((1, n))])
        found = []
        for z in np.asarray(points, dtype=np.float64):
            result = linprog(np.zeros(n), A_eq=equal, b_eq=np.append(z, 1.0), bounds=(0, None), method="highs")
            found.append(result.status == 0)
        return np.array(found, dtype=bool)

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        weights = rng.dirichlet(np.full(min(len(self.points), 64), 0.3), count)
        chosen = rng.integers(0, len(self.points), (count, weights.shape[1]))
        return np.einsum("ck,ckd->cd", weights, self.points[chosen])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EllipsoidRegion:
    """See the module's text; `variance` (k,) along the frame, `rest` the variance in every direction outside it."""

    axes: Frame
    mean: np.ndarray
    variance: np.ndarray
    rest: float
    radius: float
    name: str = "ellipsoid"

    def spread(self, weight: np.ndarray) -> float:
        """sqrt(w'Sw)."""
        a = self.axes.axes.T @ weight
        outside = 0.0 if self.axes.exact else max(0.0, float(weight @ weight - a @ a))
        return math.sqrt(float(self.variance @ a**2) + self.rest * outside)

    def minimum(self, weight: np.ndarray, bias: float) -> float:
        return float(weight @ self.mean + bias - self.radius * self.spread(weight))

    def minimiser(self, weight: np.ndarray) -> np.ndarray:
        a = self.axes.axes.T @ weight
        outside = 0 if self.axes.exact else self.rest * (weight - self.axes.axes @ a)
        step = self.axes.axes @ (self.variance * a) + outside
        return self.mean - self.radius * step / max(self.spread(weight), 1e-300)

    def distances(self, points: np.ndarray) -> np.ndarray:
        """Mahalanobis distances (n,)."""
        total = []
        for start in range(0, len(points), 8192):
            off = np.asarray(points[start : start + 8192], dtype=np.float64) - self.mean
            y = off @ self.axes.axes
            square = (y**2 / self.variance).sum(1)
            if not self.axes.exact:
                square += np.maximum((off**2).sum(1) - (y**2).sum(1), 0) / self.rest
            total.append(np.sqrt(square))
        return np.concatenate(total) if total else np.empty(0)

    def contains(self, points: np.ndarray) -> np.ndarray:
        return self.distances(points) <= self.radius * (1 + 1e-9)

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        if not self.axes.exact:
            raise InputError(
                "sampling an ellipsoid",
                found="a partial frame",
                expected="the full frame (d <= 1,024)",
                remedy="keep the full frame, or sample a hull",
            )
        u = rng.standard_normal((count, len(self.variance)))
        u *= rng.random((count, 1)) ** (1 / u.shape[1]) / np.linalg.norm(u, axis=1, keepdims=True)
        return self.mean + self.radius * (u * np.sqrt(self.variance)) @ self.axes.axes.T


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CutRegion:
    """The points of `ellipsoid` whose coordinates along its own axes also lie in [low, high] (k,) (full frames only).

    minimum: max over t >= 0 of the Lagrangian dual min_{y in box} a.y + t (sum_j (y_j - m_j)^2 / v_j - radius^2),
    which is separable and concave in t; strong duality holds because the mean lies inside both.
    """

    ellipsoid: EllipsoidRegion
    low: np.ndarray
    high: np.ndarray
    name: str = "box-in-ellipsoid"

    def _inner(self, a: np.ndarray, t: float) -> tuple[float, np.ndarray]:
        e = self.ellipsoid
        m = e.axes.axes.T @ e.mean
        y = (
            np.clip(m - a * e.variance / (2 * t), self.low, self.high)
            if t > 0
            else np.where(a >= 0, self.low, self.high)
        )
        return float(a @ y + t * (((y - m) ** 2 / e.variance).sum() - e.radius**2)), y

    def _solve(self, weight: np.ndarray) -> tuple[float, np.ndarray]:
        a, e = self.ellipsoid.axes.axes.T @ weight, self.ellipsoid
        m = e.axes.axes.T @ e.mean

        def outside(y: np.ndarray) -> float:
            return float(((y - m) ** 2 / e.variance).sum() - e.radius**2)

        best, y = self._inner(a, 0.0)
        if outside(y) <= 0:
            return best, y
        low, high = 0.0, max(e.spread(weight) / (2 * e.radius), 1e-300)
        while outside(self._inner(a, high)[1]) > 0:
            high *= 2
        for _ in range(200):
            middle = (low + high) / 2
            value, point = self._inner(a, middle)
            best = max(best, value)
            low, high = (middle, high) if outside(point) > 0 else (low, middle)
        value, point = self._inner(a, high)
        return max(best, value), point

    def minimum(self, weight: np.ndarray, bias: float) -> float:
        return self._solve(weight)[0] + bias

    def minimiser(self, weight: np.ndarray) -> np.ndarray:
        return self.ellipsoid.axes.axes @ self._solve(weight)[1]

    def contains(self, points: np.ndarray) -> np.ndarray:
        y = np.asarray(points, dtype=np.float64) @ self.ellipsoid.axes.axes
        slack = 1e-9 * (1 + np.abs(y).max(initial=0))
        return ((y >= self.low - slack) & (y <= self.high + slack)).all(1) & self.ellipsoid.contains(points)

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Ellipsoid samples pulled to the box along the axes; distances only shrink, so they stay inside both."""
        y = np.clip(self.ellipsoid.sample(count, rng) @ self.ellipsoid.axes.axes, self.low, self.high)
        return y @ self.ellipsoid.axes.axes.T


def box_region(points: np.ndarray, *, axes: Frame | None = None, name: str = "box", **options) -> BoxRegion:
    """The box of points (n, d) aligned to their singular directions (uncentred, as published)."""
    axes = axes or principal_frame(points, **options)
    low, high = np.full(axes.axes.shape[1], np.inf), np.full(axes.axes.shape[1], -np.inf)
    rest_low, rest_high = np.zeros(points.shape[1]), np.zeros(points.shape[1])
    if not axes.exact:
        rest_low, rest_high = np.full(points.shape[1], np.inf), np.full(points.shape[1], -np.inf)
    for inside, rest in axes.chunks(points):
        low, high = np.minimum(low, inside.min(0)), np.maximum(high, inside.max(0))
        if not axes.exact:
            rest_low, rest_high = np.minimum(rest_low, rest.min(0)), np.maximum(rest_high, rest.max(0))
    return BoxRegion(axes=axes, low=low, high=high, rest_low=rest_low, rest_high=rest_high, name=name)


def ellipsoid_region(
    points: np.ndarray, held_out: np.ndarray, *, level: float = 0.9, name: str = "ellipsoid", **options
) -> EllipsoidRegion:
    """Ellipsoid of the points' mean and covariance, radius so that a new point lies inside with probability at least
    `level` (split conformal over held_out (m, d)). About that share of held_out itself lies inside by construction:
    count containment on other rows. InputError when m is below level / (1 - level)."""
    k = math.ceil((len(held_out) + 1) * level - 1e-9)
    if k > len(held_out):
        raise InputError(
            "the rows that set the radius",
            found=f"{len(held_out)}",
            expected=f"at least {math.ceil(level / (1 - level) - 1e-9)} for a level of {level:g}",
            remedy="give more harmful rows, or a lower level",
        )
    mean = points.mean(0, dtype=np.float64)
    axes = principal_frame(points, centre=mean, **options)
    squares, total, n = np.zeros(axes.axes.shape[1]), 0.0, len(points)
    for start in range(0, n, 8192):
        off = points[start : start + 8192].astype(np.float64) - mean
        squares += ((off @ axes.axes) ** 2).sum(0)
        total += float((off**2).sum())
    variance = squares / max(n - 1, 1)
    floor = 1e-6 * float(variance.mean()) + 1e-12
    left = points.shape[1] - len(variance)
    rest = max((total / max(n - 1, 1) - float(variance.sum())) / left, floor) if left else 0.0
    unit = EllipsoidRegion(axes=axes, mean=mean, variance=variance + floor, rest=rest, radius=1.0, name=name)
    radius = float(np.sort(unit.distances(held_out))[k - 1])
    return EllipsoidRegion(axes=axes, mean=mean, variance=variance + floor, rest=rest, radius=radius, name=name)


def cut_region(points: np.ndarray, ellipsoid: EllipsoidRegion) -> CutRegion:
    """The box of the points along the ellipsoid's axes, cut to the ellipsoid."""
    y = points.astype(np.float64) @ ellipsoid.axes.axes
    return CutRegion(ellipsoid=ellipsoid, low=y.min(0), high=y.max(0))


def largest_certified(
    ellipsoid: EllipsoidRegion, weight: np.ndarray, bias: float, limit: float
) -> EllipsoidRegion | None:
    """The ellipsoid of the same shape with the largest radius over which every logit is above `limit`; None when its
    centre is not. Radius = (w . mean + b - limit) / sqrt(w'Sw), reduced by 1e-9 of itself."""
    margin = float(weight @ ellipsoid.mean + bias - limit)
    spread = ellipsoid.spread(weight)
    if margin <= 0 or spread == 0:
        return None
    return EllipsoidRegion(
        axes=ellipsoid.axes,
        mean=ellipsoid.mean,
        variance=ellipsoid.variance,
        rest=ellipsoid.rest,
        radius=margin / spread * (1 - 1e-9),
        name="largest-certified-ellipsoid",
    )


def clusters(points: np.ndarray, *, smallest: int = 10, most: int = 4000, seed: int = 0) -> list[np.ndarray]:
    """Row numbers of each cluster: scikit-learn's HDBSCAN with cosine distance on at most `most` rows, the rest and the
    noise to the nearest cluster mean (Euclidean), as published. One cluster when none is found."""
    from sklearn.cluster import HDBSCAN

    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(points))[:most])
    if len(chosen) < 2 * max(2, smallest):  # too few rows for two clusters
        return [np.arange(len(points))]
    found = HDBSCAN(min_cluster_size=max(2, smallest), metric="cosine", algorithm="brute", copy=True).fit_predict(  # pyright: ignore[reportArgumentType]
        points[chosen].astype(np.float64)
    )
    names = [c for c in np.unique(found) if c >= 0]
    if len(names) < 2:
        return [np.arange(len(points))]
    means = np.stack([points[chosen[found == c]].mean(0, dtype=np.float64) for c in names])
    nearest = (
        ((points[:, None, :] - means[None]) ** 2).sum(2).argmin(1) if points.size < 5e6 else _nearest(points, means)
    )
    settled = found >= 0
    nearest[chosen[settled]] = np.searchsorted(names, found[settled])
    return [np.flatnonzero(nearest == k) for k in range(len(names)) if (nearest == k).any()]


def row_product(points: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """points @ weight in float64, a few thousand rows at a time: (n,)."""
    parts = [points[s : s + 8192].astype(np.float64) @ weight for s in range(0, len(points), 8192)]
    return np.concatenate(parts) if parts else np.empty(0)


def _nearest(points: np.ndarray, means: np.ndarray) -> np.ndarray:
    half = 0.5 * (means**2).sum(1)
    return np.concatenate([(points[s : s + 8192] @ means.T - half).argmax(1) for s in range(0, len(points), 8192)])
