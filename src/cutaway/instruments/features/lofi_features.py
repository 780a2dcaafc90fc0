"""Instrument `lofi-features`: which label-relevant directions a network holds at every layer, and which it uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from cutaway import seeds
from cutaway.features.lofi.network_features import (
    SiteDirections,
    channels,
    draw_positions,
    passes,
    rows_at,
    site_directions,
    spread,
)
from cutaway.instrument import Context, Findings, Instrument, NotApplicable, Tile
from cutaway.network import Network, Site
from cutaway.reading import Figure, variable
from cutaway.wording import said

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class LofiFeatures(Instrument):
    """Label-relevant directions at every activation site, found and unused, against permuted labels.

    `num_directions` kept a site, `num_permutations` of the labels, `num_points` samples, `num_positions` spatial
    positions or tokens drawn a sample. Sites without channels to choose from (fewer than two) are listed as skipped.
    """

    num_directions: int = 8
    num_permutations: int = 19
    num_points: int = 600
    num_positions: int = 4

    name: ClassVar[str] = "lofi-features"
    tiles: ClassVar[tuple[Tile, ...]] = (Tile("relevant_directions", "Directions that carry the label", 50),)
    question: ClassVar[str] = "Which label-relevant directions does each layer hold, and does the network use them?"
    source: ClassVar[str] = "Neural LoFi, arXiv 2605.13612; bank of label directions and use by gradients are ours"
    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    expense: ClassVar[str] = "1 forward and 1 backward pass a sample, (1 + permutations) n C^2 a site"
    limits: ClassVar[str] = (
        "First and second moments only: a direction that carries labels through higher ones is not seen. The operator "
        "is scored on the given data: for a training set, directions found by memorisation count."
    )

    def _measure(self, network: Network, data: Any, context: Context) -> Findings:
        sites = tuple(s for s in network.select("activation") if channels(s) >= 2)
        if not sites:
            raise NotApplicable("the network has no activation functions with two channels or more")
        if len(torch.unique(data.labels)) < 2:
            raise NotApplicable("all samples have one label, so that no direction can carry it")
        rows = spread(data.labels.cpu().numpy(), self.num_points)
        part = data.subset(rows)
        codes = part.labels.cpu().numpy()
        if len(codes) < 8:
            raise NotApplicable(f"{len(codes)} samples are too few to tell directions from noise; it takes 8")
        generator = np.random.default_rng(seeds.stream(context.seed, "lofi", "positions"))
        positions = {s.name: draw_positions(s, self.num_positions, generator) for s in sites}
        values: dict[str, list[Array]] = {s.name: [] for s in sites}
        outer = {s.name: np.zeros((channels(s), channels(s))) for s in sites}
        for captured, gradients in passes(network, part, sites, context.budget):
            for site in sites:
                values[site.name].append(rows_at(captured[site.name], site, positions[site.name]))
                slope = rows_at(gradients[site.name], site, None)
                flat = slope.reshape(-1, slope.shape[-1])
                outer[site.name] += flat.T @ flat / len(codes)
        found = {
            s.name: site_directions(
                np.concatenate(values[s.name]),
                codes,
                outer[s.name],
                count=self.num_directions,
                permutations=self.num_permutations,
                generator=np.random.default_rng(seeds.stream(context.seed, "lofi", "permutations")),
            )
            for s in sites
        }
        return Findings(values=_table(sites, found, self.num_directions), figures=_figures(found), sites=sites)

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


def _figures(found: dict[str, SiteDirections]) -> tuple[Figure, ...]:
    each = list(found.values())
    excess = [f.alignment - f.alignment_null for f in each]
    return (
        Figure(
            name="relevant_directions",
            value=float(np.mean([f.num_relevant for f in each])),
            unit="directions",
            alternative="greater",
            long_name="label-relevant directions a layer, mean over sites",
        ),
        Figure(
            name="unused_directions",
            value=float(np.mean([f.unused for f in each])),
            unit="directions",
            alternative="greater",
            long_name="label-relevant directions that the gradient avoids, mean over sites",
        ),
        Figure(
            name="alignment_excess",
            value=float(np.mean(excess)),
            alternative="greater",
            long_name="mean squared cosine with the network's own directions, less that of permuted labels",
        ),
        Figure(
            name="strongest_over_edge",
            value=float(np.mean([f.strengths[0] / max(f.edge, 1e-300) for f in each])),
            alternative="greater",
            long_name="strongest direction over the noise edge of permuted labels, mean over sites",
        ),
    )


def _table(sites: tuple[Site, ...], found: dict[str, SiteDirections], count: int) -> xr.Dataset:
    def padded(pick: str) -> Array:
        out = np.full((len(sites), count), np.nan)
        for row, site in enumerate(sites):
            entry = getattr(found[site.name], pick)
            out[row, : len(entry)] = entry
        return out

    def single(pick: str) -> Array:
        return np.array([float(getattr(found[s.name], pick)) for s in sites])

    return xr.Dataset(
        {
            "strength": variable(
                padded("strengths"), ["site", "direction"], long_name="size of the label-weighted operator, whitened"
            ),
            "p_value": variable(padded("p_values"), ["site", "direction"], long_name="rank among permuted labels"),
            "use": variable(
                padded("use"), ["site", "direction"], long_name="gradient energy along the direction over the mean one"
            ),
            "noise_edge": variable(single("edge"), ["site"], long_name="95 % quantile of the permuted maximum"),
            "num_relevant": variable(
                single("num_relevant"), ["site"], unit="directions", long_name="directions with p at most 0.05"
            ),
            "num_unused": variable(
                single("unused"), ["site"], unit="directions", long_name="relevant directions the gradient avoids"
            ),
            "alignment": variable(
                single("alignment"), ["site"], long_name="mean squared cosine with the network's own directions"
            ),
            "alignment_null": variable(
                single("alignment_null"), ["site"], long_name="the same for permuted labels, mean"
            ),
            "alignment_p": variable(single("alignment_p"), ["site"], long_name="p-value of the alignment"),
        },
        coords={"site": [s.name for s in sites], "direction": np.arange(count)},
    )
