"""Latents at extremes: against scipy, a latent that is planted, p-values that pay for the search, constants."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from cutaway.data import Dataset
from cutaway.instruments import LatentExtremes
from cutaway.network import Network
from cutaway.outputs import effect_p_values, latent_effects, rank_effects, sample_properties

LATENTS = torch.randn((200, 3), generator=torch.Generator().manual_seed(0))


class Planted(nn.Module):
    """Latent 1 brightens the left half; the others do nothing, and the lower half is as the upper one."""

    def forward(self, z):
        left = torch.sigmoid(z[:, 1])[:, None].expand(-1, 2)
        return torch.cat([left, torch.full_like(left, 0.5)], dim=1)[:, None, None, :].expand(-1, 1, 4, 4)


def test_effects_are_spearmans_and_the_planted_latent_is_found():
    properties = {**sample_properties((1, 4, 4)), "noisy": lambda x: torch.rand(len(x), dtype=torch.float64)}
    torch.manual_seed(0)
    found = latent_effects(Network(Planted(), LATENTS[:2]), LATENTS, properties, draws=20)
    assert found.effect.shape == (3, 4) and found.curve.shape == (3, 4, 7)
    for j in range(3):
        level = np.repeat(np.arange(7), 20)
        assert found.effect[j, 3] == pytest.approx(stats.spearmanr(level, found.values[j, 3].ravel())[0])
    assert found.effect[1, 1] > 0.95 and np.abs(found.effect[[0, 2], 1]).max() < 0.3
    assert np.isnan(found.effect[:, 2]).all()  # upper less lower is 0 in every sample
    p = effect_p_values(found, permutations=99)
    assert p[:2] == pytest.approx(0.01) and np.isnan(p[2]) and p[3] > 0.05


def test_p_values_pay_for_the_search_over_latents():
    from cutaway.outputs import LatentEffects

    rng, small = np.random.default_rng(0), []
    for seed in range(100):
        values = rng.standard_normal((8, 1, 7, 10))
        effects = LatentEffects(properties=("p",), effect=rank_effects(values), curve=values.mean(-1), values=values)
        small.append(effect_p_values(effects, permutations=49, seed=seed)[0])
    assert np.mean(np.array(small) <= 0.1) <= 0.17


def test_the_reading_says_what_is_constant_and_that_a_null_is_wanted():
    data = Dataset(name="latents", inputs=LATENTS)
    reading = LatentExtremes(draws=10).measure(Planted(), data)
    assert [s.what for s in reading.coverage.skipped] == ["effect_top_bottom"]
    told = LatentExtremes().describe(reading)
    assert "latent 1 moves the left half less right half most" in told.lower() and "ask for nulls" in told
    assert (
        "latents (n, d) of real numbers"
        in LatentExtremes().measure(nn.Flatten(), Dataset(name="images", inputs=torch.rand(6, 1, 4, 4))).reason
    )
