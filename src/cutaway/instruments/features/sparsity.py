"""Instrument `sparsity`: which share of units fires, and which units never do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.features.sparsity import firing, static_dead
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile
from cutaway.network import Network
from cutaway.network.sites import no_activation
from cutaway.settings import at_least
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

    threshold: float = field(default=0.0, metadata=at_least(0, "size up to which an activation counts as not firing"))

    name: ClassVar[str] = "sparsity"
    tiles: ClassVar[tuple[Tile, ...]] = (Tile("dead_neuron_rate", "Dead neurons", 60, percent=True),)
    question: ClassVar[str] = "Which share of units fires on an input, and which never fire at all?"
    source: ClassVar[str] = "Li et al. 2023, arXiv 2210.06313; Liu et al. 2022, arXiv 2212.06145"
    formula: ClassVar[str] = r"\frac{1}{n m} \sum_{i=1}^{n} \sum_{j=1}^{m} 1[|z_j(x_i)| > t]"
    expense: ClassVar[str] = "1 forward pass a sample"
    limits: ClassVar[str] = (
        "A neuron that is dead on these samples may fire on others; the rate can only fall with more data."
    )

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sites = network.select("activation")
        if not sites:
            raise NotApplicable(no_activation(network.sites))
        sample = context.sample(network, data)
        found = firing(network, sample.data.inputs, sites, self.threshold, budget=context.budget)
        table = context.table({"site": [s.name for s in sites]})
        table.means("non_zero_share", found.share, ["site"], band="non_zero", long_name="share of units that fire")
        table.keep("positive_share", found.positive, ["site"], long_name="share of outputs above 0")
        dead = found.silent / found.neurons
        table.keep("dynamic_dead_rate", dead, ["site"], long_name="neurons that never fire", kind="upper_bound")
        static = static_dead(network, sites)
        table.keep("static_dead_rate", static, ["site"], long_name="neurons without incoming weights", kind="exact")
        table.keep("neurons", found.neurons, ["site"], unit="neurons", long_name="neurons (channels)", kind="exact")
        whole = np.average(found.share, axis=1, weights=[s.width for s in sites])
        table.mean("non_zero_share", whole, long_name="share of all units that fire on an input")
        never = np.arange(found.neurons.sum()) < found.silent.sum()
        long_name = "share of neurons that never fire on these samples"
        table.rate("dead_neuron_rate", never, alternative="greater", long_name=long_name)
        return Findings.of(table, sites=sites)

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
