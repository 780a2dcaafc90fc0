"""Instrument `sparsity`: which share of units fires, and which units never do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import xarray as xr

from cutaway.features.sparsity import by_neuron, static_dead
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile
from cutaway.network.sites import no_activation
from cutaway.reading import Figure, variable
from cutaway.reading.intervals import mean_interval, proportion_interval
from cutaway.wording import said


@dataclass(frozen=True, kw_only=True)
class Sparsity(Instrument):
    """Non-zero share of activations per site, and dead neurons, dynamic and static.

    Non-zero share: mean over samples and units of 1[|z| > threshold]; for activations that are never exactly zero
    (GELU, SiLU, tanh) `threshold` decides, 0 by default, and their share is then 1: the sign share stands beside it.
    Dynamic dead-neuron rate: share of neurons (channels) whose output is within the threshold on every sample and
    position. Static dead-neuron rate: share of neurons all of whose incoming weights are exactly zero; read from the
    linear or convolution layer that directly feeds the site, NaN where none does. Source: Li et al. 2023 (arXiv
    2210.06313) for the share; Liu et al. 2022 (arXiv 2212.06145) for the two rates. Exact for the samples given,
    estimates for the population. One forward pass a sample.
    """

    threshold: float = 0.0

    name: ClassVar[str] = "sparsity"
    tiles: ClassVar[tuple[Tile, ...]] = (Tile("dead_neuron_rate", "Dead neurons", 60, percent=True),)
    question: ClassVar[str] = "Which share of units fires on an input, and which never fire at all?"
    source: ClassVar[str] = "Li et al. 2023, arXiv 2210.06313; Liu et al. 2022, arXiv 2212.06145"
    expense: ClassVar[str] = "1 forward pass a sample"
    limits: ClassVar[str] = (
        "A neuron that is dead on these samples may fire on others; the rate can only fall with more data."
    )

    def _measure(self, network, data, context):
        sites = network.select("activation")
        if not sites:
            raise NotApplicable(no_activation(network.sites))
        share = {s.name: np.zeros(len(data.inputs)) for s in sites}
        positive = dict.fromkeys(share, 0.0)
        alive: dict[str, torch.Tensor] = {}
        for chunk in network.stream(data.inputs, sites, pre=False, post=True, budget=context.budget):
            for site in sites:
                value = chunk.post[site.name]
                fires = value.abs() > self.threshold
                share[site.name][chunk.rows] = fires.flatten(1).double().mean(dim=1).cpu().numpy()
                positive[site.name] += float((value > 0).double().mean()) * len(value)
                seen = by_neuron(fires)
                alive[site.name] = seen if site.name not in alive else alive[site.name] | seen
        static = static_dead(network, sites)
        dead = np.array([float((~alive[s.name]).double().mean()) for s in sites])
        neurons = np.array([alive[s.name].numel() for s in sites])
        count = context.resamples // 2
        bands = np.array([mean_interval(share[s.name], seed=context.seed, resamples=count) for s in sites])
        values = xr.Dataset(
            {
                "non_zero_share": variable(
                    [share[s.name].mean() for s in sites], ["site"], long_name="share of units that fire"
                ),
                "non_zero_low": variable(
                    bands[:, 0], ["site"], long_name="lower end of its interval", kind="lower_bound"
                ),
                "non_zero_high": variable(
                    bands[:, 1], ["site"], long_name="upper end of its interval", kind="upper_bound"
                ),
                "positive_share": variable(
                    [positive[s.name] / len(data.inputs) for s in sites], ["site"], long_name="share of outputs above 0"
                ),
                "dynamic_dead_rate": variable(dead, ["site"], long_name="neurons that never fire", kind="upper_bound"),
                "static_dead_rate": variable(
                    static, ["site"], long_name="neurons without incoming weights", kind="exact"
                ),
                "neurons": variable(neurons, ["site"], unit="neurons", long_name="neurons (channels)", kind="exact"),
            },
            coords={"site": [s.name for s in sites]},
        )
        whole = np.average(np.stack([share[s.name] for s in sites]), axis=0, weights=[s.width for s in sites])
        low, high = mean_interval(whole, seed=context.seed, resamples=context.resamples)
        num_dead = round(float((dead * neurons).sum()))
        dead_low, dead_high = proportion_interval(num_dead, int(neurons.sum()))
        figures = (
            Figure(
                name="non_zero_share",
                value=float(whole.mean()),
                low=low,
                high=high,
                long_name="share of all units that fire on an input",
            ),
            Figure(
                name="dead_neuron_rate",
                value=num_dead / int(neurons.sum()),
                low=dead_low,
                high=dead_high,
                alternative="greater",
                long_name="share of neurons that never fire on these samples",
            ),
        )
        return Findings(values=values, figures=figures, sites=sites)

    def draw(self, reading):
        from cutaway.pictures.charts import sites_chart

        return sites_chart(
            reading,
            {"non_zero_share": "fires", "dynamic_dead_rate": "dead neurons"},
            band=("non_zero_low", "non_zero_high"),
            title="share of units",
            null_of={"non_zero_share": "non_zero_share"},
        )

    def describe(self, reading):
        share, dead = reading.figure("non_zero_share"), reading.figure("dead_neuron_rate")
        never = f"{said(dead.value, '.1%')} of the neurons" if dead.value != 0 else "no neuron"
        return f"On an input {said(share.value, '.0%')} of the units fire; {never} stayed silent on every sample."
