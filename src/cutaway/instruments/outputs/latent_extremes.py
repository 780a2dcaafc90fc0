"""Instrument `latent-extremes`: what do a generator's latents do, set far outside the training's range?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.instrument import Findings, Instrument
from cutaway.network import Network
from cutaway.outputs.latent_extremes import (
    LEVELS,
    LatentEffects,
    effect_p_values,
    latent_effects,
    rank_effects,
    sample_properties,
)
from cutaway.reading import Reading
from cutaway.reading.table import Table
from cutaway.records import Skipped
from cutaway.settings import at_least
from cutaway.wording import said

NAMES = {
    "mass": "mean of the sample",
    "left_right": "left half less right half",
    "top_bottom": "upper half less lower half",
    "mean": "mean of the sample",
    "spread": "spread within the sample",
}


@dataclass(frozen=True, kw_only=True)
class LatentExtremes(Instrument):
    """Largest |rank correlation| over latents of level and property, one latent at a time set to mean + l sd, l = -6 to
    6, the others drawn from the data: of images their mass and the differences of halves, of vectors mean and spread.

    `effect_*` with bootstrap intervals over draws (a maximum: biased upwards, as that of the null is); `any_effect_p`
    by permuting levels, with the search over latents paid for. An untrained decoder moves such properties with its
    latents too, often more: only what is above the re-initialised twin's was learned. Estimates. Cost: 7 d `draws`
    forward passes for d latents. Source: Begus, Leban and Gero 2023 (arXiv 2303.10931) for latents at extremes; the
    estimator is ours.
    """

    draws: int = field(default=60, metadata=at_least(5, "draws of the other latents for a level"))
    permutations: int = field(default=199, metadata=at_least(19, "permutations of levels"))

    name: ClassVar[str] = "latent-extremes"
    question: ClassVar[str] = "What do the latents of this generator do at their extremes?"
    source: ClassVar[str] = "Begus, Leban and Gero 2023, arXiv 2303.10931; the estimator is ours"
    needs: ClassVar[frozenset[str]] = frozenset({"generator"})
    formula: ClassVar[str] = r"\max_j |\rho_s(l, P(G(z_1, \ldots, z_j = \mu_j + l \sigma_j, \ldots, z_d)))|"
    expense: ClassVar[str] = "420 forward passes a latent"
    limits: ClassVar[str] = (
        "Only properties that can be read off the samples without a model, and effects that rise or fall; beside a "
        "large null it shows what any network of this shape does."
    )

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data)
        properties = sample_properties(tuple(network.output_shape))
        found = latent_effects(
            network, sample.data.inputs, properties, draws=self.draws, seed=context.seed, budget=context.budget
        )
        table = context.table({"property": list(properties), "level": list(LEVELS)})
        table.keep("effect", found.effect, ["latent", "property"], long_name="rank correlation of level and property")
        table.keep("curve", found.curve, ["latent", "property", "level"], long_name="mean property at the level")
        p, skipped = effect_p_values(found, permutations=self.permutations, seed=context.seed), []
        for k, name in enumerate(properties):
            if np.isnan(found.effect[:, k]).all():
                skipped.append(Skipped(what=f"effect_{name}", reason="it is the same in all samples"))
                continue
            self._figure(found, k, name, table)
            words = f"p-value of: no latent moves the {NAMES[name]}"
            table.figure(f"any_effect_p_{name}", p[k], alternative="none", long_name=words)
        return Findings.of(table, skipped=tuple(skipped))

    def _figure(self, found: LatentEffects, k: int, name: str, table: Table) -> None:
        def largest(draws: np.ndarray) -> float:
            return float(np.nanmax(np.abs(rank_effects(found.values[:, k][..., draws]))))

        words = f"largest rank correlation of a latent's level with the {NAMES[name]}"
        table.statistic(f"effect_{name}", largest, self.draws, fewer=4, alternative="greater", long_name=words)

    def draw(self, reading: Reading):
        from cutaway.pictures.latents import latent_curves_chart

        return latent_curves_chart(reading)

    def describe(self, reading: Reading) -> str:
        parts = []
        for figure in (f for f in reading.figures if f.name.startswith("effect_")):
            name = figure.name.removeprefix("effect_")
            effects = np.abs(reading.values["effect"].sel(property=name).values)
            text = f"latent {int(np.nanargmax(effects))} moves the {NAMES[name]} most, by a rank correlation of "
            text += said(figure.value)
            if figure.null_median is not None:
                text += f" (untrained: {said(figure.null_median)})"
            parts.append(text)
        text = "; ".join(parts)
        text = f"{text[:1].upper()}{text[1:]}. " if parts else "No property changes. "
        if parts and all(f.null_median is None for f in reading.figures):
            text += "An untrained decoder may move them as much: ask for nulls."
        return text.strip()
