"""Instrument `ray-crossings`: how many affine pieces lie between samples, per class, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import xarray as xr

from cutaway.errors import InputError, ModelError
from cutaway.geometry.expressivity import same_class_pairs
from cutaway.geometry.rays import as_program, crossings
from cutaway.geometry.volume import count_patterns
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile
from cutaway.reading import Figure, variable
from cutaway.reading.intervals import mean_interval
from cutaway.wording import said


@dataclass(frozen=True, kw_only=True)
class RayCrossings(Instrument):
    """Region boundaries crossed per unit of input length on segments between samples, by site and by class.

    Unit: boundaries per unit of input distance. Every segment's crossings are exact (float64); the figure is a mean
    over `num_segments` random pairs of samples, with a bootstrap interval. With labels, segments inside a class are
    counted by class, and `class_spread` is the largest class mean over the smallest. Unlike a count of distinct
    patterns among samples (TE-NAS's score, given beside it for `num_patterns` samples as a share: 1 means that every
    sample has a pattern of its own and the score says nothing), it does not saturate at the number of samples.
    """

    num_segments: int = 48
    num_patterns: int = 128

    name: ClassVar[str] = "ray-crossings"
    tiles: ClassVar[tuple[Tile, ...]] = (Tile("crossing_density", "Regions near the data", 40),)
    question: ClassVar[str] = "How many affine pieces does the network lay between one sample and the next?"
    source: ClassVar[str] = (
        "Exact crossing sequences; compare TE-NAS, ICLR 2021, and Hanin and Rolnick, arXiv 1901.09021"
    )
    in_scan: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset({"inputs"})
    expense: ClassVar[str] = "one float64 forward pass for every crossing"
    limits: ClassVar[str] = (
        "Density along straight lines between samples; regions in full dimension are not counted. "
        "It scales with the inverse of the input's unit."
    )

    def _measure(self, network, data, context):
        generator = context.generator()
        inputs = network.place(data.inputs).detach().cpu().double()
        try:
            program = as_program(
                network.double().model.cpu() if network.device.type != "cpu" else network.model, inputs[:1]
            )
        except ModelError as error:  # not piecewise affine, an operator not known, several outputs, no export
            raise NotApplicable(str(error)) from error
        if not program.sites:
            raise NotApplicable("the network has no kinks: it is affine")
        pairs = self._pairs(data, generator)
        pairs = pairs[(inputs[pairs[:, 0]] - inputs[pairs[:, 1]]).flatten(1).abs().amax(dim=1) > 0]
        if not len(pairs):
            raise NotApplicable("no two different samples")
        found = crossings(program, inputs[pairs[:, 0]], inputs[pairs[:, 1]], budget=context.budget // 4)
        network.forward_passes += len(found.at) + 2 * len(pairs)
        density = found.density.numpy()
        by_site = (found.by_site() / found.length[:, None]).numpy().mean(axis=0)
        low, high = mean_interval(density, seed=context.seed, resamples=context.resamples)
        variables = {
            "density": variable(
                by_site, ["site"], unit="boundaries per unit", long_name="boundaries crossed a unit of length, by site"
            ),
            "per_segment": variable(
                density,
                ["segment"],
                unit="boundaries per unit",
                long_name="exact density on each segment",
                kind="exact",
            ),
            "count": variable(
                found.counts.numpy(), ["segment"], unit="boundaries", long_name="crossings", kind="exact"
            ),
        }
        coords: dict = {"site": [f"{i} {s.name}" for i, s in enumerate(program.sites)]}
        figures = [
            Figure(
                name="crossing_density",
                value=float(density.mean()),
                low=low,
                high=high,
                unit="boundaries per unit",
                long_name="region boundaries crossed a unit of length between samples",
            )
        ]
        some = inputs[torch.linspace(0, len(inputs) - 1, min(self.num_patterns, len(inputs))).round().long()]
        seen = count_patterns(program, some, chunk=32)
        network.forward_passes += len(some)
        figures.append(
            Figure(
                name="own_pattern_share",
                value=seen.observed / seen.num_samples,
                alternative="none",
                long_name="distinct activation patterns a sample (TE-NAS; 1: saturated)",
            )
        )
        if data.labels is not None:
            labels = data.labels.cpu()[pairs]
            same = (labels[:, 0] == labels[:, 1]).numpy()
            classes = np.unique(labels[:, 0].numpy()[same])
            if len(classes) > 1:
                means = [float(density[same & (labels[:, 0].numpy() == c)].mean()) for c in classes]
                variables["by_class"] = variable(
                    means, ["class"], unit="boundaries per unit", long_name="density on segments inside a class"
                )
                coords["class"] = classes
                spread = max(means) / min(means) if min(means) > 0 else float("nan")
                figures.append(
                    Figure(name="class_spread", value=spread, long_name="largest class density over the smallest")
                )
        return Findings(values=xr.Dataset(variables, coords), figures=tuple(figures))

    def _pairs(self, data, generator) -> torch.Tensor:
        count = len(data.inputs)
        if count < 2:
            raise NotApplicable("needs two samples")
        if data.labels is not None:
            classes = max(1, len(data.labels.unique()))
            try:
                return same_class_pairs(data.labels.cpu(), max(2, self.num_segments // classes), generator)
            except InputError:  # no class has two samples: any pairs
                pass
        first = torch.randint(count, (self.num_segments,), generator=generator)
        return torch.stack(
            [first, (first + 1 + torch.randint(count - 1, (self.num_segments,), generator=generator)) % count], dim=1
        )

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
