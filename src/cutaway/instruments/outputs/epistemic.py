"""Instrument `epistemic`: does the network know what it does not know?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from scipy import stats

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.instrument import Findings, Instrument, NotApplicable
from cutaway.network import Network
from cutaway.outputs.pairs import PairCheck, check_pairs, claims_and_terms, pair_probabilities
from cutaway.outputs.probability import refuse_copies
from cutaway.reading import Reading
from cutaway.reading.table import Table
from cutaway.settings import at_least, between
from cutaway.wording import said


@dataclass(frozen=True, kw_only=True)
class Epistemic(Instrument):
    """Epistemic variance V = sum_y p1(y) (p2(y | y) - p1(y)) that a pair network claims, beside its squared error
    against the true probabilities by two labels a row, and the answers it may give.

    The network has C + C^2 scores: logits of the first outcome, then of the second for every first one
    (`PairPredictor.network()` makes one). For a calibrated pair network E[mse_p | V] = V: `calibration_gap` = mean
    (error - V) should hold 0 in its interval, and so should bins of equal count in the order of V, whose intervals hold
    all at once for any data (empirical Bernstein). An answer is given where 1 - p1 / p2(y | y) < `beta`; at most that
    share of the given answers has true probability 0, if calibrated. `neither_label`: share of the given ones that
    neither label gives, an upper estimate of it. `negative_share`: rows whose V is below 0, which none should be.
    `asymmetry`: how far p1(y) p2(y' | y) is from its transpose, 0 for a calibrated one. Estimates; bootstrap and
    Clopper-Pearson intervals over rows. Cost: one forward pass a row (of a `PairNetwork`, 1 + C of its module). Raises
    `InputError` for second labels that are copies. Source: Johnson et al. 2024 (arXiv 2402.08733); bounds derived here.
    """

    column: int = field(default=-1, metadata=at_least(-1, "class whose probability is judged; -1: all of them"))
    bins: int = field(default=5, metadata=at_least(2, "bins of claimed variance"))
    beta: float = field(default=0.1, metadata=between(0, 1, "share of impossible answers that may be given"))

    name: ClassVar[str] = "epistemic"
    question: ClassVar[str] = "Does it know what it does not know?"
    source: ClassVar[str] = "Johnson et al. 2024, arXiv 2402.08733; bounds derived here"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "labels2", "classifier"})
    formula: ClassVar[str] = r"V(y) = p_1(y)\,\bigl(p_2(y \mid y) - p_1(y)\bigr), \quad C(y) = p_1(y) / p_2(y \mid y)"
    expense: ClassVar[str] = "1 forward pass a sample"
    limits: ClassVar[str] = (
        "Promises hold for a calibrated pair network only; the check sees miscalibration over bins of V, not of single "
        "rows, and needs labels that are independent draws."
    )
    null: ClassVar[str] = "permuted-labels"
    better: ClassVar[Mapping[str, str]] = {"mse_p": "lower", "answered": "higher"}

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data, balanced=False)
        classes = int(data.num_classes or 0)
        if network.output_shape != (classes * (classes + 1),):
            raise NotApplicable(
                f"needs a pair network of {classes * (classes + 1)} scores ({classes} of the first outcome, "
                f"{classes}^2 of the second); this one has {network.output_shape[0]}: PairPredictor.network() makes one"
            )
        if self.column >= classes:
            raise InputError(
                f"setting 'column' of instrument {self.name!r}",
                found=str(self.column),
                expected=f"-1 to {classes - 1}, a class of data {data.name!r}",
                remedy="name a class by its number",
            )
        first, second = sample.labels, sample.labels2
        refuse_copies(first, second, f"second labels of data {data.name!r}")
        pairs = pair_probabilities(network.outputs(sample.data.inputs, budget=context.budget), classes)
        claimed, terms = claims_and_terms(pairs, first, second, self.column)
        table = context.table({"sample": sample.rows})
        _claims(claimed, terms, table)
        _bins(check_pairs(pairs, first, second, column=self.column, bins=self.bins), table)
        self._answers(pairs, first, second, table)
        text = "total variation between the joint probabilities of two outcomes and those in the other order"
        table.mean("asymmetry", pairs.asymmetry, alternative="less", long_name=text)
        return Findings.of(table)

    def _answers(self, pairs, first: np.ndarray, second: np.ndarray, table: Table) -> None:
        answers = pairs.first.argmax(axis=1)
        rows = np.arange(len(answers))
        doubt = 1 - pairs.confidence[rows, answers]
        given, neither = doubt < self.beta, (first != answers) & (second != answers)
        table.keep(
            "doubt", doubt, ["sample"], long_name="1 - p1 / p2 of the likeliest answer, bound on it being impossible"
        )
        table.rate("answered", given, alternative="greater", long_name=f"share of rows with doubt below {self.beta:g}")
        text = "share of rows whose likeliest answer has a claimed variance below 0"
        table.rate("negative_share", pairs.variance[rows, answers] < 0, alternative="less", long_name=text)
        table.rate(
            "neither_label_all", neither, alternative="none", long_name="share of answers that neither label gives"
        )
        if given.any():
            text = "share of the given answers that neither label gives"
            table.rate("neither_label", neither[given], alternative="less", long_name=text)

    def draw(self, reading: Reading):
        from cutaway.pictures.charts import claims_chart

        return claims_chart(reading)

    def describe(self, reading: Reading) -> str:
        claimed, error, gap = (reading.figure(n) for n in ("claimed_variance", "mse_p", "calibration_gap"))
        text = f"It claims not to know {said(claimed.value)} of the probabilities (variance summed over classes); its "
        text += f"squared error is {said(error.value)}."
        refuted, bins = reading.figure("bins_refuted").value, len(reading.values["bin_claimed"])
        if refuted > 0:
            text += f" In {round(refuted * bins)} of {bins} bins the claim is refuted: its promises do not hold."
        elif gap.low is not None and gap.high is not None and not gap.low <= 0 <= gap.high:
            text += f" On average it claims {'too little' if gap.value > 0 else 'too much'}, by {said(abs(gap.value))}."
        else:
            text += " Nothing here speaks against its claims."
        answered, every = reading.figure("answered"), reading.figure("neither_label_all")
        text += f" It would answer {said(answered.value, '.0%')} of the rows at beta = {self.beta:g}"
        if any(figure.name == "neither_label" for figure in reading.figures):
            text += f"; of these answers neither label gives {said(reading.figure('neither_label').value, '.1%')}"
            text += f", of all {said(every.value, '.1%')}"
        return text + "."

    def brief(self, reading: Reading) -> str:
        if reading.figure("bins_refuted").value > 0:
            return "it does not know what it does not know"
        return f"it would answer {said(reading.figure('answered').value, '.0%')} of the rows"


def _rank(claimed: np.ndarray, terms: np.ndarray) -> float:
    if np.ptp(claimed) == 0 or np.ptp(terms) == 0:
        return 0.0
    return float(np.corrcoef(stats.rankdata(claimed), stats.rankdata(terms))[0, 1])


def _claims(claimed: np.ndarray, terms: np.ndarray, table: Table) -> None:
    text = "variance of the true probabilities that the network claims not to know"
    table.mean("claimed_variance", claimed, dims=["sample"], alternative="none", long_name=text)
    text = "squared error against the true probabilities"
    table.mean("mse_p", terms, dims=["sample"], alternative="less", long_name=text)
    text = "squared error less claimed variance; 0 for a calibrated pair network"
    table.mean("calibration_gap", terms - claimed, alternative="none", long_name=text)
    text = "rank correlation of claimed variance and squared error over rows"
    table.statistic(
        "rank_correlation", lambda rows: _rank(claimed[rows], terms[rows]), len(terms), fewer=4, long_name=text
    )


def _bins(checked: PairCheck, table: Table) -> None:
    for name, values, kind, words in (
        ("bin_claimed", checked.claimed, "estimate", "mean claimed variance of the bin"),
        ("bin_error", checked.error, "estimate", "squared error of the bin, by its pairs of labels"),
        ("bin_low", checked.low, "lower_bound", "lower end of the error's interval, sure for all bins at once"),
        ("bin_high", checked.high, "upper_bound", "upper end of the error's interval, sure for all bins at once"),
    ):
        table.keep(name, values, ["bin"], long_name=words, kind=kind)
    table.keep("bin_count", checked.rows, ["bin"], unit="samples", long_name="rows of the bin", kind="exact")
    text = "share of bins whose claim lies outside the error's interval"
    off = ((checked.claimed < checked.low) | (checked.claimed > checked.high)).mean()
    table.figure("bins_refuted", off, alternative="less", long_name=text)
