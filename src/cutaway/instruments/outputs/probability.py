"""Instrument `probability`: may one multiply by the network's probabilities?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from cutaway import seeds
from cutaway.context import Context, Sample
from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.instrument import Findings, Instrument
from cutaway.network import Network
from cutaway.outputs.calibration import keep_reliability
from cutaway.outputs.calibrators import load_calibrator
from cutaway.outputs.order import losses_of_maps
from cutaway.outputs.probability import (
    Floats,
    brier_terms,
    calibration_errors,
    log_loss_terms,
    miscalibration_p,
    paired_terms,
    refuse_copies,
)
from cutaway.reading import Reading
from cutaway.reading.table import Table
from cutaway.records import Skipped
from cutaway.settings import at_least, means
from cutaway.wording import said

FEWEST = 20  # rows for maps that are fitted on one half and judged on the other


@dataclass(frozen=True, kw_only=True)
class Probability(Instrument):
    """Brier score, log loss, calibration of one event, and, with a second label a row, the error against the unknown
    true probabilities.

    Brier = mean over rows of sum_k (p_k - 1[y = k])^2 and log loss (nats) judge all classes; with `column`, or two
    classes, the one event (p - y)^2. Calibration errors judge an event: the class `column`, the second of two classes,
    else "the predicted class is right". `miscalibration_p` is the p-value of "the forecast is the truth". With
    `labels2`: `mse_p` = mean of sum_k (p_k - 1[y1 = k])(p_k - 1[y2 = k]), unbiased for E sum_k (p_k - P_k)^2, and
    `noise_floor` = Brier - mse_p, the part of Brier that no forecaster can take away; it must be half the sum over
    classes of squared differences of the two labels (`floor_check`, whose interval should hold 0), or the labels are
    no two draws of the same outcome. Log losses of the event after a temperature, a rising map and a logistic of the
    rank alone (each fitted on the other half of the rows) tell whether more than the order of the scores counts.
    Bootstrap intervals over rows. One forward pass a row. Source: Liu et al. (arXiv 2111.10734) for calibration against
    MSE_p; the paired estimate is derived here.
    """

    column: int = field(default=-1, metadata=at_least(-1, "class whose probability is judged; -1: all of them"))
    bins: int = field(default=10, metadata=at_least(1, "bins of equal count for calibration"))
    calibrator: str = field(default="", metadata=means("file of save_calibrator to apply first; empty: softmax"))

    name: ClassVar[str] = "probability"
    question: ClassVar[str] = "May one multiply by these probabilities?"
    source: ClassVar[str] = "Liu et al. 2022, arXiv 2111.10734; paired estimate derived here"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "classifier"})
    formula: ClassVar[str] = (
        r"\mathrm{MSE}_p = \frac{1}{n} \sum_i \sum_k (p_{ik} - 1[y_i = k])(p_{ik} - 1[y'_i = k]), \quad "
        r"\mathrm{Brier} = \mathrm{MSE}_p + \mathrm{noise}"
    )
    expense: ClassVar[str] = "1 forward pass a sample"
    limits: ClassVar[str] = (
        "A calibration error near 0 says nothing of single rows: a constant at the base rate has it too. Without a "
        "second label the Brier score mixes the network's error with the noise of the outcomes."
    )
    null: ClassVar[str] = "permuted-labels"
    better: ClassVar[Mapping[str, str]] = {"brier": "lower", "log_loss": "lower", "mse_p": "lower"}

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data, balanced=False)
        scores = network.outputs(sample.data.inputs, budget=context.budget).double().cpu()
        p = self._probabilities(scores, data)
        rows, skipped = len(p), []
        table = context.table({"sample": sample.rows})
        column = 1 if self.column < 0 and p.shape[1] == 2 else self.column
        if column >= 0:
            judged, labels, event = p[:, column], (sample.labels == column).astype(float), p[:, column]
            happened, words = labels, f"class {column}"
        else:
            judged, labels, event = p, sample.labels, p.max(axis=1)
            happened, words = (p.argmax(axis=1) == labels).astype(float), "the predicted class is right"
        base = happened.mean() if column >= 0 else np.bincount(labels, minlength=p.shape[1]) / rows
        brier = brier_terms(judged, labels)
        words_of_brier = "Brier score, mean squared distance of forecast and outcome"
        table.mean("brier", brier, dims=["sample"], alternative="less", long_name=words_of_brier)
        constant = brier_terms(np.broadcast_to(base, judged.shape), labels).mean()
        table.figure("brier_constant", constant, alternative="none", long_name="Brier score of a constant forecast")
        text = "mean negative log-probability of the label"
        table.mean("log_loss", log_loss_terms(judged, labels), unit="nat", alternative="less", long_name=text)
        self._paired(sample, column, judged, brier, table)
        keep_reliability(table, *_by_chance(event, happened, context.seed), min(self.bins, rows))
        skipped += self._calibration(event, happened, context, table, words)
        skipped += _order(event, happened, context, table)
        return Findings.of(table, skipped=tuple(skipped))

    def _probabilities(self, scores, data: Dataset) -> Floats:
        if self.column >= scores.shape[1]:
            raise InputError(
                f"setting 'column' of instrument {self.name!r}",
                found=str(self.column),
                expected=f"-1 to {scores.shape[1] - 1}, a class of data {data.name!r}",
                remedy="name a class by its number",
            )
        if self.calibrator:
            return load_calibrator(self.calibrator).probabilities(scores)
        return scores.softmax(dim=1).numpy()

    def _paired(self, sample: Sample, column: int, judged: Floats, brier: Floats, table: Table) -> None:
        if sample.data.labels2 is None:
            return
        first, second = sample.labels, sample.labels2
        refuse_copies(first, second, f"second labels of data {sample.data.name!r}")
        differs = (first != second).astype(float)
        if column >= 0:
            first, second = (first == column).astype(float), (second == column).astype(float)
            differs = (first != second) / 2
        terms = paired_terms(judged, first, second)
        text = "squared error against the true probabilities"
        table.mean("mse_p", terms, dims=["sample"], alternative="less", long_name=text)
        text = "noise of the outcomes, which no forecast takes away"
        table.mean("noise_floor", brier - terms, alternative="none", long_name=text)
        text = "noise floor less half the squared disagreement of the labels; 0 for two draws of one outcome"
        table.mean("floor_check", brier - terms - differs, alternative="none", long_name=text)

    def _calibration(
        self, event: Floats, happened: Floats, context: Context, table: Table, words: str
    ) -> list[Skipped]:
        found = calibration_errors(event, happened, bins=self.bins, seed=context.seed)
        named = {
            "calibration_error": (found.mean_gap, f"mean gap over bins of equal count, event: {words}"),
            "calibration_error_max": (found.largest_gap, "largest gap of a bin"),
            "calibration_ks": (found.kolmogorov, "largest gap of cumulated forecast and outcomes"),
            "calibration_rms": (found.mended, "root mean square gap over bins of 100 rows"),
        }
        for name, (value, text) in named.items():
            table.figure(name, value, alternative="less", long_name=text)
        chance = miscalibration_p(event, happened, seed=context.seed)
        text = "p-value of: these are the true probabilities of the event"
        table.figure("miscalibration_p", chance, alternative="none", long_name=text)
        if math.isnan(found.published):
            return [Skipped(what="calibration error as published", reason="it judges no row of fewer than 200")]
        text = "root mean square gap as published, without the most confident bin"
        table.figure("calibration_rms_published", found.published, alternative="less", long_name=text)
        return []

    def draw(self, reading: Reading):
        from cutaway.pictures.charts import reliability_chart

        return reliability_chart(reading, "probability", "share of events")

    def describe(self, reading: Reading) -> str:
        brier, constant = reading.figure("brier"), reading.figure("brier_constant")
        text = f"Brier score {said(brier.value)}, where a constant forecast has {said(constant.value)}."
        names = {figure.name for figure in reading.figures}
        if "mse_p" in names:
            error, floor, check = (reading.figure(n) for n in ("mse_p", "noise_floor", "floor_check"))
            text += f" Of it {said(floor.value)} is noise of the outcomes; {said(error.value)} is the network's error "
            text += "against the true probabilities."
            if check.low is not None and check.high is not None and not check.low <= 0 <= check.high:
                text += " But the two labels are no two draws of one outcome: the noise floor misses half their "
                text += f"squared disagreement by {said(check.value)}."
        chance = reading.figure("miscalibration_p").value
        if chance <= 0.05:
            text += f" Its probabilities are not the true ones (p = {said(chance)}): calibrate it before multiplying."
        if "log_loss_rank" in names and reading.figure("log_loss_rank").value <= _best(reading):
            text += " The rank of a score says as much as its size: use its order only."
        return text

    def brief(self, reading: Reading) -> str:
        if reading.figure("miscalibration_p").value > 0.05:
            return ""
        return f"its probabilities are off by {said(reading.figure('calibration_error').value, '.1%')} on average"


def _best(reading: Reading) -> float:
    return min(reading.figure(n).value for n in ("log_loss_temperature", "log_loss_isotonic"))


def _order(event: Floats, happened: Floats, context: Context, table: Table) -> list[Skipped]:
    if len(event) < FEWEST or not 2 <= happened.sum() <= len(event) - 2:
        return [Skipped(what="log loss after maps", reason=f"needs {FEWEST} rows and two of each outcome")]
    words = {
        "temperature": "log loss of the event after a temperature fitted on the other half",
        "isotonic": "log loss of the event after a rising map fitted on the other half",
        "rank": "log loss of the event from the rank of its score alone",
    }
    for name, terms in losses_of_maps(event, happened, seed=context.seed).items():
        table.mean(f"log_loss_{name}", terms, unit="nat", alternative="less", long_name=words[name])
    return []


def _by_chance(event: Floats, happened: Floats, seed: int) -> tuple[Floats, Floats]:
    """In random order, which decides between equal probabilities at the edge of a bin."""
    order = np.random.default_rng(seeds.stream(seed, "ties")).permutation(len(event))
    return event[order], happened[order]
