"""Instrument `lofi-features`: which label-relevant directions a network holds at every layer, and which it uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.features.lofi.network_features import SiteDirections, channels, network_directions
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile
from cutaway.network import Network
from cutaway.reading.table import Table
from cutaway.settings import at_least
from cutaway.wording import said


@dataclass(frozen=True, kw_only=True)
class LofiFeatures(Instrument):
    """Label-relevant directions at every activation site, found and unused, against permuted labels.

    `num_directions` kept a site, `num_permutations` of the labels, `num_points` samples, `num_positions` spatial
    positions or tokens drawn a sample. Sites without channels to choose from (fewer than two) are listed as skipped.
    """

    num_directions: int = field(default=8, metadata=at_least(1, "directions kept at a site"))
    num_permutations: int = field(default=19, metadata=at_least(1, "permutations of the labels"))
    num_points: int = field(default=600, metadata=at_least(1, "samples, spread evenly over the data"))
    num_positions: int = field(default=4, metadata=at_least(1, "spatial positions or tokens drawn of a sample"))

    name: ClassVar[str] = "lofi-features"
    tiles: ClassVar[tuple[Tile, ...]] = (Tile("relevant_directions", "Directions that carry the label", 50),)
    question: ClassVar[str] = "Which label-relevant directions does each layer hold, and does the network use them?"
    source: ClassVar[str] = "Neural LoFi, arXiv 2605.13612; bank of label directions and use by gradients are ours"
    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    formula: ClassVar[str] = (
        r"\mathrm{leading\ eigenvectors\ of\ } \sum_k C_k^2, \quad "
        r"C_k = E[(y_k - \bar{y}_k) (z - \bar{z}) (z - \bar{z})^T]"
    )
    expense: ClassVar[str] = "1 forward and 1 backward pass a sample, (1 + permutations) n C^2 a site"
    limits: ClassVar[str] = (
        "First and second moments only: a direction that carries labels through higher ones is not seen. The operator "
        "is scored on the given data: for a training set, directions found by memorisation count."
    )

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sites = tuple(s for s in network.select("activation") if channels(s) >= 2)
        if not sites:
            raise NotApplicable("the network has no activation functions with two channels or more")
        sample = context.sample(network, data, self.num_points, balanced=False)
        if len(np.unique(sample.labels)) < 2:
            raise NotApplicable("all samples have one label, so that no direction can carry it")
        if len(sample) < 8:
            raise NotApplicable(f"{len(sample)} samples are too few to tell directions from noise; it takes 8")
        sizes = {
            "count": self.num_directions,
            "permutations": self.num_permutations,
            "positions": self.num_positions,
        }
        found = network_directions(network, sample.data, sites, **sizes, seed=context.seed, budget=context.budget)
        each = list(found.values())
        table = context.table({"site": list(found), "direction": np.arange(self.num_directions)})
        self._columns(each, table)
        for name, numbers, unit, long_name in (
            ("relevant_directions", [f.num_relevant for f in each], "directions", _RELEVANT),
            ("unused_directions", [f.unused for f in each], "directions", _UNUSED),
            ("alignment_excess", [f.alignment - f.alignment_null for f in each], "1", _EXCESS),
            ("strongest_over_edge", [f.strengths[0] / max(f.edge, 1e-300) for f in each], "1", _STRONGEST),
        ):
            table.figure(name, float(np.mean(numbers)), unit=unit, alternative="greater", long_name=long_name)
        return Findings.of(table, sites=sites)

    def _columns(self, each: Sequence[SiteDirections], table: Table) -> None:
        for name, part, long_name in (
            ("strength", "strengths", "size of the label-weighted operator, whitened"),
            ("p_value", "p_values", "rank among permuted labels"),
            ("use", "use", "gradient energy along the direction over the mean one"),
        ):
            rows = [getattr(f, part) for f in each]
            padded = [np.pad(r, (0, self.num_directions - len(r)), constant_values=np.nan) for r in rows]
            table.keep(name, padded, ["site", "direction"], long_name=long_name)
        for name, part, unit, long_name in (
            ("noise_edge", "edge", "1", "95 % quantile of the permuted maximum"),
            ("num_relevant", "num_relevant", "directions", "directions with p at most 0.05"),
            ("num_unused", "unused", "directions", "relevant directions the gradient avoids"),
            ("alignment", "alignment", "1", "mean squared cosine with the network's own directions"),
            ("alignment_null", "alignment_null", "1", "the same for permuted labels, mean"),
            ("alignment_p", "alignment_p", "1", "p-value of the alignment"),
        ):
            table.keep(name, [float(getattr(f, part)) for f in each], ["site"], unit=unit, long_name=long_name)

    def draw(self, reading: Any) -> Any:
        from cutaway.features.lofi.network_chart import features_chart

        return features_chart(reading)

    def describe(self, reading: Any) -> str:
        relevant, unused = reading.figure("relevant_directions"), reading.figure("unused_directions")
        aligned = reading.figure("alignment_excess")
        if not relevant.value > 0:
            return "No layer holds a direction that tells the labels from noise."
        hardly = f"{unused.value:.1f} of which it hardly uses" if unused.value >= 0.05 else "all of which it uses"
        return (
            f"A layer holds {relevant.value:.1f} directions that tell the labels from noise on average, {hardly}; "
            f"the squared cosine with what the network uses is {said(aligned.value, '+.2f')} beside that of permuted "
            "labels."
        )


_RELEVANT = "label-relevant directions a layer, mean over sites"
_UNUSED = "label-relevant directions that the gradient avoids, mean over sites"
_EXCESS = "mean squared cosine with the network's own directions, less that of permuted labels"
_STRONGEST = "strongest direction over the noise edge of permuted labels, mean over sites"
