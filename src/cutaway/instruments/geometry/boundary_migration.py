"""Instrument `boundary-migration`: do the network's region boundaries lie at its decision boundary?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.data.pairs import pairs_between
from cutaway.errors import InputError, ModelError
from cutaway.geometry.class_slices import read_class_slices
from cutaway.geometry.migration import RayMigration, ray_migration, slice_migration
from cutaway.geometry.program import StagedProgram
from cutaway.geometry.rays import as_program
from cutaway.geometry.slice import SliceSettings
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile, not_applicable
from cutaway.network import Network
from cutaway.reading.table import Table
from cutaway.records import Skipped
from cutaway.settings import at_least, between
from cutaway.wording import said

CELLS = 40
"""Equal cells of each segment in which crossings are counted against the distance to the change of class."""
EVEN = "1: spread evenly"


@dataclass(frozen=True, kw_only=True)
class BoundaryMigration(Instrument):
    """Share of region boundaries within a distance of the decision boundary, against their share of the way.

    On segments between samples that the network puts into different classes: every crossing of a region boundary and
    every change of class is exact (float64). `near_share` = crossings whose distance along the segment to the nearest
    change of class is at most `radius` times the segment's length, over all crossings; `concentration` = near_share
    over the share of the segments' length that is as near: 1 where crossings are spread evenly, above 1 where they
    gather at the decision boundary. `distance_correlation` = Spearman's rank correlation, over 40 equal cells of every
    segment, of the number of crossings in a cell with its distance to the change of class: negative where they gather.
    Per site and per predicted class beside. Intervals: bootstrap over segments. In `num_slices` exact slices, triangles
    of three samples of different classes: the same share by length of region edges, Euclidean distance in the plane, up
    to `radius` times the mean side, and its concentration by area. Source: Humayun et al. 2024, arXiv 2402.15555, who
    show it in pictures; the figures are ours. Cost: two float64 forward passes a crossing; a slice takes seconds.
    """

    radius: float = field(default=0.05, metadata=between(1e-6, 0.5, "distance that counts as near, in segment lengths"))
    num_segments: int = field(default=48, metadata=at_least(2, "segments between samples of different classes"))
    num_points: int = field(default=512, metadata=at_least(2, "samples between which the segments are drawn"))
    num_slices: int = field(default=1, metadata=at_least(0, "exact slices through three samples"))
    max_regions: int = field(default=50_000, metadata=at_least(1, "regions above which a slice is left out"))

    name: ClassVar[str] = "boundary-migration"
    tiles: ClassVar[tuple[Tile, ...]] = (Tile("concentration", "Bends at the decision boundary", 45),)
    question: ClassVar[str] = "Do the network's region boundaries lie at its decision boundary?"
    source: ClassVar[str] = "Humayun et al. 2024, arXiv 2402.15555 (regions migrate), as a figure of ours"
    in_scan: ClassVar[bool] = False
    left_out: ClassVar[str] = "every crossing is two float64 forward passes"
    needs: ClassVar[frozenset[str]] = frozenset({"inputs", "classifier"})
    formula: ClassVar[str] = (
        r"\frac{\# \{ \mathrm{crossings\ within\ } r \mathrm{\ of\ a\ change\ of\ class} \} / \# \{ \mathrm{crossings}"
        r" \}}{\mathrm{share\ of\ the\ length\ within\ } r}"
    )
    expense: ClassVar[str] = "two float64 forward passes a crossing; a slice takes seconds"
    limits: ClassVar[str] = (
        "Along a segment the distance is the one on it, not the shortest one. Bends near the decision boundary "
        "say nothing of its distance to the data."
    )

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data, self.num_points)
        inputs = sample.inputs.cpu().double()
        with not_applicable(ModelError):  # not piecewise affine, an operator not known, several outputs, no export
            program = as_program(network, inputs[:1])
        if not program.sites:
            raise NotApplicable("the network has no kinks: it is affine")
        classes = _classes(network, sample.data.inputs, context.budget)
        pairs = pairs_between(classes, self.num_segments, context.generator())
        if not len(pairs):
            raise NotApplicable("the network puts all samples into one class: no decision boundary between them")
        with not_applicable(InputError):  # equal samples of different classes cannot be
            found = ray_migration(program, inputs[pairs[:, 0]], inputs[pairs[:, 1]], budget=context.budget // 4)
        crossed = np.array([len(c) > 0 for c in found.changes])
        if not crossed.any() or not len(found.at):
            raise NotApplicable("no segment between samples crosses a region boundary and a decision boundary")
        table = context.table({"site": [f"{i} {name}" for i, name in enumerate(found.sites)]})
        self._along_rays(found, classes[pairs].numpy(), table)
        skipped = self._slices(program, inputs, classes, context, table) if self.num_slices else ()
        return Findings.of(table, skipped=skipped)

    def _along_rays(self, found: RayMigration, ends: NDArray[np.int64], table: Table) -> None:
        radius, count = self.radius * found.length, len(found.length)
        near = found.near(radius)
        by_site = np.zeros((2, count, len(found.sites)))
        for row, chosen in enumerate((near, np.ones(len(near), bool))):
            np.add.at(by_site[row], (found.segment[chosen], found.site[chosen]), 1)
        close, total = by_site.sum(axis=2)
        within = found.length_near(radius)

        def share(rows: NDArray[np.int64]) -> float:
            return float(close[rows].sum() / total[rows].sum()) if total[rows].any() else float("nan")

        def concentration(rows: NDArray[np.int64]) -> float:
            return share(rows) / float(within[rows].sum() / found.length[rows].sum())

        crossed, far = found.cells(CELLS)

        def correlation(rows: NDArray[np.int64]) -> float:
            return _rank_correlation(far[rows].ravel(), crossed[rows].ravel())

        words = f"share of region boundaries within {self.radius:g} segment lengths of a change of class"
        table.statistic("near_share", share, count, long_name=words, alternative="none")
        words = "density of region boundaries at the decision boundary over that on the whole way"
        table.statistic("concentration", concentration, count, unit="1", long_name=f"{words} ({EVEN})")
        words = "rank correlation of boundary density with the distance to the decision boundary"
        table.statistic("distance_correlation", correlation, count, long_name=words, fewer=2)
        for name, values in (("near", close), ("crossings", total)):
            words = f"region boundaries {'near a change of class' if name == 'near' else 'crossed'}"
            table.keep(name, values, ["segment"], unit="boundaries", long_name=words, kind="exact")
        words = "length near a change of class"
        table.keep("near_length", within, ["segment"], unit="input units", long_name=words, kind="exact")
        table.keep("length", found.length, ["segment"], unit="input units", long_name="length", kind="exact")
        even = within.sum() / found.length.sum()
        sums = by_site.sum(axis=1)
        each = np.divide(sums[0], sums[1], out=np.full(len(found.sites), np.nan), where=sums[1] > 0)
        table.keep("site_concentration", each / even, ["site"], long_name=f"concentration of the site ({EVEN})")
        table.keep("site_crossings", sums[1], ["site"], unit="boundaries", long_name="boundaries crossed", kind="exact")
        names = np.unique(ends)
        table.coordinate("class", names)
        own = [concentration(np.flatnonzero((ends == c).any(axis=1))) for c in names]
        table.keep("class_concentration", own, ["class"], long_name=f"on segments with an end in the class ({EVEN})")
        self._profile(crossed, far, table)

    def _profile(self, crossed: NDArray[np.float64], far: NDArray[np.float64], table: Table) -> None:
        """Density of boundaries by the distance to the change of class, over that of the segments as a whole."""
        edges = np.linspace(0, 0.5, 11)
        known = np.isfinite(far)
        place = np.clip(np.digitize(far[known], edges) - 1, 0, len(edges) - 2)
        sums, cells = np.bincount(place, crossed[known], minlength=10), np.bincount(place, minlength=10)
        density = np.divide(sums, cells, out=np.full(10, np.nan), where=cells > 0) / max(crossed[known].mean(), 1e-300)
        table.coordinate("distance", (edges[1:] + edges[:-1]) / 2)
        table.keep("profile", density, ["distance"], long_name=f"density at this distance, in segment lengths ({EVEN})")

    def _slices(
        self, program: StagedProgram, inputs: torch.Tensor, classes: torch.Tensor, context: Context, table: Table
    ) -> tuple[Skipped, ...]:
        found, skipped = read_class_slices(
            program,
            inputs,
            classes,
            (context.generator(k + 1) for k in range(self.num_slices)),
            lambda result, _corners, side: slice_migration(result, self.radius * side),
            seed=context.seed,
            settings=SliceSettings(max_faces=self.max_regions, budget=max(context.budget, 1 << 20)),
        )
        if found:
            share = float(np.mean([s.near_share for s in found]))
            words = "share of the region boundaries' length near the decision boundary, in exact slices"
            table.figure("slice_near_share", share, long_name=words, alternative="none")
            dense = float(np.mean([s.concentration for s in found]))
            words = f"boundary an area near the decision boundary over that of the whole slice ({EVEN})"
            table.figure("slice_concentration", dense, long_name=words)
        return skipped

    def draw(self, reading):
        from cutaway.pictures.migration import migration_chart

        return migration_chart(reading)

    def describe(self, reading):
        share, dense, values = reading.figure("near_share"), reading.figure("concentration"), reading.values
        way = said(float(values["near_length"].sum() / values["length"].sum()), ".1%")
        text = (
            f"Between samples of different classes {said(share.value, '.1%')} of the region boundaries lie within "
            f"{self.radius:g} segment lengths of the decision boundary, on {way} of the way: they are "
        )
        if dense.low is not None and dense.low > 1:
            return text + f"{said(dense.value)} times as dense there as on the whole way."
        if dense.high is not None and dense.high < 1:
            return text + f"sparser there ({said(dense.value)} times the density of the whole way)."
        return text + f"as dense there as elsewhere, within the interval ({said(dense.value)} times)."


def _classes(network: Network, inputs: torch.Tensor, budget: int) -> torch.Tensor:
    outputs = network.outputs(inputs, budget=budget).cpu()
    return outputs.argmax(dim=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).long()


def _rank_correlation(distance: NDArray[np.float64], density: NDArray[np.float64]) -> float:
    known = np.isfinite(distance)
    if known.sum() < 3 or np.ptp(distance[known]) == 0 or np.ptp(density[known]) == 0:
        return float("nan")
    return float(np.asarray(stats.spearmanr(distance[known], density[known]))[0])
