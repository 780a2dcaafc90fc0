"""Instrument `local-complexity`: how many neurons' boundaries pass near a point.

Published estimator (Humayun et al., arXiv 2402.15555, section 3): for P orthonormal directions v_p the 2P vertices x
+- r v_p go through the network, and LC_l(x) counts the neurons of layer l whose pre-activation's sign (with 0 as a
third value) is not the same at all. How we differ from the released code: the frame comes from a generator of its own
(theirs reseeds the global one), the logits are not counted, sites are every call of an activation in order, and the
effective radius is stated. The counting itself is in `near_neurons`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway.context import Context, Sample
from cutaway.data import Dataset
from cutaway.engines.budget import require_room
from cutaway.geometry.near_neurons import EXACT_DIMS, effective_radius, frame, local_complexity, neurons_within
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile
from cutaway.network import Network, Site
from cutaway.network.sites import no_activation
from cutaway.reading.table import Table
from cutaway.records import Skipped
from cutaway.settings import at_least, means
from cutaway.wording import said


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

    radius: float = field(default=0.005, metadata=at_least(0, "distance of the vertices, in the inputs' units"))
    num_directions: int = field(default=20, metadata=at_least(1, "directions, at most the input's dimension"))
    num_points: int = field(default=256, metadata=at_least(1, "samples, spread evenly over the data"))
    num_counted: int = field(default=16, metadata=at_least(1, "of these, samples for the count within the radius"))
    float64: bool = field(default=True, metadata=means("decide doubtful signs in double precision"))
    exact: bool = field(default=False, metadata=means("count within the radius exactly above 128 dimensions too"))

    name: ClassVar[str] = "local-complexity"
    tiles: ClassVar[tuple[Tile, ...]] = (Tile("local_complexity", "Neurons that bend near a sample, mean", 70),)
    question: ClassVar[str] = "How many neurons change sign within a small neighbourhood of a sample?"
    source: ClassVar[str] = "Humayun et al. 2024, arXiv 2402.15555, section 3"
    needs: ClassVar[frozenset[str]] = frozenset({"inputs"})
    formula: ClassVar[str] = (
        r"LC_l(x) = \# \{ j : \mathrm{sign} \, z_{lj} "
        r"\mathrm{\ is\ not\ constant\ on\ } \{ x \pm r v_p \}_{p \le P} \}"
    )
    expense: ClassVar[str] = "2 num_directions forward passes a sample"
    limits: ClassVar[str] = (
        "Counts depend on radius, number of directions and input dimension: compare readings with equal settings only. "
        "Deeper sites see the image of the same vertices, a coarse neighbourhood."
    )

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sites = network.select("activation")
        if not sites:
            raise NotApplicable(no_activation(network.sites))
        full = network.dtype in (torch.float32, torch.float64)
        sample = context.sample(network, data, self.num_points, float64=self.float64 and not full)
        dims = sample.inputs[0].numel()
        used = min(self.num_directions, dims)
        budget = self._budget(sample, network, sites, used * dims, context.budget)
        counts = self._counts(sample, sites, frame(dims, used, context.generator()), budget)
        table = context.table({"site": [s.name for s in sites], "sample": sample.rows})
        table.means("local_complexity", counts, ["site"], unit="neurons", long_name="neurons that change sign")
        widths = [s.width for s in sites]
        table.keep("width", widths, ["site"], unit="neurons", long_name="neurons", kind="exact")
        if data.labels is not None:
            table.class_means(
                "by_class", counts, sample.labels, ["site"], unit="neurons", long_name="mean over the class"
            )
        kept = {"dims": ["sample"], "column": "per_sample", "each": "sum over sites at the sample"}
        long_name = "neurons that change sign near a sample, mean over samples"
        table.mean("local_complexity", counts.sum(axis=1), **kept, unit="neurons", long_name=long_name)
        self._within(sample, sites, table, context.generator(2), budget)
        radius = effective_radius(self.radius, used, dims)
        long_name = "distance at which a neuron is seen about half the time"
        table.figure("effective_radius", radius, unit="input units", alternative="none", long_name=long_name)
        return Findings.of(table, sites=sites, skipped=self._skipped(sites, used, dims))

    def _budget(self, sample: Sample, network: Network, sites: Sequence[Site], numbers: int, budget: int) -> int:
        """What is left of the budget beside the copies that this needs of the network; `numbers` are those of the
        directions. Raises BudgetError where not even one vertex fits."""
        used, referee = sample.network, self._referee(sample.network)
        left = budget - sum(_weights(n) for n in {used, referee or used} - {network})
        widths = sum(s.width for s in sites)
        one = used.row_bytes(sample.inputs, (), pre=False) * 3 + used.dtype.itemsize * (2 * widths + numbers)
        if referee is not None:
            one = max(one, referee.row_bytes(sample.inputs, (), pre=False) * 5 + 4 * widths)
        require_room(f"instrument {self.name!r}", budget - left + 2 * (one + 16 * numbers), budget)
        return left

    def _referee(self, network: Network) -> Network | None:
        """Decides signs that single precision may have wrong."""
        return network.double() if self.float64 and network.dtype == torch.float32 else None

    def _counts(
        self, sample: Sample, sites: Sequence[Site], directions: torch.Tensor, budget: int
    ) -> NDArray[np.float64]:
        """(n, sites): neurons that change sign."""
        network, inputs, referee = sample.network, sample.inputs, self._referee(sample.network)
        room = budget // 16
        held = directions.numel() * (16 + inputs.element_size()) + room
        whole = network.chunk_size(inputs, sites, budget - held, post=False, factor=3)
        if whole < 2 * len(directions):  # of a point in parts, the smallest and largest values
            held += 2 * sum(s.width for s in sites) * inputs.element_size()
        rows = _fitting(network, inputs, sites, budget - held, pre=False, factor=3, most=2048)
        return local_complexity(
            network,
            inputs,
            directions,
            self.radius,
            sites,
            batch_size=min(max(2 * len(directions), whole), rows),  # the vertices of one point, where memory holds them
            referee=referee,
            kept=_fitting(referee or network, inputs, sites, budget - held, pre=False, factor=4, most=32),
            room=room,
        ).numpy()

    def _within(
        self, sample: Sample, sites: Sequence[Site], table: Table, generator: torch.Generator, budget: int
    ) -> None:
        """Counts within the radius at `num_counted` of the points; only sites with a boundary at 0 count."""
        inputs, chosen = sample.inputs, [s for s in sites if s.bends_at_zero] or list(sites)
        counted = (
            torch.linspace(0, len(inputs) - 1, min(self.num_counted, len(inputs)), dtype=torch.float64).round().long()
        )
        points = inputs[counted.to(inputs.device)]
        rows, exact = _fitting(sample.network, inputs, chosen, budget, factor=2, most=256), self.exact or None
        near = neurons_within(
            sample.network, points, self.radius, chosen, generator=generator, batch_size=rows, exact=exact
        )
        how = "counted exactly" if self.exact or inputs[0].numel() <= EXACT_DIMS else "estimated"
        kept = {"dims": ["counted"], "column": "within_radius", "kind": "exact" if "exact" in how else "estimate"}
        table.coordinate("counted", sample.rows[counted.numpy()])
        long_name = f"neurons whose boundary lies within the radius, mean over samples ({how} at {len(points)})"
        table.mean("neurons_within_radius", near.sum(dim=1).numpy(), **kept, unit="neurons", long_name=long_name)

    def _skipped(self, sites: Sequence[Site], used: int, dims: int) -> tuple[Skipped, ...]:
        odd = [
            Skipped(what=s.name, reason=f"{s.kind} {why}: sign changes counted, not region boundaries")
            for s in sites
            if (why := _no_boundary_at_zero(s))
        ]
        if used < self.num_directions:
            lost = f"{self.num_directions - used} of {self.num_directions} directions"
            odd.append(Skipped(what=lost, reason=f"an input of {dims} numbers has no more than {dims}"))
        return tuple(odd)

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
        how = near.long_name.partition("(")[2].rstrip(")") + " samples"
        width = int(reading.values["width"].sum())
        return (
            f"Of {width:,} neurons, {said(figure.value)} on average change sign within radius {self.radius:g} of a "
            f"sample (effective radius {said(reading.figure('effective_radius').value, '.2g')}); the boundaries of "
            f"{said(near.value)} on average lie within the radius itself ({how})."
        )


def _no_boundary_at_zero(site: Site) -> str:
    if not site.piecewise_affine:
        return "is not piecewise affine"
    return "" if site.bends_at_zero or not site.kinks else f"bends at {' and '.join(f'{k:g}' for k in site.kinks)}"


def _weights(network: Network) -> int:
    return sum(p.numel() * p.element_size() for p in network.model.parameters())


def _fitting(
    network: Network, inputs: torch.Tensor, sites: Sequence[Site], budget: int, *, pre=True, factor=1.0, most: int
) -> int:
    """At most `most` rows whose pre-activations (`pre`) and buffers the budget holds; one at least."""
    many = inputs[:1].expand(most, *inputs.shape[1:])
    return network.chunk_size(many, sites, budget, pre=pre, post=False, factor=factor, fast=False)
