"""Instrument `kernel-features`: which eigen-features of the network's own kernel are useful, and which are robust."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch

from cutaway import seeds
from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.instrument import Findings, Instrument, NotApplicable
from cutaway.kernels import (
    EigenFeatures,
    TangentFeature,
    class_halves,
    eigen_features,
    feature_directions,
    first_equal,
    tangent_kernel,
    target_alignment,
)
from cutaway.needs import held_statistics
from cutaway.network import Network
from cutaway.network.calculus import Parameters
from cutaway.reading.table import Table
from cutaway.robustness.attacks import PGD, Noise
from cutaway.robustness.attacks.base import ROWS_ATTACKED
from cutaway.settings import at_least
from cutaway.status import Status
from cutaway.wording import said

VIEWS = ("useful", "robust", "noise")
SURE = 1.96  # standard errors of a guess


@dataclass(frozen=True, kw_only=True)
class KernelFeatures(Instrument):
    """Usefulness and robustness of the `num_features` first eigen-features of the tangent kernel.

    The kernel regression on half of `num_points` rows (every other of each class) is a sum of features, one an
    eigenvector, each of which puts the classes on two sides (`cutaway.kernels.eigen_features`). On the others (no row
    twice): how often a feature is on the side of the row's class (usefulness), how often after PGD against that feature
    alone within `radius` (data units, linf; robustness), and how often after noise of the same radius. Each is the mean
    over the feature's two sides, so that a guess gives 1/2. A feature is called useful where that is above 1/2 by 1.96
    standard errors of a guess, and fragile where it is useful and is below 1/2 by as much under attack. Estimates with
    bootstrap intervals over the judged rows (the kernel is taken as given); robustness is an upper bound, as any search
    gives. In float64, statistics of batch normalisation as stored.
    """

    radius: float = field(default=0.1, metadata=at_least(0, "size of attack and noise (linf), in the data's units"))
    steps: int = field(default=10, metadata=at_least(0, "steps of the attack"))
    num_features: int = field(default=12, metadata=at_least(1, "features, from the largest eigenvalue on"))
    num_points: int = field(default=120, metadata=at_least(8, "rows, half of them to learn from and half to judge"))

    name: ClassVar[str] = "kernel-features"
    question: ClassVar[str] = "Which features of the network's kernel are useful but not robust?"
    source: ClassVar[str] = "Tsilivis and Kempe 2022, arXiv 2210.05577; for more than two classes in a form of ours"
    formula: ClassVar[str] = (
        r"\rho_i = P[\mathrm{sign}\, g_i(x) = s_i(y)],\ g_i(x) = \lambda_i^{-1} K(x, X) v_i,\ "
        r"\gamma_i = \min_{\|\delta\| \le r} P[\mathrm{sign}\, g_i(x + \delta) = s_i(y)]"
    )
    attacks: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "inputs", "classifier"})
    null: ClassVar[str] = "permuted-labels"
    one_logit: ClassVar[bool] = True
    expense: ClassVar[str] = "features times steps times classes forward and backward passes a row"
    limits: ClassVar[str] = (
        "Says what a linearised network would use; features behind the first ones are not looked at. A search that "
        "finds nothing proves no robustness."
    )
    better: ClassVar[Mapping[str, str]] = {"robustness": "higher"}
    in_scan: ClassVar[bool] = False
    left_out: ClassVar[str] = "an attack on every feature by itself, a derivative by the parameters a class and step"

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        sample = context.sample(network, data, self.num_points, float64=True)
        known, other = class_halves(sample.labels, first_equal(sample.data.inputs))
        labels, wide = sample.labels[other], sample.network
        if len(np.unique(sample.labels[known])) < 2 or len(labels) < 2:
            raise NotApplicable("it takes four rows that differ and two classes to tell useful features from others")
        learn, judge = sample.data.subset(known), sample.data.subset(other)
        kernel = tangent_kernel(wide, learn.inputs, double=True, budget=context.budget).cpu()
        if not float(kernel.norm()) > 0:
            raise NotApplicable("no gradient: no output depends on a parameter on these rows")
        classes = max(data.num_classes or wide.output_shape[0], 2)
        targets = torch.nn.functional.one_hot(torch.from_numpy(sample.labels[known]), classes).double()
        if math.isnan(target_alignment(kernel, targets)):
            raise NotApplicable("every row has the same gradient: nothing tells rows apart")
        found = eigen_features(kernel, targets, self.num_features)
        hits = self._hits(wide, learn, judge, found, context)
        table = context.table({"sample": sample.rows[other], "feature": np.arange(1, len(found.values) + 1)})
        table.keep("eigenvalue", found.values.numpy(), ["feature"], long_name="eigenvalue of the feature")
        cross = tangent_kernel(wide, judge.inputs, learn.inputs, double=True, budget=context.budget).cpu()
        scores = found.scores(cross)
        right = [float((found.predicted(scores, k + 1).numpy() == labels).mean()) for k in range(len(found.values))]
        table.keep("accuracy_up_to", right, ["feature"], long_name="share right with the features up to this one")
        self._figures(hits, found.sides.numpy()[:, labels].T > 0, table)
        return Findings.of(table, sites=wide.sites, skipped=held_statistics(network.model))

    def _hits(
        self, network: Network, learn: Dataset, judge: Dataset, found: EigenFeatures, context: Context
    ) -> dict[str, np.ndarray]:
        """By view, whether each judged row is on its class's side of each feature, (m, k) bool."""
        parameters = Parameters(network, double=True)
        place = network.place(learn.inputs)
        row = parameters.row_bytes(judge.inputs, 0, 2 * network.output_shape[0])
        batch = max(1, min(ROWS_ATTACKED, context.budget // (2 * row)))
        assert judge.labels is not None
        hits: dict[str, list[np.ndarray]] = {view: [] for view in VIEWS}
        for number in range(len(found.values)):
            side = (found.sides[number] > 0).long()[judge.labels]
            told = replace(judge, labels=side, labels2=None, num_classes=2, class_names=None)
            vector = found.vectors[:, number] / found.values[number]
            directions = feature_directions(parameters, place, vector.to(place), budget=context.budget)
            feature = Network(TangentFeature(parameters, directions), judge.inputs[:2], probe=False)
            feature.passes = network.passes
            seed = seeds.number(context.seed, "feature", number)
            searched = PGD(radius=self.radius, steps=self.steps).attack(feature, told, seed=seed, batch_size=batch)
            noised = Noise(radius=self.radius).attack(feature, told, seed=seed, batch_size=batch)
            still = feature.outputs(judge.inputs, batch_size=batch).argmax(dim=1).cpu()
            for view, said_ in zip(VIEWS, (still, searched.predictions, noised.predictions), strict=True):
                hits[view].append((said_ == side).numpy())
        return {view: np.stack(columns, axis=1) for view, columns in hits.items()}

    def _figures(self, hits: dict[str, np.ndarray], above: np.ndarray, table: Table) -> None:
        count = len(above)
        sizes = np.stack([above.sum(axis=0), count - above.sum(axis=0)]).astype(float)
        read = (sizes > 0).all(axis=0)  # both sides among the judged rows
        if not read.any():
            raise NotApplicable("no feature has judged rows on both of its sides: give more rows or more classes")
        weight = np.where(above, *(count / (2 * np.maximum(size, 1)) for size in sizes))
        balanced = {view: np.where(read, found * weight, np.nan) for view, found in hits.items()}
        error = SURE * np.sqrt((0.25 / np.maximum(sizes, 1)).sum(axis=0)) / 2
        for view, (column, words) in _WORDS.items():
            table.means(
                f"feature_{column}", balanced[view], ["feature"], long_name=f"{words}, by feature", within=(0, 1)
            )
            rows = balanced[view][:, read].mean(axis=1)
            table.mean(column, rows, dims=["sample"], alternative="greater", each=words, long_name=f"mean {words}")
        mean = {view: values[:, read].mean(axis=0) for view, values in balanced.items()}
        useful = mean["useful"] > 0.5 + error[read]
        fragile = useful & (mean["robust"] < 0.5 - error[read])
        words = "share of the features that are useful"
        table.figure("useful_share", float(useful.mean()), alternative="greater", long_name=words)
        words = "share of the useful features that an attack turns"
        if useful.any():
            table.figure("fragile_share", float(fragile.sum() / useful.sum()), alternative="none", long_name=words)
        else:
            words += " (none is useful)"
            table.figure("fragile_share", math.nan, alternative="none", long_name=words, status=Status.UNKNOWN)

    def draw(self, reading: Any) -> Any:
        from cutaway.kernels.chart import eigen_features_chart

        return eigen_features_chart(reading)

    def describe(self, reading: Any) -> str:
        value = {f.name: f.value for f in reading.figures}
        count = reading.values.sizes["feature"]
        text = f"Of the first {count} features of the network's kernel {said(value['useful_share'], '.0%')} are useful"
        if value["useful_share"] > 0:
            text += f"; an attack within {self.radius:g} turns {said(value['fragile_share'], '.0%')} of these"
        return (
            f"{text}. On average a feature is on the right side of {said(value['usefulness'], '.0%')} of held-out rows "
            f"(a guess is on half), of {said(value['noise_robustness'], '.0%')} under noise and of "
            f"{said(value['robustness'], '.0%')} under attack."
        )


_WORDS = {
    "useful": ("usefulness", "share of rows on the right side of a feature"),
    "robust": ("robustness", "share of rows on the right side of a feature under attack"),
    "noise": ("noise_robustness", "share of rows on the right side of a feature under noise"),
}
