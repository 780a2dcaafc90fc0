"""Instruments `language-geometry` and `intrinsic-dimension`: where a prompt lies in every block of a language model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import xarray as xr

from cutaway.errors import ModelError
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile
from cutaway.language.geometry import FEATURE_NAMES, GeometryReader
from cutaway.reading import Figure, variable
from cutaway.reading.intervals import mean_interval
from cutaway.wording import said


@dataclass(frozen=True, kw_only=True)
class LanguageGeometry(Instrument):
    """The seven features of `cutaway.language.geometry` for every row of tokens and every MLP block.

    `features` (sample, block, feature); figures: their means over samples and blocks with bootstrap intervals over
    samples, and the separability of a labelled set (cross-validated AUROC of a logistic regression on all features,
    two classes only). Estimates; one forward pass a sample.
    """

    batch_size: int = 32

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
    expense: ClassVar[str] = "1 forward pass a sample"
    limits: ClassVar[str] = "Distances are in each block's normalised hidden space, not in the space of prompts."

    def _measure(self, network, data, context):
        try:
            reader = GeometryReader(network.model, network.place(data.inputs[:1]))
        except ModelError as error:
            raise NotApplicable(str(error)) from error
        parts = []
        for start in range(0, len(data.inputs), self.batch_size):
            rows = network.place(data.inputs[start : start + self.batch_size])
            parts.append(reader.read(rows).pooled.cpu())
            network.forward_passes += len(rows)
        pooled = torch.cat(parts).numpy().astype(float)
        values = xr.Dataset(
            {"features": variable(pooled, ["sample", "block", "feature"], long_name="spline features of MLP blocks")},
            coords={"block": [b.name for b in reader.blocks], "feature": list(FEATURE_NAMES)},
        )
        figures = tuple(self._mean(pooled, k, context) for k in (0, 3, 4, 5))
        separability = self._separability(pooled, data.labels, context)
        return Findings(values=values, figures=figures + separability)

    def _mean(self, pooled, k, context):
        per_sample = pooled[:, :, k].mean(1)
        low, high = mean_interval(per_sample, seed=context.seed, resamples=context.resamples)
        name = FEATURE_NAMES[k]
        what = "share of active gates" if name.startswith("share") else "distance to the nearest gate"
        return Figure(
            name=name,
            value=float(per_sample.mean()),
            low=low,
            high=high,
            unit="1" if name.startswith("share") else "hidden units",
            long_name=f"{what}: {name.split('_')[1]} over a prompt's tokens, mean over blocks",
        )

    def _separability(self, pooled, labels, context):
        if labels is None or len(np.unique(labels.numpy())) != 2 or np.bincount(labels.numpy()).min() < 5:
            return ()
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import roc_auc_score
        from sklearn.model_selection import StratifiedKFold, cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        from cutaway.reading.intervals import bootstrap_interval

        y = labels.numpy()
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=400, class_weight="balanced"))
        folds = StratifiedKFold(5, shuffle=True, random_state=context.seed % 2**31)
        flat = pooled.reshape(len(pooled), -1)
        scores = cross_val_predict(model, flat, y, cv=folds, method="decision_function")

        def auroc(rows):
            return float(roc_auc_score(y[rows], scores[rows])) if len(set(y[rows])) == 2 else float("nan")

        low, high = bootstrap_interval(auroc, len(y), seed=context.seed, resamples=context.resamples)
        return (
            Figure(
                name="auroc",
                value=auroc(np.arange(len(y))),
                low=low,
                high=high,
                alternative="greater",
                long_name="AUROC of the labels from the features (5-fold cross-validation)",
            ),
        )

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
