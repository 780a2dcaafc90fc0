"""Instrument `local-complexity`: how many neurons' boundaries pass near a point.

Published estimator (Humayun et al., arXiv 2402.15555, section 3): for P orthonormal directions v_p the 2P vertices x
+- r v_p go through the network, and LC_l(x) counts the neurons of layer l whose pre-activation's sign (with 0 as a
third value) is not the same at all. How we differ from the released code: the frame comes from a generator of its own
(theirs reseeds the global one), the logits are not counted, sites are every call of an activation in order, and the
effective radius is stated. The counting itself is in `near_neurons`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import xarray as xr

from cutaway.data.dataset import spread_rows
from cutaway.geometry.near_neurons import EXACT_DIMS, effective_radius, frame, local_complexity, neurons_within
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile
from cutaway.network import Site
from cutaway.network.sites import no_activation
from cutaway.reading import Figure, variable
from cutaway.reading.intervals import mean_interval
from cutaway.records import Skipped
from cutaway.wording import said

_SAID = {"exact": "counted exactly", "estimate": "estimated"}


@dataclass(frozen=True, kw_only=True)
class LocalComplexity(Instrument):
    """Mean number of neurons whose sign changes on a small cross-polytope round a sample, per site and class.

    Unit: neurons (every spatial position counts as one). Estimate over samples, with bootstrap intervals; the
    directions are shared by all samples. For activations that are not piecewise affine (GELU, SiLU) it counts sign
    changes of the pre-activation, which are not region boundaries; the coverage says so. `num_points` samples are used
    (all if fewer), and `num_counted` of them for the count within the radius, which above 128 input dimensions is an
    estimate unless `exact` (see `neurons_within`); `radius` is in the units of the inputs; an input of fewer numbers
    than `num_directions` has as many directions. `float64`: signs that single precision may have wrong are decided in
    double precision.
    """

    radius: float = 0.005
    num_directions: int = 20
    num_points: int = 256
    num_counted: int = 16
    float64: bool = True
    exact: bool = False

    name: ClassVar[str] = "local-complexity"
    tiles: ClassVar[tuple[Tile, ...]] = (Tile("local_complexity", "Bends near a sample", 70),)
    question: ClassVar[str] = "How many neurons change sign within a small neighbourhood of a sample?"
    source: ClassVar[str] = "Humayun et al. 2024, arXiv 2402.15555, section 3"
    needs: ClassVar[frozenset[str]] = frozenset({"inputs"})
    expense: ClassVar[str] = "2 num_directions forward passes a sample"
    limits: ClassVar[str] = (
        "Counts depend on radius, number of directions and input dimension: compare readings with equal settings only. "
        "Deeper sites see the image of the same vertices, a coarse neighbourhood."
    )

    def _measure(self, network, data, context):
        sites = network.select("activation")
        if not sites:
            raise NotApplicable(no_activation(network.sites))
        full = network.dtype in (torch.float32, torch.float64)
        used_network = network if full or not self.float64 else network.double()
        referee = network.double() if self.float64 and used_network.dtype == torch.float32 else None
        rows = spread_rows(len(data.inputs), self.num_points, data.labels)
        inputs = used_network.place(data.inputs[rows])
        dims = inputs[0].numel()
        used = min(self.num_directions, dims)
        directions = frame(dims, used, context.generator())
        copied = [n for n in (used_network, referee) if n is not None and n is not network]
        budget = max(context.budget - sum(map(_weights, copied)), context.budget // 4)
        counts = local_complexity(
            used_network,
            inputs,
            directions,
            self.radius,
            sites,
            rows=self._vertices(used_network, inputs, sites, 2 * used, budget),
            referee=referee,
            kept=_fitting(referee or used_network, inputs, sites, budget, factor=1.5, most=32),
        ).numpy()
        network.forward_passes += 2 * used * len(inputs) * (used_network is not network)
        total = counts.sum(axis=1)
        resamples = context.resamples // 2
        bands = np.array([mean_interval(row, seed=context.seed, resamples=resamples) for row in counts.T])
        variables = {
            "local_complexity": variable(
                counts.mean(axis=0), ["site"], unit="neurons", long_name="neurons that change sign"
            ),
            "local_complexity_low": variable(
                bands[:, 0], ["site"], unit="neurons", long_name="lower end of its interval", kind="lower_bound"
            ),
            "local_complexity_high": variable(
                bands[:, 1], ["site"], unit="neurons", long_name="upper end of its interval", kind="upper_bound"
            ),
            "per_sample": variable(total, ["sample"], unit="neurons", long_name="sum over sites at the sample"),
            "width": variable([s.width for s in sites], ["site"], unit="neurons", long_name="neurons", kind="exact"),
        }
        coords = {"site": [s.name for s in sites], "sample": rows.numpy()}
        if data.labels is not None:
            labels = data.labels[rows].cpu().numpy()
            classes = np.unique(labels)
            means = [counts[labels == c].mean(axis=0) for c in classes]
            variables["by_class"] = variable(means, ["class", "site"], unit="neurons", long_name="mean over the class")
            coords["class"] = classes
        low, high = mean_interval(total, seed=context.seed, resamples=context.resamples)
        counted, within = self._within(used_network, inputs, sites, context, budget)
        kind = "exact" if self.exact or dims <= EXACT_DIMS else "estimate"
        said = f"neurons whose boundary lies within the radius ({_SAID[kind]} at {len(within)} samples)"
        variables["within_radius"] = variable(within, ["counted"], unit="neurons", long_name=said, kind=kind)
        coords["counted"] = rows.numpy()[counted.numpy()]
        within_low, within_high = mean_interval(within, seed=context.seed, resamples=context.resamples)
        figures = (
            Figure(
                name="local_complexity",
                value=float(total.mean()),
                low=low,
                high=high,
                unit="neurons",
                long_name="neurons that change sign near a sample, all sites",
            ),
            Figure(
                name="neurons_within_radius",
                value=float(within.mean()),
                low=within_low,
                high=within_high,
                unit="neurons",
                long_name=said,
            ),
            Figure(
                name="effective_radius",
                value=effective_radius(self.radius, used, dims),
                unit="input units",
                alternative="none",
                long_name="distance at which a neuron is seen about half the time",
            ),
        )
        odd = tuple(
            Skipped(what=s.name, reason=f"{s.kind} {why}: sign changes counted, not region boundaries")
            for s in sites
            if (why := _no_boundary_at_zero(s))
        )
        if used < self.num_directions:
            lost = f"{self.num_directions - used} of {self.num_directions} directions"
            odd = (*odd, Skipped(what=lost, reason=f"an input of {dims} numbers has no more than {dims}"))
        return Findings(values=xr.Dataset(variables, coords), figures=figures, sites=sites, skipped=odd)

    def _vertices(self, network, inputs, sites, wanted, budget):
        """How many vertices at once: those of one point at least where memory holds them."""
        quick = network.chunk_size(inputs, sites, budget, post=False, factor=2)
        return min(max(wanted, quick), _fitting(network, inputs, sites, budget, pre=False, factor=2, most=2048))

    def _within(self, network, inputs, sites, context, budget):
        """Which `num_counted` of the points, and their counts within the radius; only sites with a boundary at 0
        count."""
        chosen = [s for s in sites if s.bends_at_zero] or list(sites)
        counted = torch.linspace(0, len(inputs) - 1, min(self.num_counted, len(inputs))).round().long()
        points = inputs[counted.to(inputs.device)]
        rows = _fitting(network, inputs, chosen, budget, factor=2, most=256)
        exact = True if self.exact else None
        near = neurons_within(
            network, points, self.radius, chosen, generator=context.generator(2), rows=rows, exact=exact
        )
        return counted, near.sum(dim=1).numpy()

    def draw(self, reading):
        from cutaway.pictures.charts import sites_chart

        return sites_chart(
            reading,
            {"local_complexity": "neurons"},
            band=("local_complexity_low", "local_complexity_high"),
            title="neurons that change sign",
        )

    def describe(self, reading):
        figure, near = reading.figure("local_complexity"), reading.figure("neurons_within_radius")
        how = near.long_name.partition("(")[2].rstrip(")")
        width = int(reading.values["width"].sum())
        return (
            f"Of {width:,} neurons, {said(figure.value)} change sign within radius {self.radius:g} of a sample "
            f"(effective radius {said(reading.figure('effective_radius').value, '.2g')}); the boundaries of "
            f"{said(near.value)} lie within the radius itself" + (f" ({how})." if how else ".")
        )


def _weights(network):
    return sum(p.numel() * p.element_size() for p in network.model.parameters())


def _fitting(network, inputs, sites, budget, *, pre=True, factor=1.0, most):
    """At most `most` rows whose pre-activations (`pre`) and buffers the budget holds; one at least."""
    many = inputs[:1].expand(most, *inputs.shape[1:])
    return network.chunk_size(many, sites, budget, pre=pre, post=False, factor=factor, fast=False)


def _no_boundary_at_zero(site: Site) -> str:
    if not site.piecewise_affine:
        return "is not piecewise affine"
    return "" if site.bends_at_zero or not site.kinks else f"bends at {' and '.join(f'{k:g}' for k in site.kinks)}"
