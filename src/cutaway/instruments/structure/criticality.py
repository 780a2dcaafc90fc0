"""Instrument `criticality`: does a signal keep its size through the layers, and does a small change of the input?"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.instrument import Findings, Instrument, NotApplicable
from cutaway.network import Network
from cutaway.reading import Reading
from cutaway.reading.table import Table
from cutaway.settings import at_least
from cutaway.structure.criticality import growth_by_layer
from cutaway.wording import said

LEAST = 1e-300  # a change that died altogether
KEPT = 10.0  # a change that ends within this factor of its first size went through


@dataclass(frozen=True, kw_only=True)
class Criticality(Instrument):
    """How a signal and a small change of the input grow from one activation to the next.

    At site l of L, for input x and a random direction v: K_l = mean over units of z_l^2, D_l = mean over units of
    (dz_l / dx v)^2, by forward-mode differentiation. Growth of a change chi_l = D_l / D_(l-1) (geometric mean over
    samples), which a critical network keeps at 1 (chi_perp of a wide network); growth of the signal K_l / K_(l-1).
    Multiplying the weights between two sites by chi_l^(-1/2) would make its growth 1. Beside it the mean square slope
    of the activation, so that what the layers do (chi over slope) can be told from what the activation does, and depth
    over width, which says how far one draw of the weights is from another (relative variance of K about 5 L / n for
    ReLU). Estimates over samples, one direction each. Source: Roberts, Yaida and Hanin 2022, chapter 5; measured on
    the network itself, so that residual sums, attention and normalisation are in it. Cost: two forward passes a sample.
    """

    num_points: int = field(default=64, metadata=at_least(2, "samples, each with one random direction"))

    name: ClassVar[str] = "criticality"
    question: ClassVar[str] = "Do signals and small changes keep their size through the layers?"
    source: ClassVar[str] = "Roberts, Yaida and Hanin 2022, arXiv 2106.10165, chapter 5"
    needs: ClassVar[frozenset[str]] = frozenset({"inputs"})
    formula: ClassVar[str] = r"\chi_l = \frac{E_x |\partial_v z_l(x)|^2}{E_x |\partial_v z_{l-1}(x)|^2}"
    expense: ClassVar[str] = "2 forward passes a sample"
    limits: ClassVar[str] = (
        "A trained network need not be critical; the figures tell how it began or what training made of it. Layers "
        "without an activation between them count as one."
    )

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sites = network.select("activation")
        if len(sites) < 2:
            raise NotApplicable("needs two activations in a row; found " + ("one" if sites else "none"))
        sample = context.sample(network, data, self.num_points)
        rows = network.chunk_size(sample.inputs, sites, context.budget, factor=2)
        found = growth_by_layer(network, sample.inputs, sites, generator=context.generator(), batch_size=rows)
        change = np.log(np.maximum(found.change, LEAST))
        signal = np.log(np.maximum(found.signal, LEAST))
        table = context.table({"site": [s.name for s in sites], "sample": sample.rows})
        self._by_site(found.slope.mean(axis=0), change, signal, table)
        self._figures(change, signal, table)
        width = len(sites) / sum(1 / s.width for s in sites)
        words = "layers over the harmonic mean of their widths"
        table.number("depth_over_width", len(sites) / width, kind="exact", alternative="none", long_name=words)
        return Findings.of(table, sites=sites)

    def _by_site(self, slope: np.ndarray, change: np.ndarray, signal: np.ndarray, table: Table) -> None:
        """`slope` (site), log mean squares `change` and `signal` (sample, site)."""
        ratios = np.diff(change, axis=1)
        by_layer = np.concatenate([[math.nan], np.exp(ratios.mean(axis=0))])
        table.keep("growth", by_layer, ["site"], long_name="growth of a small change from the site before")
        table.keep("signal", np.exp(signal.mean(axis=0)), ["site"], long_name="mean square of the values before it")
        table.keep("change", np.exp(change.mean(axis=0)), ["site"], long_name="mean square of the change before it")
        table.keep("slope", slope, ["site"], long_name="mean square slope of the activation, by the change it passes")
        before = np.concatenate([[math.nan], slope[:-1]])
        table.keep("layers", by_layer / before, ["site"], long_name="growth by the layers before it alone")

    def _figures(self, change: np.ndarray, signal: np.ndarray, table: Table) -> None:
        count, steps = len(change), change.shape[1] - 1
        ratios = np.diff(change, axis=1)

        def growth(chosen: np.ndarray) -> float:
            return math.exp((change[chosen, -1] - change[chosen, 0]).mean() / steps)

        def worst(chosen: np.ndarray) -> float:
            means = ratios[chosen].mean(axis=0)
            return math.exp(means[np.abs(means).argmax()])

        def grown(chosen: np.ndarray) -> float:
            return math.exp((signal[chosen, -1] - signal[chosen, 0]).mean() / steps)

        table.statistic("growth", growth, count, long_name="growth of a small change from layer to layer")
        words = "growth of a small change at the layer where it is farthest from 1"
        table.statistic("worst_growth", worst, count, long_name=words)
        table.statistic("signal_growth", grown, count, long_name="growth of the signal from layer to layer")

    def draw(self, reading: Reading):
        from cutaway.pictures.structure import growth_chart

        return growth_chart(reading)

    def describe(self, reading: Reading) -> str:
        growth = reading.figure("growth").value
        steps = reading.values.sizes["site"] - 1
        whole, each = growth**steps if growth else 0.0, f"{said(growth)} times a layer"
        if 1 / KEPT < whole < KEPT:
            text = (
                f"A small change of the input comes through {steps + 1} activations about as large as it was ({each})."
            )
        else:
            what = "dies out" if whole < 1 else "explodes"
            text = (
                f"A small change of the input {what} on its way through {steps + 1} activations: {said(whole)} times "
            )
            text += f"its mean square is left ({each}); weights multiplied by {said(growth**-0.5)} in every "
            text += "layer would keep it."
        values = reading.values["growth"].values[1:]
        worst = int(np.abs(np.log(np.maximum(values, LEAST))).argmax())
        name = str(reading.values["site"].values[worst + 1])
        text += f" Farthest from 1 is the growth at {name}: {said(float(values[worst]))}"
        return text + f", and {said(float(reading.values['layers'].values[worst + 1]))} by the layers before it alone."

    def brief(self, reading: Reading) -> str:
        whole = reading.figure("growth").value ** (reading.values.sizes["site"] - 1)
        if 1e-3 < whole < 1e3:
            return ""
        return "small changes of the input " + ("die out" if whole < 1 else "explode") + " on their way through it"
