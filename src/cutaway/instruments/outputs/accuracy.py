"""Instrument `accuracy`: how often the network is right, and whether its confidence says so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.instrument import Findings, Instrument, Tile
from cutaway.network import Network
from cutaway.outputs.answers import Predictions, predictions
from cutaway.outputs.calibration import debiased_calibration_error, expected_calibration_error, keep_reliability
from cutaway.reading.table import Table
from cutaway.settings import at_least
from cutaway.wording import said


@dataclass(frozen=True, kw_only=True)
class Accuracy(Instrument):
    """Accuracy (share of samples whose largest score is the label's), log loss, and calibration of the largest
    probability.

    Scores are taken as logits (softmax is applied in float64). Accuracy carries a Clopper-Pearson interval, the
    debiased calibration error and the log loss (nats) bootstrap intervals over samples. Per class as well. Estimates;
    one forward pass a sample. Source: Guo et al. 2017 (arXiv 1706.04599) for the diagram, Kumar et al. 2019 (arXiv
    1909.10155) for the bias.
    """

    bins: int = field(default=15, metadata=at_least(1, "bins of confidence, equally wide"))

    name: ClassVar[str] = "accuracy"
    better: ClassVar[Mapping[str, str]] = {
        "accuracy": "higher",
        "calibration_error": "lower",
        "log_loss": "lower",
    }
    tiles: ClassVar[tuple[Tile, ...]] = (
        Tile("accuracy", "Accuracy", 10, percent=True),
        Tile("calibration_error", "Calibration error", 30, percent=True),
    )
    question: ClassVar[str] = "How often is the network right, and does its confidence say so?"
    source: ClassVar[str] = "Guo et al. 2017, arXiv 1706.04599; Kumar et al. 2019, arXiv 1909.10155"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "classifier"})
    formula: ClassVar[str] = (
        r"\mathrm{accuracy} = \frac{1}{n} \sum_i 1[\hat{y}_i = y_i], \quad "
        r"\mathrm{ECE} = \sum_b \frac{n_b}{n} |c_b - a_b|"
    )
    expense: ClassVar[str] = "1 forward pass a sample"
    limits: ClassVar[str] = "True of data drawn like these samples only; it says nothing of shifted data or of attacks."

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data)
        scores, labels = network.outputs(sample.data.inputs, budget=context.budget), sample.labels
        found, classes = predictions(scores, labels), np.arange(scores.shape[1])
        table = context.table({"class": classes, "sample": sample.rows})
        keep_reliability(table, found.confidence, found.correct, self.bins)
        counts = np.array([(labels == c).sum() for c in classes])
        hits = np.array([found.correct[labels == c].sum() for c in classes])
        table.rates("class_accuracy", hits, counts, ["class"], band="class", long_name="accuracy on the class")
        long_name = "share of samples classified right"
        table.rate("accuracy", found.correct, dims=["sample"], alternative="greater", long_name=long_name)
        self._calibration(found, table)
        long_name = "mean negative log-probability of the label"
        table.mean("log_loss", found.loss, unit="nat", alternative="less", long_name=long_name)
        long_name = "mean probability of the predicted class"
        table.mean("confidence", found.confidence, alternative="greater", long_name=long_name)
        return Findings.of(table)

    def _calibration(self, found: Predictions, table: Table) -> None:
        def error_of(rows):
            return debiased_calibration_error(found.confidence[rows], found.correct[rows], self.bins)

        long_name = "debiased expected calibration error"
        table.statistic("calibration_error", error_of, len(found.correct), fewer=2, long_name=long_name)
        plug_in = expected_calibration_error(found.confidence, found.correct, self.bins)
        long_name = "plug-in expected calibration error (biased upwards)"
        table.figure("calibration_error_plug_in", plug_in, long_name=long_name)

    def draw(self, reading):
        from cutaway.pictures.charts import reliability_chart

        return reliability_chart(reading)

    def brief(self, reading):
        return f"right on {said(reading.figure('accuracy').value, '.1%')} of the inputs"

    def describe(self, reading):
        accuracy, error = reading.figure("accuracy"), reading.figure("calibration_error")
        sure = reading.figure("confidence")
        side = "over-confident" if sure.value > accuracy.value else "under-confident"
        text = f"Right on {accuracy.value:.1%} of the samples"
        text += f", at a mean confidence of {sure.value:.1%}." if math.isfinite(sure.value) else "."
        if error.low is not None and error.low > 0.01 and math.isfinite(error.value):
            text += f" The network is {side}: its confidence is off by {error.value:.1%} on average."
        return text
