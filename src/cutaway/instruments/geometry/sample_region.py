"""Instrument `sample-region`: how large the affine piece around a sample is, and whether size goes with confidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import xarray as xr

from cutaway.errors import ModelError
from cutaway.geometry.expressivity import size_and_confidence
from cutaway.geometry.rays import as_program
from cutaway.instrument import Findings, Instrument, NotApplicable
from cutaway.reading import Figure, variable
from cutaway.reading.intervals import mean_interval


@dataclass(frozen=True, kw_only=True)
class SampleRegion(Instrument):
    """Radius of the largest ball about a sample inside its affine region, and its rank correlation with the margin.

    Exact per sample (float64): every gate's gradient in the region, by D tangents through the graph. Means over
    `num_points` samples carry bootstrap intervals; the correlation is Spearman's, an estimate.
    """

    num_points: int = 32

    name: ClassVar[str] = "sample-region"
    question: ClassVar[str] = (
        "How far is a sample from the edge of its affine piece, and is that so where the network is sure?"
    )
    source: ClassVar[str] = "Croce et al., arXiv 1810.07481, d_B(x); correlation with confidence ours"
    needs: ClassVar[frozenset[str]] = frozenset({"inputs", "classifier"})
    expense: ClassVar[str] = "2 D forward passes a sample"
    limits: ClassVar[str] = "The nearest boundary only; a region may reach far in other directions."
    in_scan: ClassVar[bool] = False

    def _measure(self, network, data, context):
        inputs = network.place(data.inputs).detach().cpu().double()
        rows = np.unique(np.linspace(0, len(inputs) - 1, min(self.num_points, len(inputs))).round().astype(int))
        model = network.model if network.device.type == "cpu" else network.double().model.cpu()
        try:
            program = as_program(model, inputs[:1])
        except ModelError as error:  # not piecewise affine, an operator not known, several outputs, no export
            raise NotApplicable(str(error)) from error
        if not program.sites:
            raise NotApplicable("the network has no kinks: it is affine")
        if network.output_shape[0] < 2:
            raise NotApplicable("a single output has no margin between classes")
        found = size_and_confidence(program, inputs[rows])
        network.forward_passes += 2 * inputs[0].numel() * len(rows)
        low, high = mean_interval(found.radius, seed=context.seed, resamples=context.resamples)
        variables = {
            "radius": variable(
                found.radius, ["sample"], unit="input units", long_name="ball inside the region", kind="exact"
            ),
            "confidence": variable(found.confidence, ["sample"], long_name="largest class probability", kind="exact"),
            "margin": variable(
                found.margin, ["sample"], unit="logits", long_name="first minus second logit", kind="exact"
            ),
        }
        figures = (
            Figure(
                name="region_radius",
                value=float(found.radius.mean()),
                low=low,
                high=high,
                unit="input units",
                long_name="mean distance to the edge of the region",
            ),
            Figure(
                name="radius_margin_correlation",
                value=found.with_margin,
                long_name="rank correlation of that distance with the margin",
            ),
        )
        return Findings(values=xr.Dataset(variables, {"sample": rows}), figures=figures)

    def describe(self, reading):
        figure = reading.figure("region_radius")
        if not math.isfinite(figure.value):
            return "The affine piece round a sample has no edge: the network is affine there."
        return f"A sample lies {figure.value:.3g} from the nearest edge of its affine piece on average."
