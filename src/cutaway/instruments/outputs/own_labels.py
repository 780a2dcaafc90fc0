"""Instrument `own-labels`: may one train on labels that this network makes, and from which confidence on?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.instrument import Findings, Instrument
from cutaway.needs import without_column
from cutaway.network import Network
from cutaway.outputs.answers import predictions
from cutaway.outputs.label_filter import ClassLeads, FilterCounts, class_leads, filter_margin
from cutaway.reading import Reading
from cutaway.reading.intervals import proportion_interval
from cutaway.reading.rank import Alternative
from cutaway.reading.table import Table
from cutaway.records import Skipped
from cutaway.settings import between, one_of
from cutaway.wording import said

CONFIDENCE, AGREEMENT = "confidence", "agreement"
GRID = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Confidences that are tried."""


@dataclass(frozen=True, kw_only=True)
class OwnLabels(Instrument):
    """Rates at which a filter keeps right and wrong labels of the network, the share of wrong ones at which it breaks
    even, and whether right ones outnumber every wrong one in every class of what is kept.

    A row gets the class of the largest score. The filter keeps rows of a probability of at least `threshold`, or rows
    on which a verifier agrees (`--labels2`: what another network or a person says of them). With p the share of wrong
    labels, phi and psi the rates at which right and wrong ones are kept: p* = phi / (phi + psi) where all wrong labels
    of a class agree, phi / (phi + psi / (C - 1)) where they are spread. `worst_lead`: over true classes, the least
    share of kept right rows among these and the commonest wrong label's, with an interval for all of them at once;
    above one half a learner of many rows follows the right label. `safe_from`: the least of eight probabilities at
    which that is shown in every class, for all eight at once (above it fewer rows are left to show it). The null
    permutes the true labels: such a filter knows nothing, and p* is one half. Estimates. Cost: one forward pass a row.
    Raises `InputError` for agreement without second labels. Source: Feng et al. 2024 (arXiv 2406.07515); the forms for
    C classes and the leads are ours.
    """

    filter: str = field(default=CONFIDENCE, metadata=one_of((CONFIDENCE, AGREEMENT), "what keeps a label"))
    threshold: float = field(default=0.9, metadata=between(0, 1, "probability from which a label is kept"))

    name: ClassVar[str] = "own-labels"
    question: ClassVar[str] = "May one train on labels that it makes, and from which confidence on?"
    source: ClassVar[str] = "Feng et al. 2024, arXiv 2406.07515"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "classifier"})
    formula: ClassVar[str] = r"p^* = \frac{\varphi}{\varphi + \psi / (C - 1)}"
    expense: ClassVar[str] = "1 forward pass a row"
    in_scan: ClassVar[bool] = False
    left_out: ClassVar[str] = "it asks about a use: training on labels that the network makes"
    limits: ClassVar[str] = (
        "Of rows like these, which the network was not trained on. One round only: labels made again and again drift "
        "to what the filter likes. Train beside a random subset of the same size. Labels that something else made: "
        "`cutaway audit labels`."
    )
    null: ClassVar[str] = "permuted-labels"
    better: ClassVar[Mapping[str, str]] = {"worst_lead": "higher", "margin": "higher"}

    def check(self, network: Network, data: Dataset) -> None:
        super().check(network, data)
        if self.filter == AGREEMENT and data.labels2 is None:
            raise without_column(self.name, data.name, "labels2")

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data)
        scores = network.outputs(sample.data.inputs, budget=context.budget)
        found, truth = predictions(scores, sample.labels), sample.labels
        agrees = self.filter == AGREEMENT
        kept = found.predicted == sample.labels2 if agrees else found.confidence >= self.threshold
        leads = class_leads(truth, found.predicted, kept)
        table = context.table({"sample": sample.rows, "class": leads.names})
        table.keep("kept", kept.astype(float), ["sample"], long_name="whether the filter keeps the label", kind="exact")
        skipped = _rates(table, FilterCounts.of(found.correct > 0, kept), scores.shape[1])
        _worst(table, leads)
        if not agrees:
            skipped += _by_confidence(table, truth, found.predicted, found.confidence)
        return Findings.of(table, skipped=skipped)

    def draw(self, reading: Reading):
        from cutaway.pictures.audits import confidences_chart
        from cutaway.pictures.charts import figures_chart

        return confidences_chart(reading) if "confidence" in reading.values.dims else figures_chart(reading)

    def describe(self, reading: Reading) -> str:
        value = {f.name: f for f in reading.figures}
        wrong = value["wrong_share"]
        how = (
            f"a probability of {reading.provenance.parameters['threshold']:g} or more"
            if reading.provenance.parameters["filter"] == CONFIDENCE
            else "agreement of the second labels"
        )
        text = f"Of its labels {said(wrong.value, '.0%')} are wrong; of the {said(value['kept_share'].value, '.0%')} "
        right = said(value["right_share_kept"].value, ".0%") if "right_share_kept" in value else "none"
        text += f"kept by {how} {right} are right. {_verdict(reading)}"
        if "safe_from" in value:
            least = value["safe_from"].value
            text += f" The least of {len(GRID)} probabilities at which that is shown, for all at once, is {least:g}."
        return text

    def brief(self, reading: Reading) -> str:
        found = {f.name: f.value for f in reading.figures}
        right = found.get("right_share_kept")
        return "" if right is None else f"{said(right, '.0%')} of its labels that a filter keeps are right"


