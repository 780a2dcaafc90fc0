"""Instrument `neural-collapse`: NC1 to NC4 of the penultimate features and collapse in every layer, clean, under attack
and under noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch

from cutaway.context import Context, Sample
from cutaway.data import Dataset
from cutaway.features.class_means import coincide, collapse, last_linear, penultimate
from cutaway.features.collapse_by_layer import (
    FLOOR,
    Layers,
    Means,
    SimplexAlignment,
    layer_collapse,
    layer_means,
    simplex_alignment,
)
from cutaway.features.collapse_by_layer import means_fit as fitting
from cutaway.features.moved_rows import attacked_rows, noised_rows
from cutaway.instrument import Findings, Instrument, NotApplicable, Tile
from cutaway.network import Network, Site
from cutaway.reading import Skipped
from cutaway.reading.table import Table
from cutaway.settings import at_least, means
from cutaway.wording import said


@dataclass(frozen=True, kw_only=True)
class NeuralCollapse(Instrument):
    """How far the features have collapsed to class means, in every layer, and whether that survives an attack.

    At the head: NC1 to NC4 of the features before the last linear layer, on the same `num_points` samples clean, under
    PGD (`radius` in data units, linf; ascent on the cross-entropy, last point, step 2.5 radius / steps) and under
    noise of the same radius. In every layer (each activation, flattened):
    NC1/C, the angles of the class means, and the share of samples whose nearest *clean* class mean is that of their
    label, and that of what the network predicts; attacked samples grouped by true and by predicted label. With
    `targeted`, an attack towards the next class as well: those that reach it, grouped by target. The clean and the
    attacked simplex of means are compared by the cosines of their centred means. Estimates with bootstrap intervals
    over samples (in layers with the class means held). Applies where the network's output is the output of an
    `nn.Linear`. The classifier's rows are centred before NC3 (an offset common to all classes changes no prediction);
    otherwise as in the source. Ratios to an NC1 below 1e-6 are to 1e-6.
    """

    radius: float = field(default=0.1, metadata=at_least(0, "size of attack and noise (linf), in the data's units"))
    steps: int = field(default=10, metadata=at_least(0, "steps of the attack"))
    num_points: int = field(default=500, metadata=at_least(1, "samples, spread evenly over the classes"))
    layers: bool = field(default=True, metadata=means("whether every layer is read, not the last features alone"))
    targeted: bool = field(
        default=False, metadata=means("whether the attack that leads to the next class is run as well")
    )

    name: ClassVar[str] = "neural-collapse"
    tiles: ClassVar[tuple[Tile, ...]] = (Tile("nc1", "Neural collapse (NC1)", 80),)
    question: ClassVar[str] = "Have the features collapsed to class means, and does that survive an attack?"
    source: ClassVar[str] = "Papyan et al. 2020, arXiv 2008.08186; Su, Kempe et al., arXiv 2311.07444"
    attacks: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "inputs", "classifier"})
    formula: ClassVar[str] = r"NC1 = \frac{1}{C} \mathrm{tr}(\Sigma_W \Sigma_B^{+})"
    expense: ClassVar[str] = (
        "11 + steps forward and steps backward passes a sample (8 forward fewer without layers); with targeted, up to "
        "3 + steps forward and steps backward more"
    )
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
        labels, weight = _of_two_classes(sample.labels), head.weight.detach().double().cpu().numpy()
        batch = max(1, min(256, network.chunk_size(sample.data.inputs, network.sites, context.budget, factor=4)))
        views = self._views(network, sample.data, context.seed, batch)
        read = {view: penultimate(network, head, inputs, batch) for view, inputs in views.items()}
        _check_apart(read["clean"][0], labels)
        found = {v: collapse(features, labels, weight, predicted) for v, (features, predicted) in read.items()}
        table = context.table({"view": list(views)})
        for name, words in _WORDS.items():
            table.keep(name, [found[view][name] for view in views], ["view"], long_name=words)
        _scatter(table, *read["clean"], labels, weight)
        for name in list(_WORDS)[1:]:
            table.figure(name, found["clean"][name], alternative="less", long_name=_WORDS[name])
        for view, cause in _VIEWS.items():
            ratio = found[view]["nc1"] / max(found["clean"]["nc1"], FLOOR)
            words = f"variation within classes, under {cause} over clean"
            table.figure(f"nc1_ratio_{view}", ratio, alternative="greater", long_name=words)
        _aligned(table, {view: values for view, (values, _) in read.items()}, labels)
        skipped: tuple[Skipped, ...] = ()
        if self.layers:
            predictions = {view: torch.as_tensor(said_) for view, (_, said_) in read.items()}
            skipped = self._by_layer(network, sample, views, predictions, table, context, batch)
        return Findings.of(table, sites=network.sites, skipped=skipped)

    def _views(self, network: Network, part: Dataset, seed: int, batch_size: int) -> dict[str, torch.Tensor]:
        attacked = attacked_rows(network, part, radius=self.radius, steps=self.steps, seed=seed, batch_size=batch_size)
        noised = noised_rows(part, radius=self.radius, seed=seed)
        return {"clean": part.inputs, "attacked": attacked, "noised": noised}

    def _by_layer(
        self,
        network: Network,
        sample: Sample,
        views: dict[str, torch.Tensor],
        predictions: dict[str, torch.Tensor],
        table: Table,
        context: Context,
        batch_size: int,
    ) -> tuple[Skipped, ...]:
        """Collapse at every activation; returns the sites whose class means do not fit the budget."""
        labels = torch.as_tensor(sample.labels)
        groups = {view: (views[view], labels, predictions[view]) for view in ("clean", "attacked", "noised")}
        groups["attacked, by prediction"] = (views["attacked"], predictions["attacked"], predictions["attacked"])
        if self.targeted:
            groups |= self._led(network, sample.data, labels, table, context.seed, batch_size)
        activations = network.select("activation")
        sites, left = fitting(activations, int(labels.max()) + 1, 2, context.budget)
        if sites:
            self._layers(
                network, groups, sites, table, context.budget, last=not left or left[-1] is not activations[-1]
            )
        reason = "its class means do not fit the memory budget; give more with --budget"
        lost = tuple(Skipped(what=f"site {site.name!r}", reason=reason) for site in left)
        if left and left[-1] is activations[-1]:
            lost += (Skipped(what="attacked samples nearest a class mean, last layer", reason=reason),)
        return lost

    def _led(
        self, network: Network, part: Dataset, labels: torch.Tensor, table: Table, seed: int, batch_size: int
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """The samples that a targeted attack (to the next class) leads to its target, grouped by target."""
        targets = (labels + 1) % network.output_shape[0]
        wide = replace(part, num_classes=network.output_shape[0])
        led = attacked_rows(
            network, wide, radius=self.radius, steps=self.steps, seed=seed, targets=targets, batch_size=batch_size
        )
        predicted = network.outputs(led, batch_size=batch_size).argmax(dim=1).cpu()
        hit = predicted == targets
        words = "samples that a targeted attack leads to the next class"
        table.rate("targeted_hit_rate", hit.numpy(), long_name=words, alternative="none")
        if len(targets[hit].unique()) < 2 or int(hit.sum()) <= 2 * network.output_shape[0]:
            return {}
        return {"led to the next class": (led[hit], targets[hit], predicted[hit])}

    def _layers(
        self, network: Network, groups: dict[str, Any], sites: list[Site], table: Table, budget: int, *, last: bool
    ) -> None:
        inputs, labels, _ = groups["clean"]
        clean = layer_means(network, inputs, labels, sites, budget)
        found: dict[str, Layers] = {}
        for view, (inputs, grouped, _) in groups.items():
            known = clean if view == "clean" else None
            found[view] = layer_collapse(network, inputs, grouped, clean, sites, budget, known)
        table.coordinate("layer", [site.name for site in sites])
        table.coordinate("group", list(found))
        dims = ["group", "layer"]
        _bands(table, found)
        table.keep("layer_angle", [f.angle for f in found.values()], dims, long_name=_WORDS["nc2_angle"])
        hits = {}
        for view, (_, _, predicted) in groups.items():
            true = groups["clean"][1] if len(predicted) == len(labels) else groups[view][1]
            near = found[view].nearest
            hits[view] = [near == np.asarray(c)[:, None] for c in (true, predicted)]
        for k, (name, words) in enumerate(_NEAREST.items()):
            table.keep(name, [hits[view][k].mean(axis=0) for view in found], dims, long_name=words)
        if last:  # the first layers alone may fit the budget
            self._last(hits["attacked"], groups, labels, table)

    def _last(self, last: list[np.ndarray], groups: dict[str, Any], labels: torch.Tensor, table: Table) -> None:
        table.rate("attacked_near_true", last[0][:, -1], alternative="none", long_name=_LAST["attacked_near_true"])
        fooled = (groups["attacked"][2] != labels).numpy()
        if fooled.any():
            table.rate("leap", last[1][fooled, -1], alternative="none", long_name=_LAST["leap"])

    def draw(self, reading):
        from cutaway.pictures.charts import collapse_chart
        from cutaway.pictures.structure import layers_chart

        return layers_chart(reading) if "layer_nc1" in reading.values else collapse_chart(reading)

    def describe(self, reading):
        value = {f.name: f.value for f in reading.figures}
        if not math.isfinite(value["nc1"]):
            return "Too few classes or samples a class to speak of collapse."
        text = f"The features vary {value['nc1']:.2g} times as much within classes as between them (0 is full collapse)"
        ratios = [value[f"nc1_ratio_{view}"] for view in ("attacked", "noised")]
        if not all(map(math.isfinite, ratios)):
            return text + "."
        text += f"; an attack multiplies that by {ratios[0]:.2g}, noise of the same size by {ratios[1]:.2g}."
        if "leap" not in value:
            return text
        share = said(value["leap"], ".0%")
        return f"{text} Of the samples that the attack fools, {share} lie nearest the centre of their new class."


_VIEWS = {"attacked": "attack", "noised": "noise"}


_WORDS = {
    "nc1": "within-class over between-class variation",
    "nc2_norm": "spread of the class means' lengths",
    "nc2_angle": "deviation of the class means' angles from a simplex",
    "nc3": "distance of the classifier from the class means",
    "nc4": "disagreement with the nearest class mean",
}

_NEAREST = {
    "layer_near_true": "nearest clean class mean is that of the true label (or target)",
    "layer_near_predicted": "nearest clean class mean is that of the predicted label",
}

_LAST = {
    "attacked_near_true": "attacked samples still nearest their own class mean, last layer",
    "leap": "fooled samples nearest the mean of their new class, last layer",
}


def _scatter(table: Table, features: np.ndarray, predicted: np.ndarray, labels: np.ndarray, weight: np.ndarray) -> None:
    def nc1(rows):
        return collapse(features[rows], labels[rows], weight, predicted[rows])["nc1"]

    table.statistic("nc1", nc1, len(labels), fewer=6, rescaled=True, alternative="less", long_name=_WORDS["nc1"])


def _of_two_classes(labels: np.ndarray) -> np.ndarray:
    if len(np.unique(labels)) < 2:
        raise NotApplicable("it needs two classes among the rows read: with one there is nothing between classes")
    return labels


def _check_apart(features: np.ndarray, labels: np.ndarray) -> None:
    centres = np.stack([features[labels == label].mean(axis=0) for label in np.unique(labels)])
    if len(centres) > 1 and coincide(centres):
        raise NotApplicable(
            "the features before the last layer have the same mean in every class (a dead layer?), so there is no "
            "variation between classes to compare with"
        )


def _aligned(table: Table, features: dict[str, np.ndarray], labels: np.ndarray) -> None:
    """Figures of how the clean and the attacked class means lie to each other."""

    def of(rows: np.ndarray) -> SimplexAlignment:
        return simplex_alignment(*(_means(features[view][rows], labels[rows]) for view in ("clean", "attacked")))

    words = {
        "simplex_cosine": "cosine of clean and attacked class means, centred",
        "simplex_raw_cosine": "cosine of clean and attacked class means",
        "simplex_shift": "shift of class means under attack over their distance from the centre",
    }
    for name, long_name in words.items():
        pick = {"fewer": 6, "alternative": "none", "long_name": long_name}
        table.statistic(name, lambda rows, n=name: getattr(of(rows), n.removeprefix("simplex_")), len(labels), **pick)


def _means(features: np.ndarray, labels: np.ndarray) -> Means:
    classes = np.unique(labels)
    member = (labels[:, None] == classes).astype(float)
    return Means(
        classes=torch.as_tensor(classes), means=torch.as_tensor((member.T @ features) / member.sum(axis=0)[:, None])
    )


def _bands(table: Table, found: dict[str, Layers]) -> None:
    """NC1/C by group and layer with bootstrap intervals, the class means held."""
    from cutaway.reading.intervals import mean_interval

    dims = ["group", "layer"]
    table.keep("layer_nc1", [f.nc1 for f in found.values()], dims, long_name=_WORDS["nc1"])
    bands = np.array(
        [
            [mean_interval(c, seed=table.seed, resamples=table.resamples // 4) for c in f.scatter.T]
            for f in found.values()
        ]
    )
    for k, end in enumerate(("low", "high")):
        kind = "lower_bound" if end == "low" else "upper_bound"
        table.keep(f"layer_nc1_{end}", bands[..., k], dims, long_name=f"{end} end of its interval", kind=kind)
