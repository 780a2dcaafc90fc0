"""Judging one region for a linear head: lowest logit, verdict, slack and containment (deeper heads: `deep`)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from cutaway.guard import head_regions as shapes
from cutaway.guard.detector import Detector
from cutaway.reading.intervals import proportion_interval
from cutaway.status import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionResult:
    """One region: `worst` logit (`bound` tells whether it is exact or only a lower bound), `slack`, containment of
    held-out harmful rows with its interval (None where it was not computed), and the size of its union."""

    name: str
    status: Status
    worst: float
    bound: Status
    slack: float | None
    containment: float | None
    containment_low: float | None
    containment_high: float | None
    parts: int = 1
    witness_logit: float | None = None
    note: str = ""


class LinearJudge:
    """Judges regions for a linear head, in closed form."""

    exact = Status.EXACT

    def __init__(self, detector: Detector, limit: float) -> None:
        self.weight, self.bias = detector.linear()
        self.limit = limit

    def logits(self, points: np.ndarray) -> np.ndarray:
        return shapes.row_product(points, self.weight) + self.bias

    def worst(self, region: shapes.HeadRegion) -> tuple[float, float, np.ndarray]:
        """(lowest logit, allowance for rounding, a point where it is attained)."""
        point = region.minimiser(self.weight)
        if isinstance(region, shapes.HullRegion):  # attained at a row: no second pass over all rows
            value = float(point @ self.weight + self.bias)
        else:
            value = region.minimum(self.weight, self.bias)
        size = float(np.linalg.norm(self.weight) * np.linalg.norm(point)) + abs(self.bias) + abs(value)
        return value, 16 * len(self.weight) * 2.0**-53 * size, point

    def judge(
        self, region: shapes.HeadRegion, held_out: np.ndarray, *, hull: RegionResult | None = None, note: str = ""
    ) -> RegionResult:
        """The result for one region."""
        value, rounding, point = self.worst(region)
        witness = float(self.logits(point[None])[0])
        status = verdict(value - rounding, witness, self.limit)
        inside = contained(region, held_out)
        return result(
            region.name, status, value, self.exact, inside, hull, witness if status is Status.FALSIFIED else None, note
        )

    def largest(self, ellipsoid, held_out, hull) -> list[RegionResult]:
        """The largest certified ellipsoid, if its centre is flagged."""
        found = shapes.largest_certified(ellipsoid, self.weight, self.bias, self.limit)
        return [self.judge(found, held_out, hull=hull, note=f"radius {found.radius:.4g}")] if found is not None else []

    def union(self, name: str, members: list, held_out: np.ndarray, hull: RegionResult) -> RegionResult:
        """A union of regions: certified only if every member is."""
        judged = [self.judge(m, held_out) for m in members]
        status = max((r.status for r in judged), key=[Status.CERTIFIED, Status.UNKNOWN, Status.FALSIFIED].index)
        inside = np.any([m.contains(held_out) for m in members], axis=0)
        worst = min(judged, key=lambda r: r.worst)
        made = result(name, status, worst.worst, worst.bound, inside, hull, worst.witness_logit, "")
        sound = sum(r.status is Status.CERTIFIED for r in judged)
        return dataclasses.replace(made, parts=len(members), note=f"{sound} of {len(members)} boxes certified")


def verdict(lower: float, witness: float, limit: float) -> Status:
    """Certified, falsified or unknown, from a sound lower bound and the logit of a point of the region."""
    if lower > limit:
        return Status.CERTIFIED
    return Status.FALSIFIED if witness <= limit else Status.UNKNOWN


def contained(region: shapes.HeadRegion, held_out: np.ndarray) -> np.ndarray | None:
    """Which held-out rows lie in the region; for hulls (a linear programme a row) only up to 60 rows and 3,000
    points."""
    if isinstance(region, shapes.HullRegion):
        small = len(region.points) * region.points.shape[1] <= 400_000
        return region.contains(held_out[:60]) if small else None
    return region.contains(held_out)


def result(name, status, worst, bound, inside, hull, witness, note) -> RegionResult:
    low, high = (None, None) if inside is None else proportion_interval(int(inside.sum()), len(inside))
    return RegionResult(
        name=name,
        status=status,
        worst=float(worst),
        bound=bound,
        slack=None if hull is None else hull.worst - float(worst),
        containment=None if inside is None else float(inside.mean()),
        containment_low=low,
        containment_high=high,
        witness_logit=witness,
        note=note,
    )
