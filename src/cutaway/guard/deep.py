"""Heads with several layers: lower bounds from the bound engine instead of closed forms.

The head is traced to its operator graph and bounded by CROWN over the same regions (rotated box, ellipsoid). Bounds are
sound, so `certified` is proved; `falsified` needs a replayed point, found by descending from the region's samples;
everything between is `unknown`. The hull of the points is not convexly closed-form for such a head: its worst value
here is the lowest of the points themselves, an estimate from above.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from cutaway.errors import InputError
from cutaway.guard import head_regions as shapes
from cutaway.guard.detector import Detector
from cutaway.guard.judges import LinearJudge, RegionResult, contained, result, verdict
from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.bounds.sweep import bound_rows, sweep
from cutaway.robustness.regions_linear import Ellipsoid, RotatedBox
from cutaway.status import Status


class DeepJudge(LinearJudge):
    """Judges regions for a ReLU head with more than one layer."""

    exact = Status.BOUND

    def __init__(self, detector: Detector, limit: float) -> None:
        assert detector.head is not None
        self.head, self.limit = detector.head, limit
        self.bounded = bound_network(self.head, torch.zeros(1, len(detector.mean), dtype=torch.float64))

    def logits(self, points: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.head(torch.from_numpy(np.asarray(points, dtype=np.float64))).squeeze(1).numpy()

    def lower(self, region: shapes.HeadRegion) -> float:
        """A sound lower bound of the logit over the region."""
        box = _engine_region(region)
        limits = sweep(self.bounded, box)
        rows = torch.ones(1, 1, *self.bounded.graph.output.shape, dtype=torch.float64)
        return float(bound_rows(self.bounded, limits, box, rows)[0, 0])

    def judge(
        self, region: shapes.HeadRegion, held_out: np.ndarray, *, hull: RegionResult | None = None, note: str = ""
    ) -> RegionResult:
        if isinstance(region, shapes.HullRegion):
            value = float(self.logits(region.points).min())
            status = Status.FALSIFIED if value <= self.limit else Status.UNKNOWN
            inside = contained(region, held_out)
            note = "lowest of the points; mixtures of them are not bounded for this head"
            return result(
                "hull", status, value, Status.ESTIMATE, inside, None, value if value <= self.limit else None, note
            )
        value, witness = self.lower(region), self.attack(region)
        status = verdict(value, witness, self.limit)
        return result(
            region.name,
            status,
            value,
            Status.BOUND,
            contained(region, held_out),
            hull,
            witness if status is Status.FALSIFIED else None,
            note,
        )

    def attack(self, region: shapes.HeadRegion, *, steps: int = 20, seed: int = 0) -> float:
        """Lowest logit found: samples, then Frank-Wolfe steps towards the region's minimiser of the local gradient."""
        z = region.sample(64, np.random.default_rng(seed))
        best = float(self.logits(z).min())
        point = torch.from_numpy(z[int(self.logits(z).argmin())])
        for _ in range(steps):
            moving = point.clone().requires_grad_(True)
            (slope,) = torch.autograd.grad(self.head(moving[None]).sum(), moving)
            corner = torch.from_numpy(region.minimiser(slope.numpy()))
            line = torch.stack([point + t * (corner - point) for t in torch.linspace(0, 1, 9, dtype=torch.float64)])
            values = self.logits(line.numpy())
            point = line[int(values.argmin())]
            if values.min() >= best:
                break
            best = float(values.min())
        return best

    def largest(self, ellipsoid, held_out, hull) -> list[RegionResult]:
        """Bisection on the radius with the engine's bound; nothing where the centre is not certified."""
        low, high = 0.0, ellipsoid.radius
        for _ in range(20):
            middle = (low + high) / 2
            trial = dataclasses.replace(ellipsoid, radius=middle)
            low, high = (middle, high) if self.lower(trial) > self.limit else (low, middle)
        if low == 0.0:
            return []
        found = dataclasses.replace(ellipsoid, radius=low, name="largest-certified-ellipsoid")
        return [self.judge(found, held_out, hull=hull, note=f"radius {low:.4g}, by the engine's bound")]


def _engine_region(region: shapes.HeadRegion):
    def batch(x) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(x))[None]

    if isinstance(region, shapes.CutRegion):  # either superset is sound; the ellipsoid is the smaller one as a rule
        region = region.ellipsoid
    if isinstance(region, shapes.BoxRegion) and region.axes.exact:
        return RotatedBox(
            basis=torch.from_numpy(np.ascontiguousarray(region.axes.axes)),
            low=batch(region.low),
            high=batch(region.high),
        )
    if isinstance(region, shapes.EllipsoidRegion) and region.axes.exact:
        root = region.axes.axes * np.sqrt(region.variance)
        return Ellipsoid(
            center=batch(region.mean), root=batch(root), radius=torch.tensor([region.radius], dtype=torch.float64)
        )
    raise InputError(
        "a head with several layers",
        found=f"a {region.name} with a partial frame",
        expected="d <= 1,024",
        remedy="take a linear head, or a model of fewer dimensions",
    )
