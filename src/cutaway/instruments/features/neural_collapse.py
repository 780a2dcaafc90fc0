"""Instrument `neural-collapse`: NC1 to NC4 of the penultimate features, clean, under attack and under noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import xarray as xr

from cutaway.data.dataset import spread_rows
from cutaway.features.collapse import collapse, last_linear, penultimate
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile
from cutaway.reading import Figure, variable
from cutaway.reading.intervals import bootstrap_interval
from cutaway.robustness.attacks import PGD, Noise


@dataclass(frozen=True, kw_only=True)
class NeuralCollapse(Instrument):
    """How far the features before the last linear layer have collapsed to class means, and whether that survives an
    attack.

    Computed on the same `num_points` samples clean, under PGD (`radius` in data units, linf) and under noise of the
    same radius. Estimates with bootstrap intervals over samples. Applies where the network's output is the output of
    an `nn.Linear`. The classifier's rows are centred before NC3 (an offset common to all classes changes no
    prediction); otherwise as in the source.
    """

    radius: float = 0.1
    steps: int = 10
    num_points: int = 500

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

    def _measure(self, network, data, context):
        head = last_linear(network)
        if head is None:
            raise NotApplicable(
                "the output is not that of an nn.Linear, so there is no linear head to compare features with"
            )
        rows = spread_rows(len(data.inputs), self.num_points, data.labels)
        part = data.subset(rows)
        labels = part.labels.cpu().numpy()
        weight = head.weight.detach().double().cpu().numpy()
        batch = max(1, min(256, network.chunk_size(part.inputs, network.sites, context.budget, factor=4)))
        attacked = PGD(radius=self.radius, steps=self.steps).attack(network, part, seed=context.seed, batch=batch)
        noised = Noise(radius=self.radius).attack(network, part, seed=context.seed + 1, batch=batch)
        views = {"clean": part.inputs, "attacked": attacked.inputs, "noised": noised.inputs}
        table: dict[str, dict[str, float]] = {}
        band = (float("nan"), float("nan"))
        for view, inputs in views.items():
            features, predictions = penultimate(network, head, inputs, batch)
            table[view] = collapse(features, labels, weight, predictions)
            if view == "clean":
                band = self._band(features, labels, weight, predictions, context)
        names = list(table["clean"])
        values = xr.Dataset(
            {n: variable([table[v][n] for v in views], ["view"], long_name=_WORDS[n]) for n in names},
            coords={"view": list(views)},
        )
        figures = []
        for n in names:
            low, high = band if n == "nc1" else (None, None)
            words = _WORDS[n]
            value = table["clean"][n]
            figures.append(Figure(name=n, value=value, low=low, high=high, alternative="less", long_name=words))
        clean = table["clean"]["nc1"]
        for view in ("attacked", "noised"):
            ratio = table[view]["nc1"] / clean if clean > 0 else float("nan")
            words = f"variation within classes, under {_VIEWS[view]} over clean"
            figures.append(Figure(name=f"nc1_ratio_{view}", value=ratio, alternative="greater", long_name=words))
        return Findings(values=values, figures=tuple(figures), sites=network.sites)

    @staticmethod
    def _band(features, labels, weight, predictions, context):
        def nc1(rows):
            return collapse(features[rows], labels[rows], weight, predictions[rows])["nc1"]

        whole = nc1(slice(None))
        return bootstrap_interval(nc1, len(labels), seed=context.seed, resamples=context.resamples // 6, about=whole)

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
