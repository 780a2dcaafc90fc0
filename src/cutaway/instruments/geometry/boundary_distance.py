"""Instrument `boundary-distance`: how far the nearest region boundary is, in any direction and along the gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import xarray as xr

from cutaway.data.dataset import spread_rows
from cutaway.geometry import linearisation
from cutaway.geometry.boundary_distance import ascent, first_crossing, nearest_boundary, unit_vectors
from cutaway.geometry.near_neurons import EXACT_DIMS
from cutaway.instrument import Findings, Instrument, NotApplicable
from cutaway.reading import Figure, variable
from cutaway.reading.intervals import median_interval
from cutaway.records import Skipped
from cutaway.status import Status


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

    num_points: int = 64
    probes: int = 8
    candidates: int = 24
    float64: bool = True

    name: ClassVar[str] = "boundary-distance"
    question: ClassVar[str] = "How far is a sample from the nearest boundary of its affine region?"
    source: ClassVar[str] = "Croce, Andriushchenko, Hein 2019, arXiv 1810.07481 (d_B); exact crossings along rays: ours"
    needs: ClassVar[frozenset[str]] = frozenset({"inputs"})
    expense: ClassVar[str] = "2 min(D, probes + candidates) forward passes a sample"
    limits: ClassVar[str] = "A region boundary is not a decision boundary: the class may stay the same across it."

    def _measure(self, network, data, context):
        sites = linearisation.boundary_sites(network)
        if not sites:
            raise NotApplicable("the network has no ReLU-like activation, so no region boundaries of this kind")
        odd = [s for s in network.sites if not s.piecewise_affine]
        if odd:
            raise NotApplicable(
                f"not piecewise affine: site {odd[0].name} is {odd[0].kind}" + (" (a gate)" if odd[0].gate else "")
            )
        uncounted = tuple(
            Skipped(what=s.name, reason=f"boundaries of {s.kind} are not counted")
            for s in network.sites
            if s not in sites and s.kind != "avg_pool"
        )
        wide = network.double() if self.float64 else network
        before = (wide.forward_passes, wide.backward_passes)
        picked = spread_rows(len(data.inputs), self.num_points, data.labels)
        inputs = wide.place(data.inputs[picked])
        copies = inputs[:1].expand(2048, *inputs.shape[1:])
        rows = wide.chunk_size(copies, sites, context.budget, factor=3)
        batch = min(64, rows)
        generator = context.generator(1)
        nearest, where, along, across = [], [], [], []
        for start in range(0, len(inputs), batch):
            part = inputs[start : start + batch]
            distance, site = nearest_boundary(
                wide,
                part,
                sites,
                generator=generator,
                ranking=network,
                probes=self.probes,
                candidates=self.candidates,
                rows=rows,
            )
            nearest.append(distance)
            where.append(site)
            along.append(first_crossing(wide, part, ascent(wide, part), sites))
            noise = torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part)
            across.append(first_crossing(wide, part, unit_vectors(noise), sites))
        if wide is not network:
            network.forward_passes += wide.forward_passes - before[0]
            network.backward_passes += wide.backward_passes - before[1]
        exact = inputs[0].numel() <= EXACT_DIMS and not uncounted
        kind = "exact" if exact else "upper_bound"
        columns = {
            "nearest": (torch.cat(nearest), "distance to the nearest boundary", kind),
            "along_gradient": (torch.cat(along), "distance to the first boundary along the gradient", kind),
            "along_random": (torch.cat(across), "distance to the first boundary along a random direction", kind),
        }
        variables = {
            name: variable(value.cpu().numpy(), ["sample"], unit="input units", long_name=text, kind=how)
            for name, (value, text, how) in columns.items()
        }
        counts = np.bincount(torch.cat(where).cpu().numpy(), minlength=len(sites))
        variables["nearest_at_site"] = variable(
            counts / counts.sum(), ["site"], long_name="share of samples whose nearest boundary is of this site"
        )
        values = xr.Dataset(variables, {"sample": picked.numpy(), "site": [s.name for s in sites]})
        status = Status.ESTIMATE if exact else Status.BOUND
        return Findings(
            values=values, figures=self._figures(columns, status), status=status, sites=sites, skipped=uncounted
        )

    def _figures(self, columns, status):
        figures = []
        for name, (value, text, _) in columns.items():
            numbers = value.cpu().numpy()
            low, high = median_interval(numbers)
            figures.append(
                Figure(
                    name=f"median_{name}",
                    value=float(np.median(numbers)),
                    low=low,
                    high=high,
                    unit="input units",
                    status=status,
                    long_name=f"median {text}",
                )
            )
        return tuple(figures)

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
