"""Instrument `sample-region`: how large the affine piece around a sample is, and whether size goes with confidence."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.engines.budget import give_back_memory
from cutaway.errors import ModelError
from cutaway.geometry.expressivity import size_and_confidence
from cutaway.geometry.rays import as_program
from cutaway.instrument import Findings, Instrument, NotApplicable, not_applicable
from cutaway.network import Network
from cutaway.settings import at_least


@dataclass(frozen=True, kw_only=True)
class SampleRegion(Instrument):
    """Radius of the largest ball about a sample inside its affine region, and its rank correlation with the margin.

    Exact per sample (float64): every gate's gradient in the region, by D tangents through the graph. Means over
    `num_points` samples carry bootstrap intervals; the correlation is Spearman's, an estimate.
    """

    num_points: int = field(default=32, metadata=at_least(1, "samples, spread evenly over the data"))

    name: ClassVar[str] = "sample-region"
    question: ClassVar[str] = (
        "How far is a sample from the edge of its affine piece, and is that so where the network is sure?"
    )
    source: ClassVar[str] = "Croce et al., arXiv 1810.07481, d_B(x); correlation with confidence ours"
    needs: ClassVar[frozenset[str]] = frozenset({"inputs", "classifier"})
    formula: ClassVar[str] = r"\rho(x) = \min_j \frac{|z_j(x)|}{\|\nabla z_j(x)\|_2}"
    expense: ClassVar[str] = "2 D forward passes a sample"
    limits: ClassVar[str] = "The nearest boundary only; a region may reach far in other directions."
    in_scan: ClassVar[bool] = False
    left_out: ClassVar[str] = "a sample takes 2 D float64 passes for an input of D numbers"

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data, self.num_points, balanced=False)
        with not_applicable(ModelError):  # not piecewise affine, an operator not known, several outputs, no export
            program = as_program(network, sample.inputs[:1])
        if not program.sites:
            raise NotApplicable("the network has no kinks: it is affine")
        if network.output_shape[0] < 2:
            raise NotApplicable("a single output has no margin between classes")
        inputs = sample.inputs.cpu().double()
        give_back_memory()  # what tracing held
        held = inputs.numel() * 8 + sum(p.numel() for p in network.model.parameters()) * 8  # the program's own copy
        found = size_and_confidence(program, inputs, budget=context.budget - held)
        table = context.table({"sample": sample.rows})
        kept = {"dims": ["sample"], "column": "radius", "each": "ball inside the region", "kind": "exact"}
        long_name = "mean distance to the edge of the region"
        table.mean("region_radius", found.radius, **kept, unit="input units", long_name=long_name)
        table.keep("confidence", found.confidence, ["sample"], long_name="largest class probability", kind="exact")
        long_name = "first minus second logit"
        table.keep("margin", found.margin, ["sample"], unit="logits", long_name=long_name, kind="exact")
        long_name = "rank correlation of that distance with the margin"
        table.figure("radius_margin_correlation", found.with_margin, long_name=long_name)
        return Findings.of(table)

    def describe(self, reading):
        figure = reading.figure("region_radius")
        if not math.isfinite(figure.value):
            return "The affine piece round a sample has no edge: the network is affine there."
        return f"A sample lies {figure.value:.3g} from the nearest edge of its affine piece on average."
