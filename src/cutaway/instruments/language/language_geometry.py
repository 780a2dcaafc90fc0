"""Instruments `language-geometry` and `intrinsic-dimension`: where a prompt lies in every block of a language model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
import torch

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.errors import ModelError
from cutaway.instrument import Findings, Instrument, Tile, not_applicable
from cutaway.language.geometry import FEATURE_NAMES, GeometryReader
from cutaway.language.separability import area_under_curve, cross_validated_scores
from cutaway.network import Network
from cutaway.settings import at_least
from cutaway.wording import said

_DISTANCE = ("distance to the nearest gate", "hidden units")


@dataclass(frozen=True, kw_only=True)
class LanguageGeometry(Instrument):
    """The seven features of `cutaway.language.geometry` for every row of tokens and every MLP block.

    `features` (sample, block, feature); figures: their means over samples and blocks with bootstrap intervals over
    samples, and the separability of a labelled set (cross-validated AUROC of a logistic regression on all features,
    two classes only). Estimates; one forward pass a sample.
    """

    batch_size: int = field(default=32, metadata=at_least(1, "rows of tokens in one pass"))

    name: ClassVar[str] = "language-geometry"
    better: ClassVar[Mapping[str, str]] = {"auroc": "higher"}
    tiles: ClassVar[tuple[Tile, ...]] = (
        Tile("auroc", "Labels told apart (AUROC)", 10),
        Tile("share_mean", "Active gates", 13, percent=True),
        Tile("distance_min", "Nearest gate", 14),
    )
    question: ClassVar[str] = "In which region of every MLP block does a prompt lie, and how near to its border?"
    source: ClassVar[str] = "Balestriero et al. 2023, arXiv 2312.01648, section 4"
    needs: ClassVar[frozenset[str]] = frozenset({"tokens"})
    formula: ClassVar[str] = r"s_t = \frac{1}{F} \sum_j 1[h_{tj} > 0], \quad d_t = \min_j \frac{|h_{tj}|}{\|w_j\|_2}"
    expense: ClassVar[str] = "1 forward pass a sample"
    limits: ClassVar[str] = "Distances are in each block's normalised hidden space, not in the space of prompts."

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data)
        with not_applicable(ModelError):
            reader = GeometryReader(network.model, sample.inputs[:1])
        pooled = torch.cat([reader.read(rows).pooled.cpu() for rows in sample.passes(self.batch_size)])
        pooled = pooled.numpy().astype(float)
        table = context.table({"block": [b.name for b in reader.blocks], "feature": list(FEATURE_NAMES)})
        table.keep("features", pooled, ["sample", "block", "feature"], long_name="spline features of MLP blocks")
        for k in (0, 3, 4, 5):
            name = FEATURE_NAMES[k]
            what, unit = ("share of active gates", "1") if name.startswith("share") else _DISTANCE
            long_name = f"{what}: {name.split('_')[1]} over a prompt's tokens, mean over blocks and prompts"
            table.mean(name, pooled[:, :, k].mean(1), unit=unit, long_name=long_name)
        labels = None if data.labels is None else data.labels.cpu().numpy()
        if labels is not None and len(np.unique(labels)) == 2 and np.bincount(labels).min() >= 5:
            scores = cross_validated_scores(pooled.reshape(len(pooled), -1), labels, seed=context.seed)
            long_name = "AUROC of the labels from the features (5-fold cross-validation)"
            auroc = partial(area_under_curve, labels, scores)
            table.statistic("auroc", auroc, len(labels), alternative="greater", long_name=long_name)
        return Findings.of(table)

    def draw(self, reading):
        from cutaway.language.charts import feature_map

        return feature_map(reading.values)

    def brief(self, reading):
        return f"{said(reading.figure('share_mean').value, '.0%')} of its gates are open on an average token"

    def describe(self, reading):
        share, near = reading.figure("share_mean").value, reading.figure("distance_min").value
        text = f"On an average token {said(share, '.0%')} of the gates of a block are open; the nearest gate lies "
        text += f"{said(near)} hidden units away."
        named = {f.name: f for f in reading.figures}
        if "auroc" in named:
            text += f" These features alone tell the labels apart with an AUROC of {said(named['auroc'].value)}."
        return text
