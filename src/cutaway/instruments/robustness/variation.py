"""Instrument `variation`: does accuracy survive the way the task is drawn?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from scipy import stats

from cutaway import seeds
from cutaway.context import Context, Sample
from cutaway.data import Dataset
from cutaway.instrument import Findings, Instrument, NotApplicable
from cutaway.network import Network
from cutaway.outputs.groups import least_interval, simultaneous_intervals
from cutaway.reading import Reading, Skipped
from cutaway.reading.table import Table
from cutaway.robustness.variation import PARAMETERS, draw_versions, redrawn, variance_shares
from cutaway.settings import above, at_least
from cutaway.wording import said

SHOWN = 8
"""Versions whose pictures are kept, from the worst to the best."""


@dataclass(frozen=True, kw_only=True)
class Variation(Instrument):
    """Accuracy over `versions` draws of the task (see `cutaway.robustness.variation`): mean, standard deviation over
    versions beside that over resamples of the rows (the null: what another sample of the same task would change), and
    the worst version.

    The same versions are drawn for every network and seed, so that networks may be compared; version 0 is the task as
    it is. The worst version's interval holds for all versions at once (Clopper-Pearson, Bonferroni). Mean and standard
    deviation carry bootstrap intervals over versions. Shares of variance by version, row and interaction; which
    parameter explains the accuracy, by Spearman's correlation with its size. Estimates. Cost: `versions` forward
    passes a row. Source: after Miller 2024 (arXiv 2411.00640) on evaluation error, and Searle, Casella and McCulloch
    1992 for the components; the family is our own.
    """

    versions: int = field(default=40, metadata=at_least(3, "draws of the task, the first as it is"))
    strength: float = field(default=1.0, metadata=above(0, "factor on all parameters of the family"))
    num_points: int = field(default=500, metadata=at_least(2, "rows, spread evenly over the classes"))

    name: ClassVar[str] = "variation"
    question: ClassVar[str] = "Does accuracy survive the way the task is drawn?"
    source: ClassVar[str] = "Searle, Casella and McCulloch 1992 (variance components); the family is our own"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "inputs", "classifier"})
    formula: ClassVar[str] = r"\mathrm{sd}_v \frac{1}{n} \sum_i 1[\hat{y}(T_v x_i) = y_i]"
    expense: ClassVar[str] = "versions forward passes a sample"
    in_scan: ClassVar[bool] = False
    better: ClassVar[Mapping[str, str]] = {"mean_accuracy": "higher", "worst_version": "higher"}
    limits: ClassVar[str] = (
        "Of this family of versions; look at the pictures whether a person would still answer, and lower the strength "
        "where not."
    )

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        if data.inputs.ndim != 4 or min(data.inputs.shape[2:]) < 4:
            raise NotApplicable(f"needs images (n, channels, height, width); found inputs {data.input_shape}")
        sample = context.sample(network, data, self.num_points)
        drawn = draw_versions(
            self.versions, strength=self.strength, rng=np.random.default_rng(seeds.stream(0, "versions"))
        )
        hits = np.stack([self._hits(network, sample, version, context) for version in drawn]).astype(float)
        shares = hits.mean(axis=1)
        table = context.table({"version": np.arange(self.versions), "parameter": list(PARAMETERS)})
        table.keep("version_accuracy", shares, ["version"], long_name="share of rows right in the version")
        table.keep("drawn", drawn, ["version", "parameter"], long_name="the version's parameters")
        self._figures(table, hits)
        self._explained(table, drawn, shares)
        order = np.argsort(shares, kind="stable")
        shown = order[np.unique(np.linspace(0, len(order) - 1, SHOWN).round().astype(int))]
        first = _unit(sample.data, sample.data.inputs[:1].double())
        pictures = torch.cat([redrawn(first, drawn[v], photometric=_ranged(data)) for v in shown])
        table.coordinate("shown", shown)
        dims = ["shown", "channel", "height", "width"]
        table.keep("picture", pictures.numpy(), dims, long_name="the first row in this version", kind="exact")
        geometry = "contrast, gamma and offset need data in a known range; only the geometry was varied"
        skipped = () if _ranged(data) else (Skipped(what="photometric changes", reason=geometry),)
        return Findings.of(table, sites=network.sites, skipped=skipped)

    def _hits(self, network: Network, sample: Sample, version: np.ndarray, context: Context) -> np.ndarray:
        data, found = sample.data, []
        rows = max(1, min(len(sample), context.budget // max(1, 64 * data.inputs[0].numel())))
        for start in range(0, len(sample), rows):
            part = data.inputs[start : start + rows]
            images = redrawn(_unit(data, part.double()), version, photometric=_ranged(data))
            images = _units_back(data, images).to(part.dtype) if version.any() else part
            scores = network.outputs(images, budget=context.budget)
            found.append(scores.argmax(dim=1).cpu().numpy() == sample.labels[start : start + rows])
        return np.concatenate(found)

    def _figures(self, table: Table, hits: np.ndarray) -> None:
        shares, rows = hits.mean(axis=1), hits.shape[1]
        table.rate("accuracy", hits[0], alternative="none", long_name="share of rows right in the task as it is")
        words = "accuracy averaged over versions of the task"
        table.statistic("mean_accuracy", lambda v: float(shares[v].mean()), len(shares), long_name=words)
        words = "standard deviation of accuracy over versions"
        table.statistic("sd_over_versions", lambda v: float(shares[v].std(ddof=1)), len(shares), long_name=words)
        words = "standard deviation of accuracy over resamples of the rows of the task as it is"
        resampled = float(np.sqrt(shares[0] * (1 - shares[0]) / rows))
        table.figure("sd_over_resamples", resampled, alternative="none", long_name=words)
        bands = simultaneous_intervals(hits.sum(axis=1).astype(int), np.full(len(shares), rows))
        worst = "accuracy in the version where it is least"
        table.figure("worst_version", shares.min(), least_interval(bands), long_name=worst)
        parts = variance_shares(hits)
        for part, of in (("version", "which version it is"), ("row", "which row it is"), ("interaction", "both")):
            value = getattr(parts, part)
            table.figure(f"{part}_share", value, long_name=f"share of the variance of being right due to {of}")

    def _explained(self, table: Table, drawn: np.ndarray, shares: np.ndarray) -> None:
        effects, chance = [], []
        for column in drawn.T:
            varies = bool(column.any()) and float(np.ptp(shares)) > 0
            test: Any = stats.spearmanr(np.abs(column), shares) if varies else (np.nan, np.nan)
            effects.append(float(test[0]))
            chance.append(min(1.0, float(test[1]) * len(PARAMETERS)))
        words = "rank correlation of accuracy with the parameter's size, over versions"
        table.keep("explains", effects, ["parameter"], long_name=words)
        table.keep("explains_p", chance, ["parameter"], long_name="p-value of it, times the number of parameters")

    def draw(self, reading: Reading):
        from cutaway.pictures.audits import versions_chart

        return versions_chart(reading)

    def describe(self, reading: Reading) -> str:
        value = {f.name: f.value for f in reading.figures}
        count = reading.values.sizes["version"]
        text = f"Right on {said(value['accuracy'], '.1%')} of the rows as they are, on "
        text += f"{said(value['mean_accuracy'], '.1%')} averaged over {count} versions of the task, on "
        text += f"{said(value['worst_version'], '.1%')} in the worst. "
        spread, noise = value["sd_over_versions"], value["sd_over_resamples"]
        text += f"The version moves accuracy by {said(100 * spread)} points (standard deviation)"
        if noise > 0:
            text += f", {said(spread / noise, '.1f')} times what another sample of rows would ({said(100 * noise)})."
        else:
            text += "; the rows as they are leave no error to resample."
        effects, chance = reading.values["explains"].values, reading.values["explains_p"].values
        sure = [k for k in range(len(effects)) if chance[k] <= 0.05 and effects[k] < 0]
        if sure:
            worst = min(sure, key=lambda k: effects[k])
            name = str(reading.values["parameter"].values[worst])
            text += (
                f" It falls most with the size of the {name} (rank correlation {said(float(effects[worst]), '.2f')})."
            )
        return text

    def brief(self, reading: Reading) -> str:
        return f"{said(reading.figure('mean_accuracy').value, '.0%')} are right when the task is drawn otherwise"


def _ranged(data: Dataset) -> bool:
    return data.value_range is not None


def _unit(data: Dataset, inputs: torch.Tensor) -> torch.Tensor:
    """Inputs before normalisation, in [0, 1] of the value range where there is one."""
    if data.mean is not None and data.std is not None:
        inputs = inputs * data.channels(data.std) + data.channels(data.mean)
    if data.value_range is None:
        return inputs
    low, high = data.value_range
    return (inputs - low) / (high - low)


def _units_back(data: Dataset, images: torch.Tensor) -> torch.Tensor:
    if data.value_range is not None:
        low, high = data.value_range
        images = images * (high - low) + low
    if data.mean is None or data.std is None:
        return images
    return (images - data.channels(data.mean)) / data.channels(data.std)
