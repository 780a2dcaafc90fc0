"""Who gets the regions: crossings per class, region size against confidence, and counts that saturate.

A class whose samples are joined by segments with few crossings is served by few affine pieces. The measure is exact for
each segment (see `rays`) and comes with a bootstrap over pairs; the null is the same pairs with permuted labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from cutaway.arrays import Floats
from cutaway.data.pairs import same_class_pairs
from cutaway.errors import InputError
from cutaway.geometry.linear_regions import region_radius
from cutaway.geometry.program import StagedProgram
from cutaway.geometry.rays import as_program, crossings
from cutaway.network import Network
from cutaway.network.graph import Graph


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassDensity:
    """Per class (K): `density` crossings per unit length within the class, `low`, `high` its 95% bootstrap interval,
    `pairs` how many; `between`: density on segments between classes.

    Arrays have shape (K,).
    """

    classes: NDArray[np.int64]
    density: Floats
    low: Floats
    high: Floats
    pairs: NDArray[np.int64]
    between: float

    @property
    def spread(self) -> float:
        """Largest over smallest class density: 1 when all classes are served alike."""
        return float(self.density.max() / max(self.density.min(), 1e-300))


def class_density(
    model: nn.Module | Graph | StagedProgram,
    inputs: Tensor,
    labels: Tensor,
    *,
    per_class: int = 32,
    generator: torch.Generator,
    resamples: int = 400,
    budget: int = 1 << 30,
) -> ClassDensity:
    """Crossing density on segments inside each class and between classes; exact per segment, sampled over pairs.

    Cost: one forward pass a crossing. Raises InputError when labels do not fit or every class has one sample.
    `inputs` (n, *input shape), `labels` (n,). Source: ours.
    """
    if len(labels) != len(inputs):
        raise InputError(
            "labels",
            found=f"{len(labels)} for {len(inputs)} inputs",
            expected="one a row",
            remedy="give one label an input",
        )
    pairs = same_class_pairs(labels, per_class, generator)
    order = torch.randperm(len(inputs), generator=generator)
    mixed = torch.stack([order[:-1], order[1:]], dim=1)
    mixed = mixed[labels[mixed[:, 0]] != labels[mixed[:, 1]]][: len(pairs)]
    both = torch.cat([pairs, mixed])
    different = (inputs[both[:, 0]] - inputs[both[:, 1]]).flatten(1).abs().amax(dim=1) > 0
    both, inner = both[different], torch.arange(len(both))[different] < len(pairs)
    found = crossings(model, inputs[both[:, 0]], inputs[both[:, 1]], budget=budget)
    density, owner = found.density.cpu().numpy(), labels[both[:, 0]].numpy()
    inside = inner.numpy()
    classes = np.unique(owner[inside])
    draw = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
    rows = []
    for c in classes:
        mine = density[inside & (owner == c)]
        means = mine[draw.integers(len(mine), size=(max(resamples, 1), len(mine)))].mean(axis=1)
        rows.append((mine.mean(), *np.quantile(means, [0.025, 0.975]), len(mine)))
    mean, low, high, count = (np.array(column) for column in zip(*rows))
    between = float(density[~inside].mean()) if (~inside).any() else float("nan")
    return ClassDensity(
        classes=classes.astype(np.int64),
        density=mean,
        low=low,
        high=high,
        pairs=count.astype(np.int64),
        between=between,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SizeAndConfidence:
    """Per sample `radius` (distance to the nearest boundary), `confidence` (largest softmax), `margin` (first minus
    second logit), and the rank correlations of the radius with both.

    Arrays have shape (n,).
    """

    radius: Floats
    confidence: Floats
    margin: Floats
    with_confidence: float
    with_margin: float


def size_and_confidence(
    model: nn.Module | Graph | StagedProgram | Network, inputs: Tensor, *, budget: int = 1 << 30
) -> SizeAndConfidence:
    """Exact inscribed radius of every sample's region against the network's confidence there (float64).

    One output f is read as two logits (0, f). Rank correlations are Spearman's; NaN for constant columns. Cost: 2 D
    forward passes a sample (see `region_radius`), in batches within `budget` bytes. Source: ours.
    """
    program = as_program(model, inputs[:1])
    radius = np.array([region_radius(program, x, budget=budget) for x in inputs])
    with torch.no_grad():
        alone = [program.outputs(program.to_site(x[None], len(program.sites))) for x in inputs]
    outputs = torch.cat(alone)
    logits = outputs if outputs.shape[1] > 1 else torch.cat([torch.zeros_like(outputs), outputs], dim=1)
    top = logits.topk(2, dim=1).values
    confidence, margin = logits.softmax(dim=1).amax(dim=1).numpy(), (top[:, 0] - top[:, 1]).numpy()
    return SizeAndConfidence(
        radius=radius,
        confidence=confidence,
        margin=margin,
        with_confidence=_spearman(radius, confidence),
        with_margin=_spearman(radius, margin),
    )


def _spearman(a: Floats, b: Floats) -> float:
    finite = np.isfinite(a) & np.isfinite(b)
    if finite.sum() < 3 or np.ptp(a[finite]) == 0 or np.ptp(b[finite]) == 0:
        return float("nan")
    return float(np.asarray(stats.spearmanr(a[finite], b[finite]))[0])
