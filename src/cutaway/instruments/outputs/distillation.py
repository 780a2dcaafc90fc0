"""Instrument `distillation`: which few rows stand for the data, and do they teach more than class means?"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from scipy import stats
from torch import nn

from cutaway import seeds as streams
from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.instrument import Findings, Instrument, NotApplicable
from cutaway.kernels.distilled import Distilled, distil
from cutaway.kernels.infinite import InfiniteNetwork
from cutaway.network import Network
from cutaway.network.twin import untrained
from cutaway.outputs.distilled_study import DISTILLED, EVERY, MEANS, REAL, Taught, study_distilled
from cutaway.outputs.pruning_study import Trainer, counted_trainer, plain_trainer
from cutaway.outputs.trajectory import distil_trajectory
from cutaway.outputs.unrolled import distil_unrolled
from cutaway.reading import Reading
from cutaway.reading.table import Table
from cutaway.robustness.attacks.pgd import PGD
from cutaway.settings import above, at_least, between, one_of
from cutaway.wording import said

METHODS = ("kip", "rat", "tm")
CALLED = {"kip": "through a kernel", "rat": "through trainings", "tm": "by experts' trajectories"}


@dataclass(frozen=True, kw_only=True)
class Distillation(Instrument):
    """Share of test rows right of networks of this architecture that are trained anew on `per_class` rows a class that
    were distilled from the data, beside random real rows, class means, and all rows.

    `method`: `kip`, rows from which the closed-form tangent kernel of two hidden layers learns best; `rat`, rows by
    differentiating trainings of this architecture through a window at a random place; `tm`, rows that lead it along
    experts' trajectories, which decide themselves how far along. `radius` above 0 (`kip` alone, linf, in the data's
    units) attacks the data while distilling and judges every network under the same attack (PGD). The rows of the data
    are split within classes, `train_share` of them to distil from, the rest to judge. Estimates: means over `seeds`
    starts with Student's intervals, differences to the `draws` sets of real rows with Welch's; they say what other
    starts and draws would change, not other test rows, and not another distillation. Cost: one distillation and `draws
    + 3 seeds` trainings of `steps` steps. Raises `InputError` for settings that do not fit. Source: Nguyen et al.
    (arXiv 2011.00050); Tsilivis, Su and Kempe (arXiv 2207.11727); Feng, Vedantam and Kempe (arXiv 2311.07025);
    Cazenavette et al. (arXiv 2203.11932).
    """

    method: str = field(default="kip", metadata=one_of(METHODS, "how the rows are found"))
    per_class: int = field(default=1, metadata=at_least(1, "rows a class"))
    distil_steps: int = field(default=200, metadata=at_least(1, "steps of the distillation (tm may end before)"))
    radius: float = field(default=0.0, metadata=at_least(0, "linf size of an attack to resist, data units; 0 for none"))
    draws: int = field(default=20, metadata=at_least(2, "sets of random real rows beside"))
    seeds: int = field(default=3, metadata=at_least(2, "trainings on the distilled rows, on the means, on all rows"))
    steps: int = field(default=100, metadata=at_least(1, "steps of a training"))
    batch_size: int = field(default=64, metadata=at_least(1, "rows of a step"))
    learning_rate: float = field(default=1e-2, metadata=above(0, "of Adam"))
    train_share: float = field(default=0.7, metadata=between(0.05, 0.95, "share of the rows to distil from"))

    name: ClassVar[str] = "distillation"
    question: ClassVar[str] = "Which few rows stand for the data?"
    source: ClassVar[str] = "Nguyen et al., arXiv 2011.00050; Feng, Vedantam and Kempe, arXiv 2311.07025"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "inputs", "classifier"})
    formula: ClassVar[str] = r"\mathrm{acc}(\mathrm{train}(S)) - \mathrm{acc}(\mathrm{train}(\mathrm{real\ rows}))"
    expense: ClassVar[str] = "one distillation and draws + 3 seeds trainings"
    null: ClassVar[str] = ""
    in_scan: ClassVar[bool] = False
    trains_anew: ClassVar[bool] = True
    better: ClassVar[Mapping[str, str]] = {"distilled_accuracy": "higher"}
    limits: ClassVar[str] = (
        "Of one distillation, this architecture and this way to train; another network may learn less from the same "
        "rows. At one row a class the class means are the honest rival."
    )

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        if self.radius and self.method != "kip":
            raise NotApplicable(f"method {self.method} knows no attack; leave radius at 0, or distil by kip")
        data = dataclasses.replace(data, inputs=data.inputs.float().cpu(), labels=data.labels.cpu())  # pyright: ignore
        learn, test = (data.subset(rows) for rows in self._parts(data))
        model = copy.deepcopy(network.model).float().cpu().requires_grad_()
        found = self._distilled(model, learn, context.seed)
        attack = PGD(radius=self.radius, steps=20) if self.radius else None
        taught = study_distilled(
            self._trainer(network, model, len(test)),
            found.data,
            learn,
            test,
            draws=self.draws,
            num_seeds=self.seeds,
            attack=attack,
            seed=context.seed,
        )
        table = context.table()
        self._keep(table, found, taught, data)
        self._figures(table, taught)
        return Findings.of(table)

    def _distilled(self, model: nn.Module, learn: Dataset, seed: int) -> Distilled:
        rows, steps = self.per_class, self.distil_steps
        if self.method == "kip":
            network = InfiniteNetwork()
            return distil(network, learn, per_class=rows, steps=steps, radius=self.radius, seed=seed)
        how = distil_unrolled if self.method == "rat" else distil_trajectory
        return how(lambda number: untrained(model, number)[0], learn, per_class=rows, steps=steps, seed=seed)

    def _parts(self, data: Dataset) -> tuple[list[int], list[int]]:
        """Rows to distil from and rows to judge by, the same for every seed."""
        assert data.labels is not None
        labels, rng = data.labels.numpy(), np.random.default_rng(streams.stream(0, "distillation parts"))
        learn: list[int] = []
        test: list[int] = []
        for label in np.unique(labels):
            rows = rng.permutation(np.flatnonzero(labels == label))
            cut = round(self.train_share * len(rows))
            if cut < self.per_class or cut == len(rows):
                raise NotApplicable(f"class {label} has {len(rows)} rows, too few to distil {self.per_class} and judge")
            learn += rows[:cut].tolist()
            test += rows[cut:].tolist()
        return sorted(learn), sorted(test)

    def _trainer(self, network: Network, model: nn.Module, judged: int) -> Trainer:
        """As the settings say. Its rows are counted; those of the distillation are told by its expense alone."""
        trainer = plain_trainer(
            lambda seed: untrained(model, seed)[0],
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )
        return counted_trainer(
            trainer, network, seen=lambda rows: self.steps * min(self.batch_size, rows), judged=judged
        )

    def _keep(self, table: Table, found: Distilled, taught: Mapping[str, Taught], data: Dataset) -> None:
        names = data.class_names or tuple(str(c) for c in range(data.num_classes or 0))
        labels = found.data.labels
        assert labels is not None
        table.coordinate("row", [names[int(c)] for c in labels])
        table.keep("row_label", labels.numpy(), ["row"], long_name="class of the distilled row", kind="exact")
        dims = [f"axis_{k}" for k in range(found.data.inputs.ndim - 1)]
        for name, rows, words in (("distilled", found.data, "distilled row"), ("began_as", found.start, "its start")):
            table.keep(name, rows.inputs.numpy(), ["row", *dims], long_name=words, kind="exact")
        table.keep("loss", np.array(found.losses), ["step"], long_name="what the distillation descends")
        for kind, column in ((DISTILLED, "distilled"), (MEANS, "means"), (REAL, "real"), (EVERY, "every")):
            words = f"share of test rows right of networks trained on {kind}"
            table.keep(f"right_{column}", taught[kind].right, [f"training_{column}"], long_name=words)
            if self.radius:
                table.keep(f"robust_{column}", taught[kind].robust, [f"training_{column}"], long_name=words)

    def _figures(self, table: Table, taught: Mapping[str, Taught]) -> None:
        own, real, means = (taught[kind] for kind in (DISTILLED, REAL, MEANS))
        for name, kind in (("distilled", DISTILLED), ("class_means", MEANS), ("all_rows", EVERY)):
            words = f"share of test rows right, trained on {kind}"
            _level(table, f"{name}_accuracy", taught[kind].right, words)
        _gain(table, "gain_over_real", own.right, real.right, "share right from distilled rows, minus from real rows")
        words = "share right from distilled rows, minus from class means"
        _gain(table, "gain_over_means", own.right, means.right, words)
        share = float((real.right < own.right.mean()).mean())
        words = "share of the sets of random real rows that the distilled rows teach more than"
        table.figure("beats_real", share, alternative="none", long_name=words)
        if self.radius:
            _level(table, "distilled_robust", own.robust, "share right under attack, trained on distilled rows")
            words = "share right under attack from distilled rows, minus from real rows"
            _gain(table, "robust_gain_over_real", own.robust, real.robust, words)

    def draw(self, reading: Reading):
        from cutaway.pictures.audits import distilled_chart

        return distilled_chart(reading)

    def describe(self, reading: Reading) -> str:
        value = {f.name: f for f in reading.figures}
        settings = reading.provenance.parameters
        count, draws = settings["per_class"], settings["draws"]
        rows = "one row" if count == 1 else f"{count} rows"
        text = f"Trained on {rows} a class, distilled {CALLED[settings['method']]}, networks are right on "
        text += f"{said(value['distilled_accuracy'].value, '.0%')} of the test rows; on as many class means "
        text += f"{said(value['class_means_accuracy'].value, '.0%')}, on all rows "
        text += f"{said(value['all_rows_accuracy'].value, '.0%')}. That is {_points(value['gain_over_real'])} beside "
        text += f"random real rows ({_beaten(value['beats_real'].value, draws)}) and "
        text += f"{_points(value['gain_over_means'])} beside class means."
        if "distilled_robust" in value:
            text += f" Under an attack of size {settings['radius']:g} they are right on "
            text += f"{said(value['distilled_robust'].value, '.0%')}, {_points(value['robust_gain_over_real'])} beside "
            text += "real rows."
        return text

    def brief(self, reading: Reading) -> str:
        gain = reading.figure("gain_over_means")
        if gain.low is None or gain.high is None or gain.low <= 0 <= gain.high:
            return f"distilled rows are not told apart from class means ({_points(gain)})"
        return f"distilled rows move accuracy by {_points(gain)} beside class means"


def _level(table: Table, name: str, values: np.ndarray, words: str) -> None:
    """The mean with Student's interval, within 0 to 1."""
    mean = float(values.mean())
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    table.figure(name, mean, (max(mean - half, 0.0), min(mean + half, 1.0)), alternative="greater", long_name=words)


def _gain(table: Table, name: str, own: np.ndarray, other: np.ndarray, words: str) -> None:
    """The difference of means with Welch's interval."""
    parts = [values.var(ddof=1) / len(values) for values in (own, other)]
    whole, gain = float(sum(parts)), float(own.mean() - other.mean())
    half = 0.0
    if whole > 0:
        freedom = whole**2 / sum(p**2 / (len(v) - 1) for p, v in zip(parts, (own, other), strict=True))
        half = float(stats.t.ppf(0.975, freedom)) * whole**0.5
    table.figure(name, gain, (max(gain - half, -1.0), min(gain + half, 1.0)), alternative="greater", long_name=words)


def _beaten(share: float, draws: int) -> str:
    beaten = round(share * draws)
    return f"more than all {draws} sets of them" if beaten == draws else f"more than {beaten} of {draws} sets of them"


def _points(figure) -> str:
    """A difference with its interval, in points."""
    ends = f"{said(100 * figure.low, '+.0f')} to {said(100 * figure.high, '+.0f')}"
    return f"{said(100 * figure.value, '+.0f')} points ({ends})"
