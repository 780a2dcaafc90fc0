"""Certificates of a detector's head: regions of harmful inputs, the lowest logit in each, and what that is worth.

For every region R round the harmful construction rows z: worst = min over R of the logit. `certified`: worst is above
the threshold by more than rounding, so every point of R is flagged. `falsified`: a point of R was replayed through the
head and is not flagged (the witness). `unknown`: neither. Beside it stand the slack (hull's worst minus R's worst: what
the shape adds beyond mixtures of known points; 0 or more for a region that holds them all) and the containment: the
share of held-out harmful rows in R with its Clopper-Pearson interval, without which a certified region says little.
The conformal ellipsoid takes its radius from held-out rows, so these are split by the seed: one half sets the radius,
and the share inside (of the ellipsoid and of its cut with the box) is counted on the other half.

Linear heads are exact (arXiv 2605.10901 and our additions, see `cutaway.guard.head_regions`); deeper ReLU heads go
through the bound engine of `cutaway.robustness`, whose bound is sound but not tight.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from cutaway.errors import InputError
from cutaway.guard import head_regions as shapes
from cutaway.guard.deep import DeepJudge
from cutaway.guard.detector import Detector
from cutaway.guard.frames import FULL
from cutaway.guard.judges import LinearJudge, RegionResult
from cutaway.guard.mixture import MixtureReport, lower_limit, mixture_report, normal_report
from cutaway.status import Status

LARGE = 5e7  # numbers in the construction rows beyond which only what streams over them is computed


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Bound to `model_hash` and `detector_hash`. `status`: certified when at least one region that is not the hull of
    the rows themselves is certified; `recall` of held-out harmful rows with one-sided lower limit `recall_low` (95
    %). `unflagged`: construction rows that the detector misses; one is enough to falsify every region that holds all
    rows, the hull and the box first."""

    model_hash: str
    detector_hash: str
    threshold: float
    dimension: int
    rows: int
    held_out: int
    status: Status
    recall: float
    recall_low: float
    regions: tuple[RegionResult, ...]
    mixtures: tuple[MixtureReport, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)
    unflagged: int = 0

    def region(self, name: str) -> RegionResult:
        """The result for the region called `name`."""
        for each in self.regions:
            if each.name == name:
                return each
        raise InputError(
            f"region {name!r}",
            found="no such region",
            expected=", ".join(r.name for r in self.regions),
            remedy="give one of these names",
        )


def certify(
    detector: Detector,
    limit: float,
    points: np.ndarray,
    held_out: np.ndarray,
    *,
    model_hash: str = "",
    detector_hash: str = "",
    level: float = 0.9,
    smallest: int = 10,
    components: tuple[int, ...] = (1, 2, 3),
    seed: int = 0,
) -> Certificate:
    """Certificate for harmful construction rows `points` (n, d) and held-out rows (m, d), both head inputs z.

    `limit` is the threshold as a logit, `level` the conformal level of the ellipsoid, `smallest` the fewest rows of
    a cluster. Half of the held-out rows set the ellipsoid's radius and do not count in its containment. Raises
    InputError for no rows, a level outside (0, 1) or a cluster of fewer than two.
    """
    if len(points) < 2 or len(held_out) < 1:
        raise InputError(
            "the harmful rows",
            found=f"{len(points)} and {len(held_out)} held out",
            expected="2 and 1 or more",
            remedy="give more harmful rows",
        )
    if not 0 < level < 1:
        raise InputError("conformal level", found=f"{level:g}", expected="above 0 and below 1", remedy="0.9 is usual")
    if smallest < 2:
        raise InputError(
            "smallest cluster",
            found=f"{smallest} rows",
            expected="at least 2",
            remedy="give a whole number of at least 2",
        )
    linear = detector.head is not None and len(detector.head) == 1
    judge = LinearJudge(detector, limit) if linear else DeepJudge(detector, limit)
    notes: list[str] = []
    hull = judge.judge(shapes.HullRegion(points=points), held_out)
    box = judge.judge(shapes.box_region(points), held_out, hull=hull)
    if hull.status is Status.FALSIFIED and box.status is Status.UNKNOWN:  # the hull's row is in the box
        box = replace(box, status=Status.FALSIFIED, witness_logit=hull.witness_logit)
    results = [hull, box]
    logits = judge.logits(points)
    above, large = logits > limit, points.size > LARGE or points.shape[1] > FULL
    unflagged = int((~above).sum())
    if unflagged:
        notes.append(
            f"{unflagged} of {len(points)} construction rows are not flagged themselves: that alone falsifies every "
            "region that holds them all (hull, box)"
        )
    if unflagged and above.sum() >= 2 and not large:
        flagged = shapes.box_region(points[above], name="box-of-flagged")
        results.append(judge.judge(flagged, held_out, hull=hull))
    setting, judging = halves(held_out, seed)
    try:
        ellipsoid = shapes.ellipsoid_region(points, setting, level=level)
        split = f"radius from {len(setting)} held-out rows, judged on the other {len(judging)}"
        results.append(judge.judge(ellipsoid, judging, hull=hull, note=f"conformal level {level:g}, {split}"))
        if ellipsoid.axes.exact:
            results.append(judge.judge(shapes.cut_region(points, ellipsoid), judging, hull=hull, note=split))
        results += judge.largest(ellipsoid, held_out, hull)
    except InputError as error:
        notes.append(f"no ellipsoid (its radius comes from half of the held-out rows): {error}")
    if large:
        notes.append(
            f"{len(points)} rows of dimension {points.shape[1]}: clusters and mixtures of several parts are left out"
        )
    else:
        parts = shapes.clusters(points, smallest=smallest, seed=seed)
        boxes = [shapes.box_region(points[rows]) for rows in parts]
        results.append(judge.union("cluster-boxes", boxes, held_out, hull))
    mixtures: tuple[MixtureReport, ...] = ()
    if not linear:
        notes.append("the head is not linear: mixtures have no closed form and are left out")
    elif large:
        mixtures = (normal_report(logits, judge.logits(held_out), limit),)
    else:
        weight, bias = detector.linear()
        mixtures = tuple(
            mixture_report(points, held_out, weight, bias, limit, components=k, covariance=kind, seed=seed)
            for k in components
            for kind in ("full", "diag")
            if len(points) > 4 * k
        )
    hits = int((judge.logits(held_out) > limit).sum())
    return Certificate(
        model_hash=model_hash,
        detector_hash=detector_hash,
        threshold=limit,
        dimension=points.shape[1],
        rows=len(points),
        held_out=len(held_out),
        status=overall(results),
        recall=hits / len(held_out),
        recall_low=lower_limit(hits, len(held_out)),
        regions=tuple(results),
        mixtures=mixtures,
        notes=tuple(notes),
        unflagged=unflagged,
    )


def halves(held_out: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows that set the conformal radius, rows that judge it): a random split in two; the odd row judges."""
    order = np.random.default_rng(seed).permutation(len(held_out))
    middle = len(held_out) // 2
    return held_out[np.sort(order[:middle])], held_out[np.sort(order[middle:])]


def overall(results: list[RegionResult]) -> Status:
    """Certified when a region with volume that holds held-out rows is, falsified when all of them are, else unknown."""
    judged = [r for r in results if r.name != "hull"]
    if any(r.status is Status.CERTIFIED and (r.containment or 0) > 0 for r in judged):
        return Status.CERTIFIED
    return Status.FALSIFIED if all(r.status is Status.FALSIFIED for r in judged) else Status.UNKNOWN
