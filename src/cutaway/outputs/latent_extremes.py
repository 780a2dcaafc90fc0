"""What a generator's latents do to properties of its samples when they are set far outside the training's range.

One latent after the other is set to levels mean + l sd while the others are rows of data, drawn anew for every level;
the effect on a property is the rank correlation of level and property over all draws. A random network moves
properties with its latents too: the effect of an untrained twin is the null that counts, and permuting levels answers
the weaker question whether there is any effect at all. Source: Begus, Leban and Gero 2023 (arXiv 2303.10931)
set latents to extremes; the estimator and its p-value are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from cutaway import seeds
from cutaway.arrays import Floats
from cutaway.network import Network

LEVELS = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)

Property = Callable[[torch.Tensor], torch.Tensor]


def sample_properties(shape: tuple[int, ...]) -> Mapping[str, Property]:
    """Properties (n,) of samples (n, *shape) that need no reader: for images (two dimensions or more, the last two of
    space) `mass`, and `left_right` and `top_bottom`, differences of halves; `mean` and `spread` for vectors.

    Exact. Source: ours.
    """
    if len(shape) < 2:
        return {"mean": lambda x: x.double().mean(dim=1), "spread": lambda x: x.double().std(dim=1)}
    height, width = shape[-2:]

    def mean(x: torch.Tensor) -> torch.Tensor:
        return x.double().flatten(1).mean(dim=1)

    return {
        "mass": mean,
        "left_right": lambda x: mean(x[..., : width // 2]) - mean(x[..., width - width // 2 :]),
        "top_bottom": lambda x: mean(x[..., : height // 2, :]) - mean(x[..., height - height // 2 :, :]),
    }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LatentEffects:
    """Of latents (d,), properties (p,) and levels (m,): rank correlation `effect` (d, p), NaN where a property never
    changes; mean property by level `curve` (d, p, m); and the draws behind them, `values` (d, p, m, draws)."""

    properties: tuple[str, ...]
    effect: Floats
    curve: Floats
    values: Floats


def latent_effects(
    network: Network,
    latents: torch.Tensor,
    properties: Mapping[str, Property],
    *,
    draws: int = 60,
    seed: int = 0,
    budget: int | None = None,
) -> LatentEffects:
    """Effects of every latent of `latents` (n, d), rows as the generator is used, on `properties` of its samples.

    Estimates over `draws` rows a level. Cost: 7 d `draws` forward passes; memory within `budget` bytes. Source: see the
    head of this file.
    """
    d, found = latents.shape[1], []
    rng = np.random.default_rng(seeds.stream(seed, "latent extremes"))
    middle, spread = latents.double().mean(dim=0), latents.double().std(dim=0)
    for j in range(d):
        rows = latents[torch.as_tensor(rng.integers(len(latents), size=len(LEVELS) * draws))].clone()
        levels = middle[j] + spread[j] * torch.tensor(LEVELS, dtype=torch.float64)
        rows[:, j] = levels.repeat_interleave(draws).to(rows)
        size = network.chunk_size(rows, (), budget, pre=False, factor=2)
        parts = [
            torch.stack([of(chunk.output) for of in properties.values()]).cpu()
            for chunk in network.stream(rows, (), pre=False, batch_size=size)
        ]
        found.append(torch.cat(parts, dim=1).numpy().reshape(len(properties), len(LEVELS), draws))
    values = np.stack(found)
    return LatentEffects(
        properties=tuple(properties),
        effect=rank_effects(values),
        curve=values.mean(axis=-1),
        values=values,
    )


def effect_p_values(effects: LatentEffects, *, permutations: int = 199, seed: int = 0) -> Floats:
    """Per property (p,) the p-value of "no latent does anything to it": the largest |effect| over latents among those
    of permuted levels, so that the search over latents is paid for. Exact; NaN where the property never changes.

    Cost: `permutations` sorts of the draws. Source: ours (maximum statistic, Westfall and Young 1993).
    """
    rng = np.random.default_rng(seeds.stream(seed, "levels"))
    d, p, m, draws = effects.values.shape
    ranks = stats.rankdata(effects.values.reshape(d, p, m * draws), axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    norm = np.sqrt((ranks**2).sum(axis=-1, keepdims=True))
    ranks = np.divide(ranks, norm, out=np.zeros_like(ranks), where=norm > 0)
    level = np.repeat(np.arange(m, dtype=float), draws) - (m - 1) / 2
    level /= np.sqrt((level**2).sum())
    largest = np.nanmax(np.abs(effects.effect), axis=0, initial=0.0)
    above = np.zeros(p)
    for _ in range(permutations):
        drawn = np.stack([ranks[j] @ rng.permutation(level) for j in range(d)])
        above += np.abs(drawn).max(axis=0) >= largest - 1e-12
    return np.where(np.isnan(effects.effect).all(axis=0), np.nan, (1 + above) / (permutations + 1))


def rank_effects(values: Floats) -> Floats:
    """Spearman's correlation of level and value along the last two axes of `values` (..., levels, draws); NaN where all
    values are the same. Exact. Source: Spearman 1904."""
    *shape, m, draws = values.shape
    ranks = stats.rankdata(values.reshape(*shape, m * draws), axis=-1)
    level = stats.rankdata(np.repeat(np.arange(m), draws))
    ranks, level = ranks - ranks.mean(axis=-1, keepdims=True), level - level.mean()
    norm = np.sqrt((ranks**2).sum(axis=-1) * (level**2).sum())
    return np.divide(ranks @ level, norm, out=np.full(norm.shape, np.nan), where=norm > 0)
