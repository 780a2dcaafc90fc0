"""Instrument `pruning`: which rows matter, and whom does pruning hurt?"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import stats

from cutaway import seeds as streams
from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.instrument import Findings, Instrument, NotApplicable
from cutaway.network import Network
from cutaway.network.twin import untrained
from cutaway.outputs.example_scores import COLUMNS, read_scores
from cutaway.outputs.pruning_study import (
    RANDOM,
    SAME_COUNTS,
    Arm,
    PruningStudy,
    Trainer,
    check_pruners,
    counted_trainer,
    plain_trainer,
    study_pruning,
)
from cutaway.reading import Reading
from cutaway.reading.table import Table
from cutaway.settings import above, at_least, between, means, one_of, share
from cutaway.wording import said

if TYPE_CHECKING:
    import pandas

PRUNERS = ("quotas", *(f"{score}{and_}" for score in (*COLUMNS, "table") for and_ in ("", "+quotas")))

SUSPECTS = 20
"""Rows of smallest margin area that are named."""


@dataclass(frozen=True, kw_only=True)
class Pruning(Instrument):
    """Recall class by class of networks of this architecture that are trained anew on the rows that a pruner keeps,
    beside random rows and random rows of the same class counts, `seeds` trainings each from the same starts.

    The rows of the data are split within classes: `train_share` of them is pruned and trained on, a third of the rest
    gives the recalls for the quotas, two thirds judge. Pruners: `quotas` (DRoP: random rows, as many of each class as
    go with 1 minus its recall), a score (`el2n`, `grand_last`, `forgetting`, `margin_area`, `loss_variance`: its
    hardest rows, by the trainings on all rows or the table `scores`), `table` (a column of your own in it, its hardest
    rows the largest), or one of these with `+quotas`. Figures are of
    `pruner` at the smallest share of `keep`; intervals are Student's over seeds, paired where a difference is taken:
    they say what another start and draw would change, not other test rows. The rows of smallest margin area, whose
    labels look most wrong, are named. Estimates. Trained by Adam; `cutaway audit pruning` trains as a recipe says.
    Cost: seeds * (1 + shares * (1 + 2 pruners)) trainings of `steps` steps. Raises `InputError` for shares, pruners
    and tables that do not fit. Source: Vysogorets, Ahuja and Kempe 2024 (arXiv 2404.05579); scores as in
    `cutaway.outputs.ExampleScores`.
    """

    pruner: str = field(default="quotas", metadata=one_of(PRUNERS, "the pruner that is judged"))
    others: tuple[str, ...] = field(default=("el2n",), metadata=one_of(PRUNERS, "pruners to show beside it"))
    keep: tuple[float, ...] = field(default=(0.1,), metadata=share("shares of the rows that stay"))
    seeds: int = field(default=3, metadata=at_least(2, "trainings of each kind"))
    steps: int = field(default=300, metadata=at_least(1, "steps of a training"))
    batch_size: int = field(default=64, metadata=at_least(1, "rows of a step"))
    learning_rate: float = field(default=1e-3, metadata=above(0, "of Adam"))
    train_share: float = field(default=0.5, metadata=between(0.05, 0.95, "share of the rows to prune and train on"))
    scores: str = field(default="", metadata=means("table of scores, FILE or FILE:COLUMN; or empty"))

    name: ClassVar[str] = "pruning"
    question: ClassVar[str] = "Which rows matter, and whom does pruning hurt?"
    source: ClassVar[str] = "Vysogorets, Ahuja and Kempe 2024, arXiv 2404.05579"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "inputs", "classifier"})
    formula: ClassVar[str] = r"\min_c r_c(\mathrm{kept}) - \min_c r_c(\mathrm{random})"
    expense: ClassVar[str] = "seeds * (1 + shares * (1 + 2 pruners)) trainings"
    null: ClassVar[str] = ""
    in_scan: ClassVar[bool] = False
    trains_anew: ClassVar[bool] = True
    better: ClassVar[Mapping[str, str]] = {"worst_class_gain": "higher", "mean_recall_cost": "lower"}
    limits: ClassVar[str] = (
        "Of this architecture, this way to train and these test rows; other numbers of steps may turn the order round. "
        "The intervals take the seeds as draws of a normal distribution; scores and recalls are means over all of "
        "them, so that what another draw of these would change is not in the intervals."
    )

    trainer: ClassVar[Trainer | None] = None
    """How to train, where it is not by Adam as the settings say."""

    def check(self, network: Network, data: Dataset) -> None:
        super().check(network, data)
        check_pruners(self._pruners(), read_scores(self.scores, data) if self.scores else None)

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        data = _plain(data)
        pool, held_out, test = self._parts(data)
        least = min(self.keep)
        if round(least * len(pool)) < (data.num_classes or 0):
            raise NotApplicable(f"keeping {least:g} of {len(pool)} rows leaves fewer than a row a class")
        given = read_scores(self.scores, data) if self.scores else None
        study = study_pruning(
            counted_trainer(type(self).trainer or self._adam(network), network, seen=self._seen, judged=len(test)),
            data.subset(pool),
            data.subset(held_out),
            data.subset(test),
            pruners=self._pruners(),
            keep=self.keep,
            num_seeds=self.seeds,
            seed=context.seed,
            table=None if given is None else given.iloc[pool].reset_index(drop=True),
        )
        table = context.table()
        _keep_arms(table, study, data)
        self._figures(table, study, least)
        _keep_suspects(table, study.table, pool, data)
        return Findings.of(table)

    def _pruners(self) -> list[str]:
        return list(dict.fromkeys([self.pruner, *self.others]))

    def _adam(self, network: Network) -> Trainer:
        plain = copy.deepcopy(network.model).float()
        return plain_trainer(
            lambda seed: untrained(plain, seed)[0],
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )

    def _seen(self, rows: int) -> int:
        """Rows that a training on so many goes through."""
        return self.steps * min(self.batch_size, rows)

    def _parts(self, data: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows to prune, rows for the quotas' recalls, rows to judge by; the same for every seed."""
        assert data.labels is not None
        labels, rng = data.labels.numpy(), np.random.default_rng(streams.stream(0, "pruning parts"))
        parts: list[list[np.ndarray]] = [[], [], []]
        for label in range(data.num_classes or 0):
            rows = rng.permutation(np.flatnonzero(labels == label))
            first = round(self.train_share * len(rows))
            second = first + (len(rows) - first) // 3
            if not 0 < first < second < len(rows):
                raise NotApplicable(f"class {label} has {len(rows)} rows, too few to train, to hold out and to judge")
            for part, some in zip(parts, (rows[:first], rows[first:second], rows[second:]), strict=True):
                part.append(some)
        return tuple(np.sort(np.concatenate(part)) for part in parts)  # type: ignore[return-value]

    def _figures(self, table: Table, study: PruningStudy, keep: float) -> None:
        own, chance = study.arm(self.pruner, keep), study.arm("", keep, RANDOM)
        where = f"with {keep:.0%} of the rows kept by {self.pruner}"
        _figure(table, "worst_class_recall", own.worst, f"recall of the worst class {where}", "less")
        words = f"recall of the worst class {where}, minus that with random rows"
        _figure(table, "worst_class_gain", own.worst - chance.worst, words, "greater")
        words = f"mean recall with random rows minus that {where}"
        _figure(table, "mean_recall_cost", chance.mean - own.mean, words, "two-sided")
        words = f"standard deviation of recalls over classes with random rows minus that {where}"
        _figure(table, "spread_gain", chance.spread - own.spread, words, "greater")
        words = "recall of the worst class, all rows"
        _figure(table, "worst_class_of_all_rows", study.arms[0].worst, words, "less")
        null = next((a for a in study.arms if (a.pruner, a.keep, a.null) == (self.pruner, keep, SAME_COUNTS)), None)
        if null is not None:
            words = f"recall of the worst class {where}, minus that with random rows of the same class counts"
            _figure(table, "rows_beyond_counts", own.worst - null.worst, words, "two-sided")

    def draw(self, reading: Reading):
        from cutaway.pictures.pruning import arms_chart

        return arms_chart(reading)

    def describe(self, reading: Reading) -> str:
        value = {f.name: f for f in reading.figures}
        gain, cost = value["worst_class_gain"], value["mean_recall_cost"]
        worst, whole = value["worst_class_recall"], value["worst_class_of_all_rows"]
        keep, pruner = _least_share(reading), reading.provenance.parameters["pruner"]
        text = f"Trained on {keep:.0%} of the rows, as {pruner} keeps them, the worst class is right on "
        text += f"{said(worst.value, '.0%')} (all rows: {said(whole.value, '.0%')}), "
        text += f"{said(100 * gain.value, '+.0f')} points beside random rows ({_points(gain)}); the mean over classes "
        text += f"is {said(-100 * cost.value, '+.1f')} points beside them ({_points(cost, -1)})."
        if "rows_beyond_counts" in value:
            beyond = value["rows_beyond_counts"]
            text += f" Random rows of the same class counts leave {said(100 * beyond.value, '+.0f')} points "
            text += f"({_points(beyond)}) to the choice of rows."
        if "suspect" in reading.values:
            rows = ", ".join(str(int(r)) for r in reading.values["suspect"].values[:8])
            text += f" The labels of rows {rows} look most wrong (smallest margin area)."
        return text

    def brief(self, reading: Reading) -> str:
        gain = reading.figure("worst_class_gain")
        pruner, told = reading.provenance.parameters["pruner"], f"{said(100 * gain.value, '+.0f')} points"
        if gain.low is None or gain.high is None or gain.low <= 0 <= gain.high:
            return f"{pruner} is not told apart from random rows by the worst class ({told}, {_points(gain)})"
        return f"{pruner} moves the worst class by {told} beside random rows ({_points(gain)})"


