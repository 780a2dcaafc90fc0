"""Instrument `ray-crossings`: how many affine pieces lie between samples, per class, exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.data.pairs import random_pairs
from cutaway.errors import ModelError
from cutaway.geometry.program import StagedProgram
from cutaway.geometry.rays import as_program, crossings
from cutaway.geometry.volume import count_patterns
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile, not_applicable
from cutaway.network import Network
from cutaway.reading.table import Table
from cutaway.settings import at_least
from cutaway.wording import said

UNIT = "boundaries per unit"


@dataclass(frozen=True, kw_only=True)
class RayCrossings(Instrument):
    """Region boundaries crossed per unit of input length on segments between samples, by site and by class.

    Unit: boundaries per unit of input distance. Every segment's crossings are exact (float64); the figure is a mean
    over `num_segments` random pairs of samples, with a bootstrap interval. With labels, segments inside a class are
    counted by class, and `class_spread` is the largest class mean over the smallest. Unlike a count of distinct
    patterns among samples (TE-NAS's score, given beside it for `num_patterns` samples as a share: 1 means that every
    sample has a pattern of its own and the score says nothing), it does not saturate at the number of samples.
    """

    num_segments: int = field(default=48, metadata=at_least(1, "segments between random pairs of samples"))
    num_patterns: int = field(default=128, metadata=at_least(1, "samples whose activation patterns are compared"))

    name: ClassVar[str] = "ray-crossings"
    tiles: ClassVar[tuple[Tile, ...]] = (Tile("crossing_density", "Regions near the data", 40),)
    question: ClassVar[str] = "How many affine pieces does the network lay between one sample and the next?"
    source: ClassVar[str] = (
        "Exact crossing sequences; compare TE-NAS, ICLR 2021, and Hanin and Rolnick, arXiv 1901.09021"
    )
    in_scan: ClassVar[bool] = False
    left_out: ClassVar[str] = "every crossing is a float64 forward pass of its own"
    needs: ClassVar[frozenset[str]] = frozenset({"inputs"})
    formula: ClassVar[str] = (
        r"\frac{1}{m} \sum_{k=1}^{m} \frac{\# \{ \mathrm{boundaries\ between\ } x_k \mathrm{\ and\ } x'_k \}}"
        r"{\|x_k - x'_k\|_2}"
    )
    expense: ClassVar[str] = "one float64 forward pass for every crossing"
    limits: ClassVar[str] = (
        "Density along straight lines between samples; regions in full dimension are not counted. "
        "It scales with the inverse of the input's unit."
    )

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        inputs = context.sample(network, data).inputs.cpu().double()
        if len(inputs) < 2:
            raise NotApplicable("needs two samples")
        with not_applicable(ModelError):  # not piecewise affine, an operator not known, several outputs, no export
            program = as_program(network, inputs[:1])
        if not program.sites:
            raise NotApplicable("the network has no kinks: it is affine")
        pairs = random_pairs(inputs, data.labels, self.num_segments, context.generator())
        if not len(pairs):
            raise NotApplicable("no two different samples")
        found = crossings(program, inputs[pairs[:, 0]], inputs[pairs[:, 1]], budget=context.budget // 4)
        table = context.table({"site": [f"{i} {s.name}" for i, s in enumerate(program.sites)]})
        by_site = (found.by_site() / found.length[:, None]).numpy().mean(axis=0)
        long_name = "boundaries crossed a unit of length, by site"
        table.keep("density", by_site, ["site"], unit=UNIT, long_name=long_name)
        density, kept = found.density.numpy(), {"dims": ["segment"], "column": "per_segment", "kind": "exact"}
        long_name, each = "region boundaries crossed a unit of length between samples", "exact density on each segment"
        table.mean("crossing_density", density, **kept, each=each, unit=UNIT, long_name=long_name)
        counts = found.counts.numpy()
        table.keep("count", counts, ["segment"], unit="boundaries", long_name="crossings", kind="exact")
        self._patterns(program, inputs, table)
        if data.labels is not None:
            self._by_class(density, data.labels.cpu()[pairs].numpy(), table)
        return Findings.of(table)

    def _patterns(self, program: StagedProgram, inputs: torch.Tensor, table: Table) -> None:
        rows = (
            torch.linspace(0, len(inputs) - 1, min(self.num_patterns, len(inputs)), dtype=torch.float64).round().long()
        )
        seen = count_patterns(program, inputs[rows], batch_size=32)
        long_name = "distinct activation patterns a sample (TE-NAS; 1: saturated)"
        table.figure("own_pattern_share", seen.observed / seen.num_samples, alternative="none", long_name=long_name)

    def _by_class(self, density: NDArray[np.float64], labels: NDArray[np.int64], table: Table) -> None:
        """`labels` (P, 2) of the ends of each segment."""
        inside = labels[:, 0] == labels[:, 1]
        classes = np.unique(labels[inside, 0])
        if len(classes) < 2:
            return
        means = [float(density[inside & (labels[:, 0] == c)].mean()) for c in classes]
        table.coordinate("class", classes)
        table.keep("by_class", means, ["class"], unit=UNIT, long_name="density on segments inside a class")
        spread = max(means) / min(means) if min(means) > 0 else float("nan")
        table.figure("class_spread", spread, long_name="largest class density over the smallest")

    def describe(self, reading):
        figure = reading.figure("crossing_density")
        return (
            f"On the way from one sample to another the network changes its affine piece {said(figure.value)} times a "
            "unit of input distance."
            + (
                " Every sample has an activation pattern of its own, so counting distinct patterns would say nothing."
                if reading.figure("own_pattern_share").value == 1
                else ""
            )
        )
