"""Instrument `curvature`: how the loss bends at these weights, along which directions, and where that comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch

from cutaway.context import Context
from cutaway.curvature import LOSSES, Moments, Surface, density, extremes, moments, softmax_entropy, softmax_gain
from cutaway.data import Dataset
from cutaway.instrument import Findings, Instrument, Tile
from cutaway.needs import held_statistics
from cutaway.network import Network
from cutaway.reading.intervals import bootstrap_interval, student_interval
from cutaway.reading.table import Table
from cutaway.settings import at_least, one_of
from cutaway.status import Status
from cutaway.wording import said

DIRECTIONS = 50  # of the excess, as in the source
ROUNDING = 1e-13  # of products in float64, over the largest eigenvalue
FOUND = 1e-3  # an end of the spectrum is found where its residual is at most this share of the largest eigenvalue


@dataclass(frozen=True, kw_only=True)
class Curvature(Instrument):
    """The Hessian H of the mean loss over `num_points` rows: trace, Frobenius norm, the ends of its spectrum, its
    Gauss-Newton part G, and the spectrum as a density.

    `loss` is cross-entropy or squared-error (against one-hot rows); a single output is the logit of class 1. Always in
    float64, on a copy where the network is not, with the statistics of batch normalisation as stored. Trace, norm and
    tr G are estimates from `num_probes` shared probes, with Student intervals over probes (the rows are taken as
    given); the `num_top` largest eigenvalues and the smallest one carry residual bounds, which are no matter of chance:
    an eigenvalue of H lies that near. H is the Hessian almost everywhere: curvature in the kinks of a ReLU is not in
    it. Cost: about num_probes products with H and with G, up to 300 for the ends, and num_density * 40 for the density,
    at four forward passes a row each.
    """

    loss: str = field(default="cross-entropy", metadata=one_of(tuple(LOSSES), "what the outputs are judged by"))
    num_points: int = field(default=200, metadata=at_least(1, "rows of the mean loss"))
    num_probes: int = field(default=20, metadata=at_least(2, "random directions for trace and norm"))
    num_top: int = field(default=5, metadata=at_least(1, "largest eigenvalues"))
    num_density: int = field(default=4, metadata=at_least(1, "random directions for the density"))

    name: ClassVar[str] = "curvature"
    tiles: ClassVar[tuple[Tile, ...]] = (Tile("largest_eigenvalue", "Largest curvature of the loss", 70),)
    question: ClassVar[str] = "How curved is the loss here, and will steps of this size be stable?"
    source: ClassVar[str] = (
        "Vysogorets, Dawid and Kempe 2024, arXiv 2402.03579; Ghorbani et al. 2019, arXiv 1901.10159; "
        "Cohen et al. 2021, arXiv 2103.00065"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "classifier"})
    one_logit: ClassVar[bool] = True
    formula: ClassVar[str] = (
        r"H = \nabla_\theta^2 \frac{1}{n} \sum_i \ell(f_\theta(x_i), y_i), \ \mathrm{tr} H, \|H\|_F, \lambda_{\max}(H)"
    )
    expense: ClassVar[str] = "about 500 products with the Hessian, four forward passes a row each"
    limits: ClassVar[str] = (
        "Of the mean loss over the rows given: the norm of few rows is larger than that of many. Curvature in the "
        "kinks of ReLUs is missing. Rescaling the layers of a ReLU network changes its curvature and not its function."
    )
    in_scan: ClassVar[bool] = False

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data, self.num_points)
        assert sample.data.labels is not None
        surface = Surface.of(network, sample.data.inputs, sample.data.labels, loss=self.loss, budget=context.budget)
        table = context.table()
        outputs = surface.outputs()
        self._ends(surface, table, context)
        self._moments(moments(surface, probes=self.num_probes, seed=context.seed), table, context)
        table.number("loss", float(surface.loss(outputs, surface.labels).mean()), long_name="mean loss")
        slope = float(surface.gradient().norm())
        table.number("gradient_norm", slope, long_name="length of the loss's gradient")
        if self.loss == "cross-entropy":
            self._softmax(outputs, table)
        if context.resamples:
            self._density(surface, table, context)
        return Findings.of(table, sites=network.sites, skipped=held_statistics(network.model))

    def _ends(self, surface: Surface, table: Table, context: Context) -> None:
        pairs = extremes(surface, top=self.num_top, bottom=1, tolerance=1e-5, seed=context.seed)
        values = pairs.values
        bounds = pairs.residuals + ROUNDING * np.abs(values).max()
        top = values[: self.num_top]
        table.coordinate("rank", np.arange(1, len(top) + 1))
        table.keep("eigenvalue", top, ["rank"], long_name="largest eigenvalues of the Hessian")
        words = "an eigenvalue lies within this of it"
        table.keep("eigenvalue_error", bounds[: len(top)], ["rank"], long_name=words, kind="upper_bound")
        close = FOUND * float(np.abs(values).max())
        for name, place, words, side in (
            ("largest_eigenvalue", 0, "largest curvature of the loss along a direction", "at least"),
            ("smallest_eigenvalue", -1, "most negative curvature of the loss along a direction", "at most"),
        ):
            value, error = float(values[place]), float(bounds[place])
            if error <= close:
                table.figure(name, value, (value - error, value + error), level=1.0, long_name=words)
            else:  # a Ritz value lies inside the spectrum: a bound from one side, and its residual is none
                why = f"{words}, {side} this: the search ended before it was found (more memory: --budget)"
                table.figure(name, value, long_name=why, status=Status.BOUND)

    def _moments(self, found: Moments, table: Table, context: Context) -> None:
        table.coordinate("probe", np.arange(len(found.trace)))
        for name, values, words in (
            ("trace", found.trace, "trace of the Hessian"),
            ("gauss_newton_trace", found.gauss_newton, "trace of the part that the outputs' slopes make"),
            ("residual_trace", found.trace - found.gauss_newton, "trace of the part that the outputs' bends make"),
        ):
            table.keep(f"{name}_probe", values, ["probe"], long_name=f"{words}, each probe")
            table.figure(name, float(values.mean()), student_interval(values), long_name=words)
        low, high = student_interval(found.square)
        norm, band = float(np.sqrt(found.square.mean())), (math.sqrt(max(low, 0.0)), math.sqrt(max(high, 0.0)))
        table.figure("frobenius_norm", norm, band, long_name="Frobenius norm of the Hessian")
        value = found.excess(dimension=DIRECTIONS)
        low, high = bootstrap_interval(
            lambda rows: found.excess(rows, dimension=DIRECTIONS),
            len(found.trace),
            seed=context.seed,
            resamples=context.resamples,
        )
        words = f"excess of positive curvature in {DIRECTIONS} random directions"
        if math.isfinite(value):
            table.figure("positive_excess", value, (min(low, value), max(high, value)), long_name=words)
        else:
            table.figure("positive_excess", value, long_name=f"{words} (no curvature is left)", status=Status.UNKNOWN)

    def _softmax(self, outputs: torch.Tensor, table: Table) -> None:
        rows = outputs.cpu()
        words = "effective number of directions left by the softmax, square root"
        if math.isfinite(softmax_gain(rows)):
            table.statistic("softmax_gain", lambda i: softmax_gain(rows[i]), len(rows), fewer=4, long_name=words)
        else:
            words += " (it leaves none: every row is certain)"
            table.figure("softmax_gain", math.nan, long_name=words, status=Status.UNKNOWN)
        table.number("softmax_entropy", softmax_entropy(rows), unit="nat", long_name="mean entropy of the softmax")

    def _density(self, surface: Surface, table: Table, context: Context) -> None:
        found = density(surface, probes=self.num_density, seed=context.seed)
        table.coordinate("place", found.grid)
        for name, values, words in (
            ("density", found.mass.mean(axis=0), "density of the Hessian's eigenvalues, smoothed"),
            ("density_low", found.mass.min(axis=0), "least of its probes"),
            ("density_high", found.mass.max(axis=0), "largest of its probes"),
        ):
            table.keep(name, values, ["place"], long_name=words)

    def draw(self, reading: Any) -> Any:
        from cutaway.curvature.chart import spectrum_chart

        return spectrum_chart(reading)

    def beside(self, figure: str, scalars: Any) -> dict[str, Any]:
        """2 / step size beside the largest eigenvalue: above it plain gradient descent on these rows is unstable
        (Cohen et al. 2021, arXiv 2103.00065)."""
        rate = scalars.get("learning_rate")
        if figure != "largest_eigenvalue" or rate is None:
            return {}
        return {"2 / step size": 2 / np.where(rate > 0, rate, np.nan)}

    def describe(self, reading: Any) -> str:
        top, least = reading.figure("largest_eigenvalue").value, reading.figure("smallest_eigenvalue").value
        trace, part = reading.figure("trace").value, reading.figure("gauss_newton_trace").value
        if not top > 1e-12:
            return "The loss is flat or bends down in every direction here: its largest curvature is " + said(top) + "."
        found = [reading.figure(f"{end}_eigenvalue").status is not Status.BOUND for end in ("largest", "smallest")]
        text = f"Along its sharpest direction the loss curves by {'' if found[0] else 'at least '}{said(top)}"
        steps = f"stable for steps below {said(2 / top)}" if found[0] else f"unstable for steps above {said(2 / top)}"
        text += f", so that plain gradient descent is {steps}"
        text += f"; along its most negative one by {said(least)}{'' if found[1] else ' or less'}."
        if trace > 0 and math.isfinite(part):
            text += f" The slopes of the outputs make {said(part / trace, '.0%')} of the total curvature."
        return text
