"""Answers by sampling: exact chances against naive products, unbiased pass@k, drops that are there, formats that flip."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.instruments import AnswerSampling
from cutaway.network import Network
from cutaway.testing import check_instrument
from cutaway.text import answer_probabilities, evaluation_stability, falls_against_first, pass_at_k

WORDS, LENGTH = 9, 7


class Chain(nn.Module):
    """Logits of a token depend on the one before."""

    def __init__(self):
        super().__init__()
        logits = 2.0 * torch.randn((WORDS, WORDS), generator=torch.Generator().manual_seed(1))
        self.table = nn.Embedding.from_pretrained(logits)

    def forward(self, tokens):
        return self.table(tokens)


def rows(count: int) -> torch.Tensor:
    """Random questions; the answers of the first half are the greedy ones."""
    tokens, best = torch.randint(WORDS, (count, LENGTH), generator=torch.Generator().manual_seed(0)), Chain().table
    for t in (-2, -1):
        tokens[: count // 2, t] = best.weight[tokens[: count // 2, t - 1]].argmax(dim=1)
    return tokens


def test_chances_are_the_naive_products_at_every_temperature():
    tokens, weights = rows(6), Chain().table.weight.double().detach().numpy()
    network = Network(Chain().eval(), tokens[:2])
    found = answer_probabilities(network, tokens, 2, (0.0, 0.5, 1.0))
    assert found[:3, 0].tolist() == [1, 1, 1]
    for row, text in enumerate(tokens.tolist()):
        for column, temperature in ((1, 0.5), (2, 1.0)):
            chance = 1.0
            for before, token in ((text[-3], text[-2]), (text[-2], text[-1])):
                p = np.exp(weights[before] / temperature)
                chance *= p[token] / p.sum()
            assert found[row, column] == pytest.approx(chance, rel=1e-9)
    with pytest.raises(InputError, match="rows of 7 tokens with a prompt of 0"):
        answer_probabilities(network, tokens, 7, (1.0,))
    tokens[0, -1] = 50
    with pytest.raises(InputError, match="token 50 for a vocabulary of 9"):
        answer_probabilities(network, tokens, 2, (1.0,))


def test_pass_at_k_is_the_share_of_all_choices_of_k_samples():
    for samples, right, k in ((6, 2, 3), (5, 0, 2), (5, 5, 1), (7, 5, 4)):
        drawn = [1] * right + [0] * (samples - right)
        share = np.mean([any(choice) for choice in combinations(drawn, k)])
        assert pass_at_k(samples, np.array([right]), k)[0] == pytest.approx(share)
    q = 0.3  # unbiased: its mean over the law of `right` is 1 - (1 - q)^k
    law = stats.binom.pmf(np.arange(9), 8, q)
    assert law @ pass_at_k(8, np.arange(9), 3) == pytest.approx(1 - (1 - q) ** 3)
    with pytest.raises(InputError, match="k = 5, and 1 to 1 right of 4"):
        pass_at_k(4, np.array([1]), 5)


def test_of_zeros_and_ones_the_sign_flips_are_mcnemars_test():
    rng = np.random.default_rng(0)
    first = (rng.random(60) < 0.8).astype(float)
    second = np.where(rng.random(60) < 0.25, 1 - first, first)
    worse, better = int((second < first).sum()), int((second > first).sum())
    exact = stats.binom.sf(worse - 1, worse + better, 0.5)
    assert falls_against_first(np.stack([first, second], axis=1), draws=20_000)[0] == pytest.approx(exact, abs=0.01)
    p = falls_against_first(np.stack([first, first, np.zeros(60)], axis=1), draws=999)
    assert p[0] == 1 and p[1] == pytest.approx(0.002)  # Holm: twice the least
    with pytest.raises(InputError, match=r"shape \(60, 1\)"):
        falls_against_first(first[:, None])


def test_formats_that_do_not_matter_and_one_that_does():
    rng = np.random.default_rng(0)
    item = (rng.random(80) < 0.6).astype(float)
    same = evaluation_stability(np.stack([item] * 3))
    assert same.flips == 0 and same.shares.row == 1 and same.low == 1
    other = evaluation_stability(np.stack([item, item, 1 - item]))
    assert other.flips == pytest.approx(2 / 3) and other.shares.row < 0.1 < same.low
    with pytest.raises(InputError, match="not all finite"):
        evaluation_stability(np.full((2, 3), np.nan))


def test_the_instrument_finds_the_drop_and_the_hidden_risk():
    data = Dataset(name="questions", inputs=rows(80))
    reading = check_instrument(AnswerSampling(answer=2, k=3), Chain().eval(), data)
    chance = reading.values["sampled"].values
    assert reading.figure("greedy").value >= 0.5
    assert reading.figure("pass_at_k").value == pytest.approx((1 - (1 - chance) ** 3).mean())
    right = answer_probabilities(Network(Chain().eval(), data.inputs[:2]), data.inputs, 2, (0.0,))[:, 0] == 1
    assert reading.figure("hidden_risk").value == pytest.approx(1 - (chance[right] ** 3).mean())
    assert 0 < reading.figure("drop_temperature").value <= 1
    assert "The first temperature at which it is right less often" in AnswerSampling().describe(reading)
    wrong = Dataset(name="questions", inputs=torch.cat([rows(20)[10:], rows(20)[10:]]))
    assert math.isfinite(AnswerSampling(answer=2).measure(Chain().eval(), wrong).figure("sampled").value)
    with pytest.raises(InputError, match="fewer than the 7 tokens of a row"):
        AnswerSampling(answer=7).measure(Chain().eval(), data)