def _plain(data: Dataset) -> Dataset:
    import dataclasses

    assert data.labels is not None
    return dataclasses.replace(data, inputs=data.inputs.float().cpu(), labels=data.labels.cpu())


def _figure(table: Table, name: str, values: np.ndarray, words: str, alternative) -> None:
    """The mean over seeds with Student's interval, as far as a recall or a difference of two can go."""
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    least = 0.0 if name.startswith("worst_class_of") or name == "worst_class_recall" else -1.0
    band = (max(float(values.mean()) - half, least), min(float(values.mean()) + half, 1.0))
    table.figure(name, float(values.mean()), band, alternative=alternative, long_name=words)


def _keep_arms(table: Table, study: PruningStudy, data: Dataset) -> None:
    arms: tuple[Arm, ...] = study.arms
    names = data.class_names or tuple(f"class {c}" for c in range(data.num_classes or 0))
    table.coordinate("class", [str(n) for n in names])
    for name, values, words in (
        ("kept_by", [a.called for a in arms], "how the rows were kept"),
        ("kept_share", [a.keep for a in arms], "share of the rows kept"),
        ("follows", [a.follows for a in arms], "correlation over classes of rows kept with recall"),
    ):
        table.keep(name, np.array(values), ["arm"], long_name=words, kind="exact" if name != "follows" else "estimate")
    words = "share of the class's test rows right"
    table.keep("recall", np.stack([a.recalls for a in arms]), ["arm", "seed", "class"], long_name=words)
    words = "rows of the class kept"
    counts = np.stack([a.counts for a in arms])
    table.keep("rows_kept", counts, ["arm", "seed", "class"], unit="samples", long_name=words, kind="exact")


def _keep_suspects(table: Table, scores: pandas.DataFrame, pool: np.ndarray, data: Dataset) -> None:
    """The rows, by their numbers in the data, whose margin area is smallest, where the table has such a column."""
    if "margin_area" not in scores.columns:
        return
    areas = scores["margin_area"].to_numpy(dtype=float)
    order = np.argsort(areas, kind="stable")[: min(SUSPECTS, len(areas))]
    words = "rows whose margin area is smallest, the smallest first"
    table.keep("suspect", pool[order], ["place"], long_name=words, kind="exact")
    table.keep("suspect_margin", areas[order], ["place"], long_name="their margin area")


def _least_share(reading: Reading) -> float:
    return min(reading.provenance.parameters["keep"])


def _points(figure, sign: int = 1) -> str:
    """An interval of a difference, in points."""
    if figure.low is None:
        return "no interval"
    ends = sorted((100 * sign * figure.low, 100 * sign * figure.high))
    return f"{said(ends[0], '+.1f')} to {said(ends[1], '+.1f')}"