def _verdict(reading: Reading) -> str:
    values = reading.values
    if (values["lead_low"].values > 0.5).all():
        return "Safe: in every class right ones outnumber every wrong one, beyond the interval."
    bad = [str(c) for c, high in zip(values["class"].values, values["lead_high"].values) if high < 0.5]
    if bad:
        return f"Unsafe: in class {', '.join(bad[:5])} a wrong label is commoner than the right one."
    unshown = [str(c) for c, low in zip(values["class"].values, values["lead_low"].values) if low <= 0.5]
    some = ", ".join(unshown[:5]) + (f" and {len(unshown) - 5} more" if len(unshown) > 5 else "")
    return f"Unknown: in class {some} these rows do not show that right ones outnumber every wrong one."


def _rates(table: Table, counts: FilterCounts, num_classes: int) -> tuple[Skipped, ...]:
    """p, phi, psi, break-even and margin, each with its interval; what has no rows to rest on is told."""
    skipped: list[Skipped] = []
    ways: tuple[tuple[str, int, int, str, Alternative], ...] = (
        ("wrong_share", counts.wrong, counts.rows, "share of its labels that are wrong, p", "less"),
        ("keep_right", counts.right_kept, counts.right, "share of right labels that the filter keeps, phi", "none"),
        ("keep_wrong", counts.wrong_kept, counts.wrong, "share of wrong labels that the filter keeps, psi", "none"),
        ("kept_share", counts.kept, counts.rows, "share of all labels that the filter keeps", "none"),
        ("right_share_kept", counts.right_kept, counts.kept, "share of kept labels that are right", "greater"),
    )
    for name, hits, of, words, way in ways:
        if of:
            table.figure(name, hits / of, proportion_interval(hits, of), long_name=words, alternative=way)
        else:
            skipped.append(Skipped(what=name, reason="no row of that kind"))
    for name, classes, how in (
        ("", 2, "wrong labels of a class agreeing"),
        ("_spread", num_classes, "wrong labels spread over the classes"),
    ):
        found = filter_margin(counts, classes)
        if np.isnan(found.even):
            reason = "it needs right and wrong labels, and one that is kept"
            skipped.append(Skipped(what=f"break_even{name}", reason=reason))
        elif not (classes == 2 and name):
            words = f"share of wrong labels at which the filter breaks even, p*, {how}"
            table.figure(f"break_even{name}", found.even, found.even_band, long_name=words, alternative="greater")
            words = f"p* - p, {how}"
            table.figure(f"margin{name}", found.margin, found.margin_band, long_name=words, alternative="greater")
    return tuple(skipped)


def _worst(table: Table, leads: ClassLeads) -> None:
    for name, values, words in (
        ("lead", leads.lead, "kept right rows among these and those of the commonest wrong label"),
        ("lead_low", leads.low, "its lower end, all classes and labels at once"),
        ("lead_high", leads.high, "its upper end, all classes and labels at once"),
    ):
        table.keep(name, values, ["class"], long_name=words)
    words = "kept right rows among these and those of the commonest wrong label, in the class where that is least"
    worst = float(np.min(np.nan_to_num(leads.lead, nan=0.0)))
    band = (float(leads.low.min()), float(leads.high.min()))
    table.figure("worst_lead", worst, band, long_name=words, alternative="greater")


def _by_confidence(
    table: Table, truth: NDArray[np.int64], given: NDArray[np.int64], confidence: NDArray[np.float64]
) -> tuple[Skipped, ...]:
    """Shares kept and right, and the worst lead, at every confidence of the grid; the one from which on it is safe."""
    level, rows = 1 - 0.05 / len(GRID), {}
    for least in GRID:
        kept = confidence >= least
        counts, leads = FilterCounts.of(given == truth, kept), class_leads(truth, given, kept, level)
        band = proportion_interval(counts.right_kept, counts.kept, level) if counts.kept else (0.0, 1.0)
        share = counts.right_kept / counts.kept if counts.kept else float("nan")
        rows[least] = (counts.kept / counts.rows, share, *band, float(leads.low.min()))
    table.coordinate("confidence", list(GRID))
    for name, column, words in (
        ("kept_by_confidence", 0, "share of labels of at least this probability"),
        ("right_by_confidence", 1, "share of these that are right"),
        ("right_by_confidence_low", 2, "its lower end, all probabilities at once"),
        ("right_by_confidence_high", 3, "its upper end, all probabilities at once"),
        ("lead_by_confidence_low", 4, "lower end of the worst class's lead, all classes and probabilities at once"),
    ):
        table.keep(name, [row[column] for row in rows.values()], ["confidence"], long_name=words)
    safe = [rows[least][4] > 0.5 for least in GRID]
    if not any(safe):
        reason = "at no probability do right labels outnumber every wrong one in every class, beyond the interval"
        return (Skipped(what="safe_from", reason=reason),)
    words = "least probability at which right labels outnumber every wrong one in every class, beyond the interval"
    table.figure("safe_from", GRID[safe.index(True)], alternative="less", long_name=words)
    return ()
