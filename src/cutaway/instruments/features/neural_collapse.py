"""Instrument `neural-collapse`: NC1 to NC4 of the penultimate features, clean, under attack and under noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.features.class_means import collapse, last_linear, penultimate
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile
from cutaway.network import Network
from cutaway.robustness.attacks import PGD, Noise
from cutaway.settings import at_least


@dataclass(frozen=True, kw_only=True)
class NeuralCollapse(Instrument):
    """How far the features before the last linear layer have collapsed to class means, and whether that survives an
    attack.

    Computed on the same `num_points` samples clean, under PGD (`radius` in data units, linf) and under noise of the
    same radius. Estimates with bootstrap intervals over samples. Applies where the network's output is the output of
    an `nn.Linear`. The classifier's rows are centred before NC3 (an offset common to all classes changes no
    prediction); otherwise as in the source.
    """

    radius: float = field(default=0.1, metadata=at_least(0, "size of attack and noise (linf), in the data's units"))
    steps: int = field(default=10, metadata=at_least(0, "steps of the attack"))
    num_points: int = field(default=500, metadata=at_least(1, "samples, spread evenly over the classes"))

    name: ClassVar[str] = "neural-collapse"
    tiles: ClassVar[tuple[Tile, ...]] = (Tile("nc1", "Neural collapse (NC1)", 80),)
    question: ClassVar[str] = "Have the features collapsed to class means, and does that survive an attack?"
    source: ClassVar[str] = "Papyan et al. 2020, arXiv 2008.08186; Su, Kempe et al., arXiv 2311.07444"
    attacks: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "inputs", "classifier"})
    expense: ClassVar[str] = "2 + steps forward and steps backward passes a sample"
    limits: ClassVar[str] = (
        "On held-out data collapse is weaker than on training data; NC1 needs several samples a class."
    )

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        head = last_linear(network)
        if head is None:
            raise NotApplicable(
                "the output is not that of an nn.Linear, so there is no linear head to compare features with"
            )
        sample = context.sample(network, data, self.num_points)
        labels, weight = sample.labels, head.weight.detach().double().cpu().numpy()
        batch = max(1, min(256, network.chunk_size(sample.data.inputs, network.sites, context.budget, factor=4)))
        views = self._views(network, sample.data, context.seed, batch)
        read = {view: penultimate(network, head, inputs, batch) for view, inputs in views.items()}
        found = {v: collapse(features, labels, weight, predicted) for v, (features, predicted) in read.items()}
        table = context.table({"view": list(views)})
        for name, words in _WORDS.items():
            table.keep(name, [found[view][name] for view in views], ["view"], long_name=words)
        features, predicted = read["clean"]

        def nc1(rows):
            return collapse(features[rows], labels[rows], weight, predicted[rows])["nc1"]

        table.statistic("nc1", nc1, len(labels), fewer=6, rescaled=True, alternative="less", long_name=_WORDS["nc1"])
        for name in list(_WORDS)[1:]:
            table.figure(name, found["clean"][name], alternative="less", long_name=_WORDS[name])
        clean = found["clean"]["nc1"]
        for view, cause in _VIEWS.items():
            ratio = found[view]["nc1"] / clean if clean > 0 else float("nan")
            words = f"variation within classes, under {cause} over clean"
            table.figure(f"nc1_ratio_{view}", ratio, alternative="greater", long_name=words)
        return Findings.of(table, sites=network.sites)

    def _views(self, network: Network, part: Dataset, seed: int, batch: int) -> dict[str, torch.Tensor]:
        attacked = PGD(radius=self.radius, steps=self.steps).attack(network, part, seed=seed, batch=batch)
        noised = Noise(radius=self.radius).attack(network, part, seed=seed + 1, batch=batch)
        return {"clean": part.inputs, "attacked": attacked.inputs, "noised": noised.inputs}

    def draw(self, reading):
        from cutaway.pictures.charts import collapse_chart

        return collapse_chart(reading)

    def describe(self, reading):
        value = {f.name: f.value for f in reading.figures}
        if not math.isfinite(value["nc1"]):
            return "Too few classes or samples a class to speak of collapse."
        text = f"The features vary {value['nc1']:.2g} times as much within classes as between them (0 is full collapse)"
        ratios = [value[f"nc1_ratio_{view}"] for view in ("attacked", "noised")]
        if not all(map(math.isfinite, ratios)):
            return text + "."
        return f"{text}; an attack multiplies that by {ratios[0]:.2g}, noise of the same size by {ratios[1]:.2g}."


_VIEWS = {"attacked": "attack", "noised": "noise"}


_WORDS = {
    "nc1": "within-class over between-class variation",
    "nc2_norm": "spread of the class means' lengths",
    "nc2_angle": "deviation of the class means' angles from a simplex",
    "nc3": "distance of the classifier from the class means",
    "nc4": "disagreement with the nearest class mean",
}
