"""Instrument `boundary-distance`: how far the nearest region boundary is, in any direction and along the gradient.

In the region of x the boundary of neuron i is the hyperplane h_i(x) + V_i v = 0, at l2 distance d_i = |h_i| / |V_i|
(Croce et al. 2019, arXiv 1810.07481, equation for d_B). The nearest one over all neurons is a boundary of the region
itself, so min_i d_i is exact, not only in the linearisation. Along a direction u the first crossing is at min over
positive t_i = -h_i / (V_i u).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import xarray as xr

from cutaway.data.dataset import spread_rows
from cutaway.evidence.resample import median_interval
from cutaway.geometry import linearisation
from cutaway.geometry.local_complexity import EXACT_DIMS
from cutaway.instrument import Findings, Instrument, NotApplicable
from cutaway.network import Network, Site
from cutaway.network.gradient import gradient_of
from cutaway.reading import Figure, variable
from cutaway.reading.provenance import Skipped
from cutaway.status import Status


def nearest_boundary(
    network: Network,
    inputs: torch.Tensor,
    sites: Sequence[Site],
    *,
    generator: torch.Generator,
    ranking: Network | None = None,
    probes: int = 8,
    candidates: int = 24,
    rows: int = 512,
) -> tuple[torch.Tensor, torch.Tensor]:
    """l2 distance to the nearest boundary and the index of its site, `(n,)` each.

    Neurons are ranked by |h_i| / |V_i|, and the |V_i| of the nearest are computed again by backward passes in the
    network's dtype. Up to 128 input dimensions the ranking uses every |V_i| (by forward mode on `ranking`, which may be
    of lower precision) and the four nearest are computed: exact. Above, it uses estimates from `probes` random
    directions and the `candidates` nearest are computed: an upper bound on the distance, exact unless the nearest
    neuron's estimate was off by more than the candidates' spread. At most `rows` copies of inputs go through at once.

    Only boundaries of `sites` count, and only zeros of their pre-activations: where the network also has max pooling,
    hardtanh or clamp, a nearer boundary may be theirs, and the distance is an upper bound in any dimension.
    """
    exact = inputs[0].numel() <= EXACT_DIMS
    if exact:
        values, _ = linearisation.tangents(network, inputs, torch.zeros_like(inputs), sites)
        ranked = ranking or network
        norms = linearisation.gradient_norms(ranked, ranked.place(inputs), sites, rows=rows)
    else:
        values, norms = linearisation.sketched_norms(network, inputs, sites, probes=probes, generator=generator)
    guess = torch.cat([_ratio(values[s.name], norms[s.name]) for s in sites], dim=1)
    every = torch.cat([values[s.name] for s in sites], dim=1).abs()
    count = min(4 if exact else candidates, guess.shape[1])
    picked = guess.topk(count, dim=1, largest=False).indices
    starts = torch.tensor(np.cumsum([0, *(s.width for s in sites)])[:-1], device=inputs.device)
    site_index = _site_of(picked, sites)
    unit = picked - starts[site_index]
    norm = linearisation.gradient_norms_of(
        network, inputs.repeat_interleave(count, dim=0), sites, site_index.flatten(), unit.flatten(), rows=rows
    ).reshape(len(inputs), count)
    distance, k = _ratio(every.gather(1, picked), norm).min(dim=1)
    return distance, site_index.gather(1, k[:, None]).squeeze(1)


def first_crossing(
    network: Network, inputs: torch.Tensor, directions: torch.Tensor, sites: Sequence[Site]
) -> torch.Tensor:
    """Distance along unit `directions` to the first boundary, `(n,)`; infinite where none lies ahead in the
    linearisation. Exact."""
    values, slopes = linearisation.tangents(network, inputs, directions, sites)
    height = torch.cat([values[s.name] for s in sites], dim=1)
    slope = torch.cat([slopes[s.name] for s in sites], dim=1)
    time = -height / slope
    return torch.where((time > 0) & torch.isfinite(time), time, torch.inf).min(dim=1).values


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
            along.append(first_crossing(wide, part, _ascent(wide, part), sites))
            noise = torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part)
            across.append(first_crossing(wide, part, _unit(noise), sites))
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
        from cutaway.reading.charts import distances_chart

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


def _ascent(network: Network, inputs: torch.Tensor) -> torch.Tensor:
    """Unit direction in which the largest output falls fastest against the second largest."""
    point = inputs.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        scores = network.forward(point).reshape(len(point), -1)  # one number a row counts as one score
        if scores.shape[1] > 1:
            top = scores.topk(2, dim=1).values
            loss = (top[:, 1] - top[:, 0]).sum()
        else:
            loss = scores.sum()
        gradient = gradient_of(loss, point)
    network.backward_passes += len(inputs)
    return _unit(gradient)


def _unit(direction: torch.Tensor) -> torch.Tensor:
    size = direction.flatten(1).norm(dim=1).clamp_min(1e-300)
    return direction / size.reshape(-1, *([1] * (direction.dim() - 1)))


def _ratio(value: torch.Tensor, norm: torch.Tensor) -> torch.Tensor:
    return torch.where(norm > 0, value.abs() / norm, torch.inf)


def _site_of(unit: torch.Tensor, sites: Sequence[Site]) -> torch.Tensor:
    ends = torch.tensor(np.cumsum([s.width for s in sites]), device=unit.device)
    return torch.searchsorted(ends, unit, right=True)
