"""The whole study on one data set: embed, perturb, make regions, train, verify, measure.

Metrics: `verifiability`: share of boxes proved to be of class 0 all over (sound bounds, CROWN, then with optimised
slopes); `falsified`: share with a replayed counterexample; `generalisability`: share of unseen test positives and their
perturbations inside the union of verified boxes, and `reach` inside the union of all boxes, verified or not (what the
regions would hold if every one were proved); `embedding_error`: share of test sentences of the other class inside the
verified ones; `falsifiability`: share of verified boxes into which a perturbation of a sentence of the other class
falls (our reading of a definition that the released code does not hold); precision, recall and F1 of the classifier.
Embeddings are centred, reduced by PCA and rotated, all fitted on training rows only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from cutaway.errors import InputError
from cutaway.guard.nlp.boxes import Boxes, cluster_boxes, cubes, perturbation_boxes
from cutaway.guard.nlp.perturbations import perturb
from cutaway.guard.nlp.train import attacked, train_classifier
from cutaway.robustness.bounds.alpha import optimised_rows
from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.bounds.sweep import sweep
from cutaway.robustness.regions import box

Embedding = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceSettings:
    """`region`: cube, character, word, sentence (perturbation boxes) or cluster; `dimension` after PCA; `epsilon` of
    cubes; `count` perturbations a sentence; `clusters`; `adversarial`: train on points of the regions."""

    region: str = "word"
    dimension: int = 30
    epsilon: float = 0.05
    count: int = 5
    clusters: int = 50
    adversarial: bool = True
    epochs: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceOutcome:
    """See the module's text; all shares in [0, 1], NaN where there is nothing to divide by. `overlap`: verified boxes
    that hold a training sentence of the other class."""

    boxes: int
    verifiability: float
    falsified: float
    generalisability: float
    reach: float
    embedding_error: float
    falsifiability: float
    overlap: int
    precision: float
    recall: float
    f1: float


class Projection:
    """x -> (x - mean) P V: PCA to `dimension`, then V of the SVD of the training positives' scores."""

    def __init__(self, train: np.ndarray, positive: np.ndarray, dimension: int) -> None:
        if not 1 <= dimension <= min(train.shape):
            raise InputError(
                "dimension",
                found=str(dimension),
                expected=f"1 to {min(train.shape)}",
                remedy="give a number in this range",
            )
        self.mean = train.mean(0)
        _, _, rows = np.linalg.svd(train - self.mean, full_matrices=False)
        scores = (train - self.mean) @ rows[:dimension].T
        scale = scores.std(0).mean()
        rotation = np.linalg.svd(scores[positive], full_matrices=True)[2] if positive.sum() >= 1 else np.eye(dimension)
        self.matrix = rows[:dimension].T @ rotation.T / scale

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return (points - self.mean) @ self.matrix


def run_pipeline(
    train: tuple[Sequence[str], np.ndarray],
    test: tuple[Sequence[str], np.ndarray],
    embed: Embedding,
    *,
    settings: SentenceSettings = SentenceSettings(),
    seed: int = 0,
) -> SentenceOutcome:
    """One run. Labels are 0 for the positive class (whose regions are verified) and 1 for the other.

    `train` and `test` are n texts and (n,) labels. Raises `InputError` for an unknown region.
    """
    (texts, labels), (fresh, truth) = train, test
    labels, truth = np.asarray(labels), np.asarray(truth)
    raw = embed(texts)
    project = Projection(raw, labels == 0, settings.dimension)
    points = project(raw)
    positives = points[labels == 0]
    rng = np.random.default_rng(seed)
    boxes = _regions(texts, labels, points, embed, project, settings, rng, seed)
    model = train_classifier(
        points, labels, boxes=boxes if settings.adversarial else None, epochs=settings.epochs, seed=seed
    )
    verified, falsified = verify_boxes(model, boxes, seed=seed)
    proved = boxes.subset(verified)
    unseen = project(embed(fresh))
    groups = {value: [t for t, v in zip(fresh, truth, strict=True) if v == value] for value in (0, 1)}
    level = settings.region if settings.region in ("character", "word", "sentence") else "word"
    moved = {v: _perturbed(g, level, settings.count, embed, project, rng)[1] for v, g in groups.items()}
    own = np.vstack([unseen[truth == 0], *moved[0]])
    steered = proved.inside(np.vstack([unseen[truth == 1], *moved[1]])).any(0)
    return SentenceOutcome(
        boxes=len(boxes),
        verifiability=_share(verified),
        falsified=_share(falsified),
        generalisability=_share(proved.inside(own).any(1)),
        reach=_share(boxes.inside(own).any(1)),
        embedding_error=_share(proved.inside(unseen[truth == 1]).any(1)),
        falsifiability=_share(steered) if len(proved) else float("nan"),
        overlap=int(proved.inside(points[labels == 1]).any(0).sum()) if len(positives) else 0,
        **_quality(model, unseen, truth),
    )


