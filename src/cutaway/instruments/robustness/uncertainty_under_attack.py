"""Instrument `uncertainty-under-attack`: does an ensemble, or a network with dropout, know when it is attacked?"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from cutaway import seeds
from cutaway.context import Context, Sample
from cutaway.data import Dataset
from cutaway.errors import CutawayWarning
from cutaway.instrument import Findings, Instrument, NotApplicable
from cutaway.network import Network
from cutaway.outputs.posterior import Ensemble, dropouts, dropping, members_of
from cutaway.reading import Reading
from cutaway.reading.intervals import normal_interval
from cutaway.reading.table import Table
from cutaway.robustness.attacks import FGSM, PGD, Noise
from cutaway.robustness.attacks.ball import Norm
from cutaway.robustness.attacks.base import ROWS_ATTACKED
from cutaway.robustness.attacks.goals import mean_log_probabilities
from cutaway.robustness.attacks.units import told_of_no_range
from cutaway.robustness.aware import (
    MEASURES,
    ConfidentError,
    JointError,
    detection_auroc,
    selective_accuracy,
    uncertainty,
)
from cutaway.settings import above, at_least, one_of
from cutaway.status import Status
from cutaway.wording import distance, said

VIEWS = {
    "clean": "as they are",
    "noise": "under noise of the same size",
    "attacked": "under attack",
    "aware": "under an attack that also lowers the uncertainty",
}
WEAKER = {"one step": "a single step", "one member": "an attack on one member alone", "one draw": "one draw a step"}


@dataclass(frozen=True, kw_only=True)
class UncertaintyUnderAttack(Instrument):
    """Accuracy, detection and selective accuracy of a predictor that answers by the mean of probabilities p = mean_k
    p_k: for rows as they are, under noise, under an attack on p, and under one that makes its errors sure.

    The network is a `cutaway.outputs.Ensemble` (a list of networks, checkpoints, draws of weights) or has dropout,
    which is then switched on and asked `draws` times. Detection is P(uncertainty of an attacked row > that of a row as
    it is), 0.5 for chance; selective accuracy that of the `coverage` share of rows it is surest of. Uncertainty:
    entropy of p, or mutual information. Both attacks are PGD on p itself (expectation over draws, no clamp inside the
    gradient). Beside them stand weaker attacks; where one of these breaks more rows, the attack failed and the words
    say so. Accuracies under attack are upper bounds with Clopper-Pearson intervals, the rest carries bootstrap
    intervals over rows. With dropout, numbers depend on the rows attacked together within the noise of the draws.
    Cost: about 5 `steps` forward and backward passes a row and member. Source: Feng, Rudner, Tsilivis and Kempe 2024
    (arXiv 2404.19640); Athalye, Carlini and Wagner 2018 (arXiv 1802.00420) for draws.
    """

    radius: float = field(default=0.1, metadata=at_least(0, "size of the attack, in the data's units"))
    norm: Norm = field(default="inf", metadata=one_of(("inf", "2"), "norm in which the size is measured"))
    steps: int = field(default=20, metadata=at_least(1, "steps of the attack; the aware one takes twice as many"))
    draws: int = field(default=10, metadata=at_least(2, "answers of a network with dropout that make one prediction"))
    measure_of: str = field(default="entropy", metadata=one_of(MEASURES, "the uncertainty"))
    coverage: float = field(default=0.8, metadata=above(0, "share of rows that selective accuracy keeps"))
    num_points: int = field(default=200, metadata=at_least(2, "samples, spread evenly over the classes"))

    name: ClassVar[str] = "uncertainty-under-attack"
    question: ClassVar[str] = "Does the predictor know when it is attacked?"
    source: ClassVar[str] = "Feng, Rudner, Tsilivis and Kempe 2024, arXiv 2404.19640"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "inputs", "classifier"})
    attacks: ClassVar[bool] = True
    in_scan: ClassVar[bool] = False
    formula: ClassVar[str] = r"P(H(\bar p(x + u)) > H(\bar p(x'))), \quad \bar p = \frac{1}{K} \sum_k p_k"
    expense: ClassVar[str] = "5 x steps forward and backward passes a sample and member"
    better: ClassVar[Mapping[str, str]] = {"attacked_accuracy": "higher", "aware_detection": "higher"}
    limits: ClassVar[str] = "A stronger attack may find more; that detection survives this one proves nothing."

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        members, draws = members_of(network), 1
        if not isinstance(network.model, Ensemble):
            if not dropouts(network.model):
                raise NotApplicable("needs several answers: an Ensemble of networks, or one with dropout; found one")
            draws = self.draws
        sample = context.sample(network, data, self.num_points)
        with dropping(network.model) if draws > 1 else contextlib.nullcontext(), warnings.catch_warnings():
            warnings.simplefilter("ignore", CutawayWarning)  # told of once, by the first attack
            points = self._points(members, draws, sample, context)
            answers = {view: self._answers(members, draws, found, context) for view, found in points.items()}
        assert sample.data.labels is not None
        labels = sample.labels
        correct = {v: (mean_log_probabilities(a).argmax(dim=1).numpy() == labels) for v, a in answers.items()}
        doubt = {v: uncertainty(a, self.measure_of).numpy() for v, a in answers.items()}
        table = context.table({"sample": sample.rows})
        for view in VIEWS:
            self._keep_view(table, view, correct[view], doubt[view], doubt["clean"])
        self._keep_check(table, correct)
        skipped = told_of_no_range(data)
        return Findings.of(table, status=Status.BOUND, sites=network.sites, skipped=skipped)

    def _points(self, members: list[Network], draws: int, sample: Sample, context: Context) -> dict[str, torch.Tensor]:
        """Inputs (n, ...) by view, and by weaker attack."""
        size = {"radius": self.radius, "norm": self.norm}
        each = PGD(**size, steps=self.steps, draws=draws)
        aware = PGD(**size, steps=2 * self.steps, draws=draws)
        fits = members[0].chunk_size(sample.inputs, members[0].sites, context.budget, factor=4)
        batch = max(1, min(ROWS_ATTACKED, fits // (len(members) * draws)))
        data, seed = sample.data, context.seed
        torch.manual_seed(seeds.number(seed, "draws"))  # of dropout; the caller's state comes back afterwards
        joint, sure = JointError(), ConfidentError(measure=self.measure_of)
        found = {
            "clean": data.inputs,
            "noise": Noise(**size).attack(members[0], data, seed=seeds.number(seed, "noise")).inputs,
            "attacked": each.attack(members, data, seed=seed, goal=joint, batch_size=batch).inputs,
            "aware": aware.attack(members, data, seed=seed, goal=sure, batch_size=batch).inputs,
            "one step": FGSM(**size, draws=draws).attack(members, data, seed=seed, goal=joint, batch_size=batch).inputs,
        }
        one = PGD(**size, steps=self.steps)
        weaker = "one member" if draws == 1 else "one draw"
        return {**found, weaker: one.attack(members[0], data, seed=seed, goal=joint, batch_size=batch).inputs}

    def _answers(self, members: list[Network], draws: int, inputs: torch.Tensor, context: Context) -> torch.Tensor:
        """Scores (K, n, classes), of other draws than the attack saw."""
        torch.manual_seed(seeds.number(context.seed, "answers"))
        return torch.stack(
            [m.outputs(inputs, budget=context.budget).double().cpu() for m in members for _ in range(draws)]
        )

    def _keep_view(self, table: Table, view: str, correct: np.ndarray, doubt: np.ndarray, clean: np.ndarray) -> None:
        words, bound = VIEWS[view], "upper_bound" if view in ("attacked", "aware") else "estimate"
        table.rate(
            f"{view}_accuracy",
            correct,
            dims=["sample"],
            column=f"{view}_right",
            kind=bound,
            alternative="greater",
            long_name=f"share of rows right {words}",
        )
        unit = {"unit": "nat", "long_name": f"uncertainty of the row {words}"}
        table.keep(f"{view}_uncertainty", doubt, ["sample"], **unit)
        if view != "clean":
            text = f"chance that a row {words} is more uncertain than one as it is"
            area = lambda rows: detection_auroc(doubt[rows], clean[rows])  # noqa: E731
            table.statistic(f"{view}_detection", area, len(doubt), fewer=2, alternative="none", long_name=text)
        text = f"accuracy among the {self.coverage:.0%} of rows it is surest of, {words}"
        kept = lambda rows: selective_accuracy(correct[rows], doubt[rows], self.coverage)  # noqa: E731
        table.statistic(f"{view}_selective", kept, len(doubt), fewer=2, alternative="none", long_name=text)

    def _keep_check(self, table: Table, correct: dict[str, np.ndarray]) -> None:
        names = [name for name in WEAKER if name in correct]
        table.coordinate("weaker", names)
        shares = [correct[name].mean() for name in names]
        table.keep("weaker_accuracy", shares, ["weaker"], long_name="share of rows right under a weaker attack")
        best = correct[names[int(np.argmin(shares))]].astype(float)
        lead = best - correct["attacked"]
        words = "accuracy under the strongest weaker attack minus that under the attack"
        table.figure("lead_over_weaker", lead.mean(), normal_interval(lead), alternative="none", long_name=words)

    def draw(self, reading: Reading):
        from cutaway.pictures.audits import views_chart

        return views_chart(reading)

    def describe(self, reading: Reading) -> str:
        value = {f.name: f.value for f in reading.figures}
        lead = reading.figure("lead_over_weaker")
        shares = reading.values["weaker_accuracy"]
        if lead.high is not None and lead.high < 0:
            name = WEAKER[str(shares["weaker"].values[shares.values.argmin()])]
            return (
                f"The attack failed: {name} leaves {said(float(shares.min()), '.0%')} right, the attack itself "
                f"{said(value['attacked_accuracy'], '.0%')}. No figure under attack is worth quoting; give more steps."
            )
        text = f"Within {distance(self.norm)} distance {self.radius:g}, {said(value['attacked_accuracy'], '.0%')} stay "
        text += f"right under attack ({said(value['clean_accuracy'], '.0%')} without one). An attacked row is more "
        text += f"uncertain than one as it is in {said(value['attacked_detection'], '.0%')} of pairs, and in "
        text += f"{said(value['aware_detection'], '.0%')} where the attack lowers the uncertainty as well"
        chance = reading.figure("aware_detection")
        if chance.high is not None and chance.high < 0.5:
            text += ": it is surer of attacked rows than of others"
        elif chance.low is not None and chance.low <= 0.5:
            text += ": no better than chance"
        return text + "."

    def brief(self, reading: Reading) -> str:
        found = reading.figure("aware_detection").value
        return f"its uncertainty tells attacked rows in {said(found, '.0%')} of pairs"
