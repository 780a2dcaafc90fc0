"""Instrument `unit-boundaries`: which units bend around the data and not at the decision boundary, and what they are
worth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from cutaway.arrays import Floats
from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.data.pairs import pairs_between
from cutaway.errors import InputError, ModelError
from cutaway.geometry.class_slices import read_class_slices
from cutaway.geometry.decision import as_logits
from cutaway.geometry.migration import ray_migration
from cutaway.geometry.program import StagedProgram
from cutaway.geometry.rays import as_program
from cutaway.geometry.slice import Slice, SliceSettings
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile, not_applicable
from cutaway.network import Network
from cutaway.reading.table import Table
from cutaway.records import Skipped
from cutaway.settings import at_least, between
from cutaway.structure.units import (
    UnitCrossings,
    UnitMask,
    UnitTable,
    geometry_score,
    least_units,
    magnitude_score,
    slice_densities,
    unit_crossings,
    units_of,
)
from cutaway.wording import said

SHARES = np.arange(20) / 20
"""Shares of the units left out, the same in every layer."""


@dataclass(frozen=True, kw_only=True)
class UnitBoundaries(Instrument):
    """Density of each unit's boundary near data and at the decision boundary, and accuracy without the units that bend
    around data alone.

    On segments between samples that the network puts into different classes every crossing of a unit's boundary and
    every change of class is exact (float64). `around`, `decisive` (unit): crossings per input unit of length within
    `radius` segment lengths of an end, and of a change of class. `around_share`: share of the units that bend at all,
    on these lengths, and more densely around data. `decision_over_data`: all units' density there over that around
    data. In `num_slices` exact slices the same as length per area; `slice_agreement` is Spearman's rank correlation of
    decisive less around, slices against segments. Pruning: units that are 0 on every sample go first, then those of
    least decisive - around, the same share of each layer, set to 0, nothing retrained; beside it the least norm of
    weights, and random orders. `removable_...`: the largest share (of twentieths, all smaller ones too) at which
    accuracy is at most `loss` lower, on rows that the order has not seen; without labels agreement with the whole
    network. Intervals: bootstrap over segments or rows. Source: Humayun et al. 2024, arXiv 2402.15555 and You et al.
    2021, arXiv 2101.02338 (pruning deletes folds), who give no such criterion; it is ours. Cost: two float64 passes a
    crossing, a pass a row for each share and order; a slice takes seconds.
    """

    radius: float = field(default=0.1, metadata=between(1e-6, 0.49, "distance that counts as near, in segment lengths"))
    num_segments: int = field(default=200, metadata=at_least(2, "segments between samples of different classes"))
    num_points: int = field(default=512, metadata=at_least(8, "samples, half for the segments and half for accuracy"))
    num_slices: int = field(default=1, metadata=at_least(0, "exact slices through three samples"))
    num_random: int = field(default=5, metadata=at_least(1, "random orders of the units"))
    loss: float = field(default=0.01, metadata=between(0, 1, "loss of accuracy that counts as none"))
    max_regions: int = field(default=50_000, metadata=at_least(1, "regions above which a slice is left out"))

    name: ClassVar[str] = "unit-boundaries"
    tiles: ClassVar[tuple[Tile, ...]] = (Tile("around_share", "Units that bend around data", 46, percent=True),)
    question: ClassVar[str] = (
        "Which units bend around the data and not at the decision boundary, and what are they worth?"
    )
    source: ClassVar[str] = (
        "Humayun et al. 2024, arXiv 2402.15555; You et al. 2021, arXiv 2101.02338; the criterion is ours"
    )
    in_scan: ClassVar[bool] = False
    left_out: ClassVar[str] = "two float64 passes a crossing, and a pass a row for every share of every order"
    needs: ClassVar[frozenset[str]] = frozenset({"inputs", "classifier"})
    formula: ClassVar[str] = (
        r"\frac{\# \{ \mathrm{crossings\ of\ } u \mathrm{\ within\ } r \mathrm{\ of\ a\ change\ of\ class} \}}"
        r"{\mathrm{length\ as\ near}} - \frac{\# \{ \mathrm{crossings\ of\ } u \mathrm{\ within\ } r \mathrm{\ of\ a\ "
        r"sample} \}}{\mathrm{length\ as\ near}}"
    )
    expense: ClassVar[str] = (
        "two float64 passes a crossing, a pass a row for each share and order; a slice takes seconds"
    )
    limits: ClassVar[str] = (
        "Units are set to 0 and nothing is retrained: with retraining orders lie closer together. A unit that never "
        "bends between samples has no boundary there and may still carry what is affine."
    )

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data, self.num_points)
        inputs = sample.inputs.cpu().double()
        if len(inputs) < 8:
            raise NotApplicable("needs eight rows, half of them for the segments")
        program, units = _with_units(network, inputs)
        mask, table = UnitMask(program, units), context.table({"unit": _names(units), "share": SHARES})
        first, second = torch.randperm(len(inputs), generator=context.generator()).tensor_split(2)
        classes = torch.from_numpy(_classes(mask, inputs))
        seen = classes[first]
        pairs = pairs_between(seen, self.num_segments, context.generator(1))
        if not len(pairs):
            raise NotApplicable("the network puts all samples into one class: no decision boundary between them")
        starts, ends = (inputs[first][pairs[:, k]] for k in (0, 1))
        with not_applicable(InputError):
            found = ray_migration(program, starts, ends, budget=context.budget // 4)
        crossed = unit_crossings(units, found, self.radius)
        if not crossed.decision_length.any():
            raise NotApplicable("no segment between samples crosses a decision boundary")
        around, decisive = crossed.densities()
        active = mask.active_share(inputs[first])
        self._densities(crossed, active, units, table)
        skipped = units.skipped + self._slices(program, units, inputs[first], seen, decisive - around, context, table)
        truth = classes if data.labels is None else torch.from_numpy(sample.labels)
        score = geometry_score(around, decisive, active)
        self._prune(mask, inputs[second], truth[second].numpy(), score, context, table)
        return Findings.of(table, skipped=skipped)

    def _densities(self, crossed: UnitCrossings, active: Floats, units: UnitTable, table: Table) -> None:
        around, decisive = crossed.densities()
        unit = "crossings per input unit"
        table.keep("around", around, ["unit"], unit=unit, long_name="density of the unit's boundary near data")
        table.keep("decisive", decisive, ["unit"], unit=unit, long_name="density of it at the decision boundary")
        table.keep("active", active, ["unit"], long_name="share of samples on which the unit is not 0", kind="exact")
        table.keep("layer", units.layer, ["unit"], long_name="number of the unit's layer", kind="exact")

        def around_share(rows: NDArray[np.int64]) -> float:
            a, d = crossed.densities(rows)
            bends = a + d > 0
            return float((a > d)[bends].mean()) if bends.any() else float("nan")

        def ratio(rows: NDArray[np.int64]) -> float:
            a, d = crossed.densities(rows)
            return float(d.sum() / a.sum()) if a.any() else float("nan")

        count = len(crossed.data_length)
        words = "share of units that bend more densely around data than at the decision boundary"
        table.statistic("around_share", around_share, count, long_name=words)
        words = "density of unit boundaries at the decision boundary over that around data"
        table.statistic("decision_over_data", ratio, count, long_name=words)
        idle = float((active == 0).mean())
        table.figure("idle_share", idle, long_name="share of units that are 0 on every sample", alternative="none")

    def _slices(
        self,
        program: StagedProgram,
        units: UnitTable,
        inputs: torch.Tensor,
        classes: torch.Tensor,
        along_rays: Floats,
        context: Context,
        table: Table,
    ) -> tuple[Skipped, ...]:
        if not self.num_slices:
            return ()

        def decisive_less_near(result: Slice, corners: Floats, side: float) -> Floats:
            near, decisive = slice_densities(units, result, corners, self.radius * side)
            return decisive - near

        found, skipped = read_class_slices(
            program.graph,
            inputs,
            classes,
            (context.generator(k + 2) for k in range(self.num_slices)),
            decisive_less_near,
            seed=context.seed,
            settings=SliceSettings(max_faces=self.max_regions, budget=max(context.budget, 1 << 20)),
        )
        mean = np.mean(found, axis=0) if found else np.full(len(along_rays), np.nan)
        if np.isfinite(mean).all() and np.ptp(mean) > 0 and np.ptp(along_rays) > 0:
            words = "rank correlation over units of decisive less around, exact slices against segments"
            agreement = float(np.asarray(stats.spearmanr(along_rays, mean))[0])
            table.figure("slice_agreement", agreement, long_name=words, alternative="none")
            table.keep("slice_difference", mean, ["unit"], unit="1 / input unit", long_name="the same in exact slices")
        return skipped

    def _prune(
        self,
        mask: UnitMask,
        inputs: torch.Tensor,
        truth: NDArray[np.int64],
        score: Floats,
        context: Context,
        table: Table,
    ) -> None:
        draw = np.random.default_rng(context.generator(1000).initial_seed())
        orders = {"geometry": [score], "magnitude": [magnitude_score(mask.units)]}
        orders["random"] = [draw.random(mask.units.count) for _ in range(self.num_random)]
        right = {name: np.stack([_right(mask, inputs, truth, s) for s in some]) for name, some in orders.items()}

        def removable(name: str, rows: NDArray[np.int64]) -> float:
            return float(np.mean([_removable(hits[:, rows].mean(axis=1), self.loss) for hits in right[name]]))

        may_go = least_units(mask.units, score, removable("geometry", np.arange(len(truth))))
        gone = np.concatenate([np.isin(np.arange(s.count), may_go[s.name]) for s in mask.units.sites])
        table.keep("gone", gone, ["unit"], long_name="whether the unit may go by geometry")
        for name, words in (
            ("geometry", "bend around data and not at the decision boundary"),
            ("magnitude", "have the smallest weights"),
            ("random", "are drawn at random (mean)"),
        ):
            table.keep(
                f"accuracy_{name}", right[name].mean(axis=(0, 2)), ["share"], long_name="accuracy without the units"
            )
            words = f"share of each layer that may go, accuracy {self.loss:g} lower at most: units that {words}"
            table.statistic(
                f"removable_{name}",
                lambda rows, n=name: removable(n, rows),
                len(truth),
                long_name=words,
                alternative="none",
            )
        table.statistic(
            "gain",
            lambda rows: removable("geometry", rows) - removable("magnitude", rows),
            len(truth),
            long_name="share of units that may go by geometry less that by magnitude",
            alternative="none",
        )

    def draw(self, reading):
        from cutaway.pictures.migration import pruning_chart

        return pruning_chart(reading)

    def describe(self, reading):
        value = {f.name: f for f in reading.figures}
        gain = value["gain"]
        text = (
            f"{said(value['around_share'].value, '.0%')} of the units that bend between samples do so more densely "
            f"around data than at the decision boundary. Setting units to 0 that bend around data, "
            f"{said(value['removable_geometry'].value, '.0%')} of each layer may go, by magnitude "
            f"{said(value['removable_magnitude'].value, '.0%')}, at random "
            f"{said(value['removable_random'].value, '.0%')}"
        )
        if gain.low is not None and gain.low > 0:
            return text + ": geometry removes more."
        if gain.high is not None and gain.high < 0:
            return text + ": geometry removes fewer."
        return text + "; between geometry and magnitude the rows cannot tell."


def _with_units(network: Network, inputs: torch.Tensor) -> tuple[StagedProgram, UnitTable]:
    with not_applicable(ModelError):
        program = as_program(network, inputs[:1])
    units = units_of(program)
    if not units.count:
        raise NotApplicable("no kink follows a dense layer or a convolution: no units to tell apart")
    return program, units


def _names(units: UnitTable) -> list[str]:
    return [f"{units.sites[s].name}[{n}]" for s, n in _places(units)]


def _places(units: UnitTable) -> list[tuple[int, int]]:
    return [(s, n) for s, site in enumerate(units.sites) for n in range(site.count)]


def _classes(mask: UnitMask, inputs: torch.Tensor, gone=None) -> NDArray[np.int64]:
    return as_logits(mask.outputs(inputs, gone or {}).numpy()).argmax(axis=1)


def _right(mask: UnitMask, inputs: torch.Tensor, truth: NDArray[np.int64], score: Floats) -> NDArray[np.bool_]:
    """(shares, rows): whether the class is right without the units of least score."""
    return np.stack([_classes(mask, inputs, least_units(mask.units, score, share)) == truth for share in SHARES])


def _removable(accuracy: Floats, loss: float) -> float:
    bad = np.flatnonzero(accuracy < accuracy[0] - loss - 1e-12)
    return float(SHARES[bad[0] - 1] if len(bad) else SHARES[-1])
