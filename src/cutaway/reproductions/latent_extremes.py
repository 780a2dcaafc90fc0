"""Latents at extremes: a digits VAE, its decoder re-initialised, and a property that no latent can move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from cutaway.reproductions.row import Row, held

TITLE = "Latents of a generator set to extremes: effects, and those of an untrained decoder"
SOURCE = "Begus, Leban and Gero 2023, arXiv 2303.10931; the estimator is ours"
LATENTS = 8


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """A VAE of 8 latents on scikit-learn's digits, 150 epochs; 39 untrained decoders (short: 19)."""
    from cutaway.network import Network
    from cutaway.outputs import effect_p_values, latent_effects, sample_properties
    from cutaway.reading.rank import p_value

    decoder, off = trained_decoder(seed, 150)
    progress(f"reconstruction: mean squared error {off:.4f} a pixel")
    latents = torch.randn((500, LATENTS), generator=torch.Generator().manual_seed(seed))
    noise = torch.Generator().manual_seed(seed + 1)
    properties = {
        **sample_properties((8, 8)),
        "control": lambda x: torch.rand(len(x), generator=noise, dtype=torch.float64),
    }
    found = latent_effects(Network(decoder, latents[:2]), latents, properties, seed=seed)
    p = effect_p_values(found, seed=seed)
    mine = dict(zip(found.properties, np.abs(found.effect).max(axis=0)))
    progress(", ".join(f"{name} {value:.2f}" for name, value in mine.items()))
    drawn = {name: [] for name in found.properties}
    for draw in range(19 if short else 39):
        twin = latent_effects(Network(_decoder(1000 + draw), latents[:2]), latents, properties, seed=seed + draw)
        for name, value in zip(found.properties, np.abs(twin.effect).max(axis=0)):
            drawn[name].append(float(value))
    rows = []
    for k, name in enumerate(("mass", "left_right", "top_bottom")):
        told = f"{mine[name]:.2f}; median {np.median(drawn[name]):.2f}, 95 % {np.quantile(drawn[name], 0.95):.2f}"
        rows.append(Row(quantity=f"{name}: trained; untrained decoders", ours=told, verdict="report"))
        words = f"{name}: p of no effect of any latent, levels permuted"
        rows.append(held(words, "an effect", "published", float(p[k]), "at most 0.01", p[k] <= 0.01))
    words = "a property drawn at random: p of no effect of any latent"
    told = ", ".join(f"{n} {p_value(mine[n], np.array(drawn[n]), 'greater'):.2f}" for n in list(found.properties)[:3])
    return [
        *rows,
        held(words, "none", "theory", float(p[3]), "above 0.01", p[3] > 0.01),
        Row(
            quantity="p of the trained decoder among the untrained ones: what was learned", ours=told, verdict="report"
        ),
    ]


def trained_decoder(seed: int, epochs: int) -> tuple[nn.Module, float]:
    """The decoder of a VAE on the digits, and its mean squared error."""
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    x = torch.tensor(digits.data / 16, dtype=torch.float32)
    decoder = _decoder(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2 * LATENTS))
        optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 2e-3)
        loss = x.new_zeros(())
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(128):
                middle, log_var = encoder(x[rows]).chunk(2, dim=1)
                drawn = middle + torch.randn_like(middle) * (log_var / 2).exp()
                told = decoder(drawn).flatten(1)
                loss = nn.functional.binary_cross_entropy(told, x[rows], reduction="sum") / len(rows)
                apart = -0.5 * (1 + log_var - middle**2 - log_var.exp()).sum(dim=1).mean()
                optimiser.zero_grad()
                (loss + apart).backward()
                optimiser.step()
        with torch.no_grad():
            off = float(((decoder(encoder(x)[:, :LATENTS]).flatten(1) - x) ** 2).mean())
    return decoder.eval(), off


def _decoder(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = (nn.Linear(LATENTS, 64), nn.ReLU(), nn.Linear(64, 64), nn.Sigmoid(), nn.Unflatten(1, (8, 8)))
        return nn.Sequential(*layers).eval()
