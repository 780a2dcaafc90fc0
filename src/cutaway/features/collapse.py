"""Instrument `neural-collapse`: NC1 to NC4 of the penultimate features, clean, under attack and under noise.

Notation (Su, Kempe et al., arXiv 2311.07444; Papyan et al. 2020, arXiv 2008.08186): features h_i, class means mu_c,
global mean mu_G, M = [mu_c - mu_G] (C x d), Sigma_W the within-class covariance, Sigma_B = M^T M / C.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import xarray as xr

from cutaway.data.dataset import spread_rows
from cutaway.evidence.resample import bootstrap_interval
from cutaway.instrument import Findings, Instrument, NotApplicable
from cutaway.network import Network
from cutaway.reading import Figure, variable
from cutaway.robustness.attacks import PGD, Noise


def collapse(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """NC1, NC2 (norms, angles), NC3, NC4 of `features` `(n, d)` with `labels` `(n,)`; `weight` `(C, d)` is the
    classifier's.

    nc1 = tr(Sigma_W pinv(Sigma_B)) / C (the authors' code leaves out the customary 1/C); nc2_norm = std/mean of
    |M_c|; nc2_angle = mean over c != c' of |cos(M_c, M_c') + 1/(C-1)|; nc3 = |W/|W|_F - M/|M|_F|_F^2; nc4 = share of
    samples whose nearest class mean is not what the network predicts. All >= 0, 0 at full collapse. Classes that do
    not occur are left out of the means. NaN with fewer than two.
    """
    classes = np.unique(labels)
    if len(classes) < 2 or len(features) <= len(classes):
        return dict.fromkeys(("nc1", "nc2_norm", "nc2_angle", "nc3", "nc4"), float("nan"))
    member = (labels[:, None] == classes[None]).astype(float)
    means = member.T @ features / member.sum(axis=0)[:, None]
    centred = means - means.mean(axis=0)
    inner = features - member @ means
    # With Sigma_B = M^T M / C, tr(Sigma_W pinv(Sigma_B)) = C mean_i |pinv(M)^T x_i|^2, so nothing d x d is formed.
    projected = inner @ np.linalg.pinv(centred, rcond=1e-10)
    nc1 = float((projected**2).sum(axis=1).mean())
    norms = np.linalg.norm(centred, axis=1)
    cosine = (centred @ centred.T) / np.maximum(np.outer(norms, norms), 1e-300)
    off = ~np.eye(len(classes), dtype=bool)
    own = weight[classes] - (weight[classes].mean(axis=0) if len(classes) == len(weight) else 0)
    aligned = own / np.linalg.norm(own) - centred / np.linalg.norm(centred)
    nearest = classes[np.argmin(_squared_distances(features, means), axis=1)]
    return {
        "nc1": nc1,
        "nc2_norm": float(norms.std() / norms.mean()),
        "nc2_angle": float(np.abs(cosine[off] + 1 / (len(classes) - 1)).mean()),
        "nc3": float((aligned**2).sum()),
        "nc4": float((nearest != predictions).mean()),
    }


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
        from cutaway.reading.charts import collapse_chart

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


def last_linear(network: Network) -> torch.nn.Linear | None:
    """The `nn.Linear` whose output is the network's output, or None."""
    results: list[tuple[torch.nn.Linear, torch.Tensor]] = []
    handles = [
        m.register_forward_hook(lambda module, _i, output: results.append((module, output)))  # pyright: ignore[reportArgumentType]
        for m in network.model.modules()
        if isinstance(m, torch.nn.Linear)
    ]
    try:
        with torch.no_grad():
            output = network.forward(network.example)  # pyright: ignore[reportArgumentType]
    finally:
        for handle in handles:
            handle.remove()
    return next((m for m, r in reversed(results) if r.shape == output.shape and torch.equal(r, output)), None)


def penultimate(
    network: Network, head: torch.nn.Linear, inputs: torch.Tensor, batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """The head's input by a pre-hook on the head itself, `(n, d)` float64, and the network's predictions `(n,)`."""
    kept: list[torch.Tensor] = []
    handle = head.register_forward_pre_hook(lambda _m, args: kept.append(args[0].detach().flatten(1).double().cpu()))
    predictions = []
    try:
        with torch.no_grad():
            for start in range(0, len(inputs), batch):
                scores = network.forward(network.place(inputs[start : start + batch]))
                predictions.append(scores.argmax(dim=1).cpu())
    finally:
        handle.remove()
    return torch.cat(kept).numpy(), torch.cat(predictions).numpy()


def _squared_distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return (points**2).sum(1)[:, None] - 2 * points @ centres.T + (centres**2).sum(1)[None]
