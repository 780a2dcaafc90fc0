"""Instrument `boundary-distance`: how far the nearest region boundary is, in any direction and along the gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.geometry import linearisation
from cutaway.geometry.boundary_distance import boundary_distances
from cutaway.geometry.near_neurons import EXACT_DIMS
from cutaway.instrument import Findings, Instrument, NotApplicable
from cutaway.network import Network, Site
from cutaway.records import Skipped
from cutaway.settings import at_least, means
from cutaway.status import Status

_COLUMNS = {
    "nearest": "distance to the nearest boundary",
    "along_gradient": "distance to the first boundary along the gradient",
    "along_random": "distance to the first boundary along a random direction",
}


@dataclass(frozen=True, kw_only=True)
class BoundaryDistance(Instrument):
    """Median l2 distance from a sample to the nearest region boundary; the same along the loss gradient and a random
    direction.

    Unit: the inputs'. Exact per sample where the input has at most 128 dimensions and every boundary is a zero of a
    pre-activation; an upper bound otherwise (max pooling, hardtanh and clamp have boundaries that are not counted;
    the coverage lists them). The median over samples carries an order-statistic interval. Refuses networks that are
    not piecewise affine. In float64 by default. Cost: D forward-mode passes a sample (D <= 128), else `probes` of
    them and `candidates` forward and backward passes.
    """

    num_points: int = field(default=64, metadata=at_least(1, "samples, spread evenly over the data"))
    probes: int = field(default=8, metadata=at_least(1, "forward-mode passes a sample above 128 dimensions"))
    candidates: int = field(default=24, metadata=at_least(1, "near neurons measured a sample above 128 dimensions"))
    float64: bool = field(default=True, metadata=means("compute in double precision"))

    name: ClassVar[str] = "boundary-distance"
    question: ClassVar[str] = "How far is a sample from the nearest boundary of its affine region?"
    source: ClassVar[str] = "Croce, Andriushchenko, Hein 2019, arXiv 1810.07481 (d_B); exact crossings along rays: ours"
    needs: ClassVar[frozenset[str]] = frozenset({"inputs"})
    formula: ClassVar[str] = r"d(x) = \min_j \min \{ \|u\|_2 : z_j(x + u) = 0 \}"
    expense: ClassVar[str] = (
        "D + 8 forward and 5 backward passes a sample up to 128 dimensions, else probes + candidates + 3 and "
        "candidates + 1"
    )
    limits: ClassVar[str] = "A region boundary is not a decision boundary: the class may stay the same across it."

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sites = linearisation.boundary_sites(network)
        self._require(network, sites)
        uncounted = self._uncounted(network, sites)
        sample = context.sample(network, data, self.num_points, float64=self.float64)
        exact = sample.inputs[0].numel() <= EXACT_DIMS and not uncounted
        settings = {"probes": self.probes, "candidates": self.candidates, "budget": context.budget, "ranking": network}
        found = boundary_distances(sample.network, sample.inputs, sites, generator=context.generator(1), **settings)
        table = context.table({"sample": sample.rows, "site": [s.name for s in sites]})
        for name, text in _COLUMNS.items():
            kept = {"dims": ["sample"], "column": name, "each": text, "kind": "exact" if exact else "upper_bound"}
            numbers, long_name = getattr(found, name), f"median {text}"
            table.median(f"median_{name}", numbers, **kept, unit="input units", long_name=long_name)
        counts = np.bincount(found.site, minlength=len(sites))
        long_name = "share of samples whose nearest boundary is of this site"
        table.keep("nearest_at_site", counts / counts.sum(), ["site"], long_name=long_name)
        status = Status.ESTIMATE if exact else Status.BOUND
        return Findings.of(table, status=status, sites=sites, skipped=uncounted)

    def _uncounted(self, network: Network, sites: Sequence[Site]) -> tuple[Skipped, ...]:
        others = [s for s in network.sites if s not in sites and s.kind != "avg_pool"]
        return tuple(Skipped(what=s.name, reason=f"boundaries of {s.kind} are not counted") for s in others)

    def _require(self, network: Network, sites: Sequence[Site]) -> None:
        if not sites:
            raise NotApplicable("the network has no ReLU-like activation, so no region boundaries of this kind")
        odd = [s for s in network.sites if not s.piecewise_affine]
        if odd:
            raise NotApplicable(
                f"not piecewise affine: site {odd[0].name} is {odd[0].kind}" + (" (a gate)" if odd[0].gate else "")
            )

    def draw(self, reading):
        from cutaway.pictures.charts import distances_chart

        return distances_chart(reading, ("nearest", "along_gradient", "along_random"))

    def describe(self, reading):
        near, along, across = (
            reading.figure(f"median_{n}").value for n in ("nearest", "along_gradient", "along_random")
        )
        if not math.isfinite(near):
            return "Half of the samples or more have no region boundary in reach: the network is affine round them."
        ways = [("along the gradient", along), ("in a random direction", across)]
        text = ", ".join(f"{way} " + (f"at {at:.2g}" if math.isfinite(at) else "never") for way, at in ways)
        return f"Half of the samples lie within {near:.2g} of a region boundary; the first comes {text}."
