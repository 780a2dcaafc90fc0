"""Instrument `accuracy`: how often the network is right, and whether its confidence says so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import xarray as xr

from cutaway.instrument import Findings, Instrument, Tile
from cutaway.outputs.calibration import debiased_calibration_error, expected_calibration_error, reliability
from cutaway.reading import Figure, variable
from cutaway.reading.intervals import bootstrap_interval, mean_interval, proportion_interval
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

    bins: int = 15

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
    expense: ClassVar[str] = "1 forward pass a sample"
    limits: ClassVar[str] = "True of data drawn like these samples only; it says nothing of shifted data or of attacks."

    def _measure(self, network, data, context):
        scores = network.outputs(data.inputs, budget=context.budget).double().cpu()
        labels = data.labels.cpu().numpy()
        log_probability = torch.log_softmax(scores, dim=1)
        confidence, predicted = (t.numpy() for t in log_probability.exp().max(dim=1))
        correct = (predicted == labels).astype(float)
        loss = -log_probability.numpy()[np.arange(len(labels)), labels]
        table = reliability(confidence, correct, self.bins)
        classes = np.arange(scores.shape[1])
        hits = np.array([correct[labels == c].sum() for c in classes])
        counts = np.array([(labels == c).sum() for c in classes])
        bands = np.array([proportion_interval(int(h), int(n)) for h, n in zip(hits, counts, strict=True)])
        values = xr.Dataset(
            {
                "bin_confidence": variable(table.confidence, ["bin"], long_name="mean confidence of the bin"),
                "bin_accuracy": variable(table.accuracy, ["bin"], long_name="accuracy of the bin"),
                "bin_low": variable(table.low, ["bin"], long_name="lower end of the bin's band", kind="lower_bound"),
                "bin_high": variable(table.high, ["bin"], long_name="upper end of the bin's band", kind="upper_bound"),
                "bin_count": variable(
                    table.count, ["bin"], unit="samples", long_name="samples in the bin", kind="exact"
                ),
                "class_accuracy": variable(
                    np.divide(hits, counts, out=np.full(len(hits), np.nan), where=counts > 0),
                    ["class"],
                    long_name="accuracy on the class",
                ),
                "class_low": variable(bands[:, 0], ["class"], long_name="lower end of its band", kind="lower_bound"),
                "class_high": variable(bands[:, 1], ["class"], long_name="upper end of its band", kind="upper_bound"),
            },
            coords={"class": classes},
        )
        return Findings(values=values, figures=self._figures(confidence, correct, loss, context))

    def _figures(self, confidence, correct, loss, context):
        n, seed, resamples = len(correct), context.seed, context.resamples

        def error_of(rows):
            return debiased_calibration_error(confidence[rows], correct[rows], self.bins)

        low, high = proportion_interval(int(correct.sum()), n)
        error_low, error_high = bootstrap_interval(error_of, n, seed=seed, resamples=resamples // 2)
        loss_low, loss_high = mean_interval(loss, seed=seed, resamples=resamples)
        sure_low, sure_high = mean_interval(confidence, seed=seed, resamples=resamples)
        error = error_of(np.arange(n))
        return (
            Figure(
                name="accuracy",
                value=float(correct.mean()),
                low=low,
                high=high,
                alternative="greater",
                long_name="share of samples classified right",
            ),
            Figure(
                name="calibration_error",
                value=error,
                low=min(error_low, error),
                high=max(error_high, error),
                long_name="debiased expected calibration error",
            ),
            Figure(
                name="calibration_error_plug_in",
                value=expected_calibration_error(confidence, correct, self.bins),
                long_name="plug-in expected calibration error (biased upwards)",
            ),
            Figure(
                name="log_loss",
                value=float(loss.mean()),
                low=loss_low,
                high=loss_high,
                unit="nat",
                alternative="less",
                long_name="mean negative log-probability of the label",
            ),
            Figure(
                name="confidence",
                value=float(confidence.mean()),
                low=sure_low,
                high=sure_high,
                alternative="greater",
                long_name="mean probability of the predicted class",
            ),
        )

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