def _regions(texts, labels, points, embed, project, settings: SentenceSettings, rng, seed: int) -> Boxes:
    positives = points[labels == 0]
    if settings.region == "cube":
        return cubes(positives, settings.epsilon)
    if settings.region == "cluster":
        return cluster_boxes(positives, points[labels == 1], count=settings.clusters, seed=seed)
    if settings.region not in ("character", "word", "sentence"):
        raise InputError(
            "region",
            found=repr(settings.region),
            expected="cube, character, word, sentence or cluster",
            remedy="give one of these",
        )
    chosen = [texts[i] for i in np.flatnonzero(labels == 0)]
    raw, moved = _perturbed(chosen, settings.region, settings.count, embed, project, rng)
    return perturbation_boxes(positives, moved) if raw else cubes(positives, settings.epsilon)


def _perturbed(texts, level: str, count: int, embed, project, rng) -> tuple[list[str], list[np.ndarray]]:
    """(all perturbations, their projections text by text)."""
    made = [perturb(t, level, count, rng) for t in texts]
    flat = [p for group in made for p in group]
    placed = project(embed(flat)) if flat else np.empty((0, project.matrix.shape[1]))
    ends = np.cumsum([len(g) for g in made])
    return flat, [placed[e - len(g) : e] for g, e in zip(made, ends, strict=True)]


def verify_boxes(model: nn.Sequential, boxes: Boxes, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(verified, falsified) booleans (k,): class 0 wins in the whole box (sound), or loses at a replayed point of
    it."""
    if not len(boxes):
        return np.zeros(0, dtype=bool), np.zeros(0, dtype=bool)
    narrow, wide = copy.deepcopy(model).float(), copy.deepcopy(model).double()
    bounded = bound_network(wide, torch.zeros(1, boxes.lower.shape[1], dtype=torch.float64))
    rows = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    bounds = []
    for start in range(0, len(boxes), 512):
        region = box(
            torch.from_numpy(boxes.lower[start : start + 512]), torch.from_numpy(boxes.upper[start : start + 512])
        )
        functional = rows.reshape(1, 1, *bounded.graph.output.shape).expand(
            len(region.low), 1, *bounded.graph.output.shape
        )
        bounds.append(optimised_rows(bounded, region, functional, sweep(bounded, region))[:, 0].detach())
    verified = torch.cat(bounds).numpy() > 0
    generator = torch.Generator().manual_seed(seed)
    falsified = np.zeros(len(boxes), dtype=bool)
    for _ in range(5):
        points = attacked(narrow, boxes, steps=20, generator=generator, fading=True)
        replayed = np.clip(points.double().numpy(), boxes.lower, boxes.upper)
        scores = wide(torch.from_numpy(replayed))
        falsified |= (scores[:, 0] <= scores[:, 1]).numpy()
    return verified, falsified & ~verified


def _quality(model: nn.Module, points: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Precision, recall and F1 of class 0."""
    said = (model(torch.from_numpy(points).float()).argmax(1) == 0).numpy()
    hits = float((said & (truth == 0)).sum())
    precision = hits / float(said.sum()) if said.any() else float("nan")
    recall = hits / float((truth == 0).sum()) if (truth == 0).any() else float("nan")
    total = precision + recall
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / total if total > 0 else float("nan"),
    }


def _share(flags: Any) -> float:
    return float(np.mean(flags)) if len(flags) else float("nan")
