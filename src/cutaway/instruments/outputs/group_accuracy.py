"""Instrument `group-accuracy`: who is worst off, by class and group, and by how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile
from cutaway.network import Network
from cutaway.outputs.groups import Cells, cells_of, equalised_odds, least_interval, simultaneous_intervals
from cutaway.reading import Reading, Skipped
from cutaway.reading.table import Table
from cutaway.settings import at_least, one_of
from cutaway.wording import said


@dataclass(frozen=True, kw_only=True)
class GroupAccuracy(Instrument):
    """Accuracy in every cell of class and group (or in every group), the worst of them, the gap between best and worst,
    and the equalised-odds difference max |P(answer | class, group) - P(answer | class, other group)|.

    Cells of fewer than `least` rows are listed and left out of the worst. Intervals of cells hold for all of them at
    once (Clopper-Pearson, Bonferroni), so the worst one's does too, though it was chosen by looking; its value, the
    least of many noisy ones, is biased downwards, and so is that of the null. The null permutes groups among rows of
    the same class: the worst of random groups is below the mean by chance. Estimates; one forward pass a row. Source:
    Sagawa et al. 2020 (arXiv 1911.08731) for worst-group accuracy, Hardt, Price and Srebro 2016 (arXiv 1610.02413) for
    equalised odds.
    """

    cells: str = field(default="class-and-group", metadata=one_of(("class-and-group", "group"), "what a cell is"))
    least: int = field(default=20, metadata=at_least(1, "rows that a cell needs to be judged"))

    name: ClassVar[str] = "group-accuracy"
    question: ClassVar[str] = "Who is worst off?"
    source: ClassVar[str] = "Sagawa et al. 2020, arXiv 1911.08731; Hardt, Price and Srebro 2016, arXiv 1610.02413"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "groups", "classifier"})
    formula: ClassVar[str] = r"\min_{y, g} \frac{1}{n_{yg}} \sum_{i: y_i = y, g_i = g} 1[\hat{y}_i = y_i]"
    expense: ClassVar[str] = "1 forward pass a sample"
    null: ClassVar[str] = "permuted-groups"
    better: ClassVar[Mapping[str, str]] = {"worst_group_accuracy": "higher", "equalised_odds": "lower"}
    tiles: ClassVar[tuple[Tile, ...]] = (Tile("worst_group_accuracy", "Worst group", 15, percent=True),)
    limits: ClassVar[str] = (
        "Of the groups that were named only; rows of a group that are labelled worse look like a worse network."
    )

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data)
        labels, groups = sample.labels, sample.groups
        predicted = network.outputs(sample.data.inputs, budget=context.budget).argmax(dim=1).cpu().numpy()
        correct = predicted == labels
        every = cells_of(correct, groups, labels if self.cells == "class-and-group" else None)
        kept = every.largest(self.least)
        if len(kept) < 2:
            raise NotApplicable(f"needs two cells of at least {self.least} rows; found {len(kept)} of {len(every)}")
        names = [_called(data, int(y), int(g)) for y, g in zip(kept.labels, kept.groups)]
        table = context.table({"cell": names})
        table.rate("accuracy", correct, alternative="none", long_name="share of all rows classified right")
        self._cells(kept, table)
        odds = equalised_odds(predicted, labels, groups, self.least)
        if odds is not None:
            words = "largest difference between groups in how often a class gets an answer (equalised odds)"
            band = (odds.low, odds.high)
            table.figure("equalised_odds", odds.difference, band, alternative="greater", long_name=words)
        small = every.counts < self.least
        skipped = tuple(
            Skipped(what=f"cell {_called(data, int(y), int(g))}", reason=f"{n} rows, fewer than {self.least}")
            for y, g, n in zip(every.labels[small], every.groups[small], every.counts[small])
        )
        return Findings.of(table, skipped=skipped)

    def _cells(self, kept: Cells, table: Table) -> None:
        bands = simultaneous_intervals(kept.hits, kept.counts)
        rates = kept.hits / kept.counts
        table.keep("cell_accuracy", rates, ["cell"], long_name="share of the cell's rows classified right")
        for side, end, kind in (("low", 0, "lower_bound"), ("high", 1, "upper_bound")):
            text = f"{'lower' if side == 'low' else 'upper'} end of its interval, which holds for all cells at once"
            table.keep(f"cell_accuracy_{side}", bands[:, end], ["cell"], long_name=text, kind=kind)
        table.keep("cell_rows", kept.counts, ["cell"], unit="samples", long_name="rows of the cell", kind="exact")
        words = "share classified right in the cell where it is least"
        table.figure("worst_group_accuracy", rates.min(), least_interval(bands), alternative="less", long_name=words)
        low = max(0.0, bands[:, 0].max() - bands[:, 1].min())
        words = "share classified right in the best cell minus that in the worst"
        span = (low, bands[:, 1].max() - bands[:, 0].min())
        table.figure("group_gap", rates.max() - rates.min(), span, alternative="greater", long_name=words)

    def draw(self, reading: Reading):
        from cutaway.pictures.audits import cells_chart

        return cells_chart(reading)

    def describe(self, reading: Reading) -> str:
        worst, everyone = reading.figure("worst_group_accuracy"), reading.figure("accuracy")
        rates, names = reading.values["cell_accuracy"].values, reading.values["cell"].values
        rows = int(reading.values["cell_rows"].values[rates.argmin()])
        text = f"Worst off is {names[rates.argmin()]}: {said(worst.value, '.0%')} of its {rows} rows are right"
        text += "" if worst.low is None else f" ({said(worst.low, '.0%')} to {said(worst.high, '.0%')})"
        text += f", of all rows {said(everyone.value, '.0%')}."
        return text + f" Best off is {names[rates.argmax()]} with {said(float(rates.max()), '.0%')}."

    def brief(self, reading: Reading) -> str:
        rates = reading.values["cell_accuracy"].values
        worst = reading.values["cell"].values[rates.argmin()]
        return f"{worst} is worst off, with {said(float(rates.min()), '.0%')} right"


def _called(data: Dataset, label: int, group: int) -> str:
    """A cell in words: shirt, women; or the group alone."""
    named = data.group_names[group] if data.group_names else f"group {group}"
    named = named if not str(named).lstrip("-").isdigit() else f"group {named}"
    if label < 0:
        return named
    classes = data.class_names
    return f"{classes[label] if classes else f'class {label}'}, {named}"
