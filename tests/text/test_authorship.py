"""Scores, samples and authorship: closed forms, naive sums, type I error, what must be seen, what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.instruments import Authorship
from cutaway.network import Network
from cutaway.status import Status
from cutaway.testing import check_instrument
from cutaway.text import (
    Decoding,
    any_time_p_values,
    e_values,
    monte_carlo_p_values,
    round_trip,
    sample_tokens,
    score_distributions,
    score_tokens,
)
from cutaway.text.authorship import LAMBDAS, POWERS
from cutaway.training.transformers import char_gpt

WORDS, LENGTH = 12, 40


class Chain(nn.Module):
    """A Markov chain as a language model: the logits of a token depend on the one before."""

    def __init__(self, seed: int = 0, scale: float = 1.5, words: int = WORDS):
        super().__init__()
        logits = scale * torch.randn((words, words), generator=torch.Generator().manual_seed(seed))
        self.table = nn.Embedding.from_pretrained(logits)

    def forward(self, tokens):
        return self.table(tokens)


def network(seed: int = 0) -> Network:
    return Network(Chain(seed).eval(), torch.zeros((2, LENGTH), dtype=torch.int64))


def drawn(rows: int, seed: int, length: int = LENGTH, of: int = 0, **decoding) -> torch.Tensor:
    generator, start = torch.Generator().manual_seed(seed), torch.zeros((rows, 1), dtype=torch.int64)
    return sample_tokens(network(of), start, length, generator=generator, decoding=Decoding(**decoding))


def test_whole_distributions_of_an_api_give_the_same_scores():
    tokens = drawn(5, 1, 9)
    logits = network().model.table.weight[tokens[:, 1:-1]].double()
    told = torch.log_softmax(logits, dim=-1).numpy()
    kept = told.copy()
    ours, theirs = (
        f(tokens, prompt=2, powers=POWERS)
        for f in (lambda t, **s: score_tokens(network(), t, **s), lambda t, **s: score_distributions(told, t, **s))
    )
    for name in ("log_probability", "entropy", "log_power"):
        assert getattr(theirs, name) == pytest.approx(getattr(ours, name), abs=1e-6)
    assert np.array_equal(told, kept) and np.isfinite(e_values(theirs)).all()
    told[0, 0, 3:] = -np.inf  # the most likely tokens alone
    with pytest.raises(InputError, match="probabilities that sum to 0"):
        score_distributions(told, tokens, prompt=2)
    with pytest.raises(InputError, match=r"expected log-probabilities \(5, 8, vocabulary\)"):
        score_distributions(told, tokens)


DECODINGS = [{}, {"temperature": 0.7}, {"top_k": 4}, {"top_p": 0.6}, {"temperature": 1.3, "top_k": 6, "top_p": 0.9}]


@pytest.mark.parametrize("settings", DECODINGS)
def test_scores_are_the_naive_sums_in_float64(settings):
    tokens, decoding = drawn(5, 1, 9, **settings), Decoding(**settings)
    found = score_tokens(network(), tokens, prompt=2, decoding=decoding, powers=(0.5, 2.0))
    table = network().model.table.weight.double()
    for row, text in enumerate(tokens.tolist()):
        for t in range(2, 9):
            p = np.array([math.exp(z / decoding.temperature) for z in table[text[t - 1]].tolist()])
            p /= p.sum()
            order = np.argsort(-p)[: settings.get("top_k", WORDS)]
            mass = np.cumsum(p[order]) / p[order].sum()
            kept = order[: int(np.searchsorted(mass, settings.get("top_p", 1.0) - 1e-12)) + 1]
            q = np.where(np.isin(np.arange(WORDS), kept), p, 0)
            q /= q.sum()
            assert found.log_probability[row, t - 2] == pytest.approx(math.log(q[text[t]]), abs=1e-6)
            assert found.entropy[row, t - 2] == pytest.approx(-sum(v * math.log(v) for v in q if v), abs=1e-6)
            powers = [math.log(sum(v**s for v in q if v)) for s in (0.5, 2.0)]
            assert found.log_power[row, t - 2] == pytest.approx(powers, abs=1e-6)


def test_chunks_change_nothing_and_a_later_token_changes_no_earlier_score():
    tokens = drawn(30, 2)
    whole, small = (score_tokens(network(), tokens, powers=POWERS, budget=b) for b in (None, 40_000))
    assert np.array_equal(whole.log_power, small.log_power) and np.array_equal(whole.entropy, small.entropy)
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % WORDS
    assert np.array_equal(score_tokens(network(), changed).log_probability[:, :-1], whole.log_probability[:, :-1])


@pytest.mark.parametrize("settings", DECODINGS)
def test_samples_have_the_frequencies_of_their_decoding(settings):
    second = drawn(6000, 3, 2, **settings)[:, 1]
    p = Decoding(**settings).log_probabilities(network().model.table.weight[0]).exp().numpy()
    counts = np.bincount(second.numpy(), minlength=WORDS)
    assert counts[p == 0].sum() == 0
    assert stats.chisquare(counts[p > 0], 6000 * p[p > 0]).pvalue > 1e-3


def test_greedy_is_the_most_likely_token_and_one_seed_one_sample():
    best = network().model.table.weight.argmax(dim=1)
    greedy = drawn(2, 0, 6, temperature=0)
    assert all(int(best[a]) == b for row in greedy.tolist() for a, b in zip(row, row[1:], strict=False))
    assert torch.equal(drawn(3, 5), drawn(3, 5)) and not torch.equal(drawn(3, 5), drawn(3, 6))


def test_the_e_value_has_expectation_one_exactly():
    """All sequences of two tokens of a small chain, weighted by their probabilities."""
    model = Network(Chain(4, words=4).eval(), torch.zeros((2, 3), dtype=torch.int64))
    rows = torch.tensor([[0, a, b] for a in range(4) for b in range(4)])
    for decoding in (Decoding(), Decoding(top_k=2), Decoding(temperature=0.5)):
        scores = score_tokens(model, rows, decoding=decoding, powers=POWERS)
        weight = np.exp(scores.log_probability.sum(axis=1))
        possible = weight > 0
        log_e = e_values(scores)
        assert weight.sum() == pytest.approx(1)
        for t in (0, 1):
            assert (weight[possible] * np.exp(log_e[possible, t])).sum() == pytest.approx(1, abs=1e-9)
        assert np.isposinf(log_e[~possible, 1]).all()


def test_own_texts_are_rarely_rejected_and_others_are():
    own = any_time_p_values(e_values(score_tokens(network(), drawn(2000, 7), powers=POWERS)))
    high = stats.binomtest(int((own <= 0.05).sum()), 2000).proportion_ci(0.95).high
    assert (own <= 0.05).mean() <= 0.05 and high <= 0.07
    for settings in ({"of": 9}, {"temperature": 0.4}, {"temperature": 2.5}, {"temperature": 0}):
        p = any_time_p_values(e_values(score_tokens(network(), drawn(50, 8, **settings), powers=POWERS)))
        assert (p <= 0.05).mean() >= 0.8, settings


def test_ranks_among_own_texts_are_uniform():
    d = score_tokens(network(), drawn(600, 11)).surplus.mean(axis=1)
    p = monte_carlo_p_values(d[:200], d[200:])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert monte_carlo_p_values(np.array([9.0, 0.0]), np.array([1.0, -2.0, 3.0])).tolist() == [0.25, 1.0]


def data(tokens: torch.Tensor) -> Dataset:
    return Dataset(name="texts", inputs=tokens)


def test_the_instrument_tells_own_texts_from_others_and_names_the_decoding():
    own = Authorship(samples=80).measure(network(), data(drawn(60, 1)))
    assert own.figure("rejected").value == 0 and own.figure("rejected_by_rank").value <= 0.05
    assert own.figure("deviation").low <= 0 <= own.figure("deviation").high
    other = Authorship().measure(network(), data(drawn(60, 1, of=3)))
    assert other.figure("rejected").value > 0.9 and "more than its own" in Authorship().describe(other)
    cold = data(drawn(60, 2, temperature=0.5))
    assert "less than its own" in Authorship().describe(Authorship().measure(network(), cold))
    assert Authorship(temperature=0.5).measure(network(), cold).figure("rejected").value == 0
    impossible = Authorship(top_k=2).measure(network(), data(drawn(60, 1)))
    assert impossible.figure("rejected").value == 1


def test_different_given_tokens_have_no_common_rank():
    tokens = drawn(20, 1)
    tokens[3, 0] = 5
    reading = Authorship(samples=10).measure(network(), data(tokens))
    assert [s.what for s in reading.coverage.skipped] == ["rejected_by_rank"]


def test_the_contract_on_a_transformer_and_the_picture(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = char_gpt((16,), 9, width=16, depth=1, heads=2).eval()
    tokens = torch.randint(0, 9, (24, 16), generator=torch.Generator().manual_seed(0))
    reading = check_instrument(Authorship(samples=5), model, data(tokens))
    assert reading.status is Status.ESTIMATE
    reading.plot(tmp_path / "a.svg")
    assert "tokens read" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Decoding(temperature=-1), "temperature -1"),
        (lambda: Decoding(top_p=0.0), "top-p 0"),
        (lambda: score_tokens(network(), torch.zeros((2, 1), dtype=torch.int64)), "rows of 1 tokens"),
        (lambda: score_tokens(network(), torch.zeros((2, 4))), "float32 of shape"),
        (lambda: score_tokens(network(), torch.full((2, 4), -1)), "a negative token"),
        (
            lambda: sample_tokens(network(), torch.zeros((2, 4), dtype=torch.int64), 4, generator=torch.Generator()),
            "for rows of 4",
        ),
        (lambda: e_values(score_tokens(network(), drawn(2, 0))), f"0 powers; expected {len(LAMBDAS)}"),
    ],
)
def test_what_has_no_score_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        call()


def test_logits_that_are_not_finite_and_no_language_model_are_refused():
    broken = network()
    broken.model.table.weight[3, 2] = math.nan  # as a row does that is longer than a model can read
    with pytest.raises(InputError, match="NaN or infinity among its logits"):
        score_tokens(broken, torch.full((2, 4), 3))
    pooled = nn.Sequential(nn.Embedding(5, 3), nn.Flatten())
    with pytest.raises(InputError, match="a language model; found outputs of shape"):
        score_tokens(
            Network(pooled.eval(), torch.zeros((2, 4), dtype=torch.int64)), torch.zeros((2, 4), dtype=torch.int64)
        )


class Words:
    """A tokenizer of letters with one merge: "ab" is token 2."""

    all_special_ids = (9,)
    letters = ("a", "b", "ab")

    def decode(self, ids, **_options):
        return "".join(self.letters[i] for i in ids)

    def __call__(self, text, **_options):
        found = []
        while text:
            token = 2 if text.startswith("ab") else 0 if text[0] == "a" else 1
            found.append(token)
            text = text[len(self.letters[token]) :]
        return {"input_ids": found}


def test_tokens_that_text_does_not_keep_are_found():
    rows = torch.tensor([[9, 2, 1, 0], [9, 0, 1, 1], [2, 2, 2, 2]])
    assert round_trip(Words(), rows).tolist() == [True, False, True]


def test_a_cached_decoder_draws_what_the_scores_say(real_data):
    from cutaway.network.sources import load_model

    loaded = load_model(real_data / "stories260k")
    model = Network(loaded.model, loaded.example)
    start = torch.full((6, 1), 1)
    drawn_ = sample_tokens(model, start, 20, generator=torch.Generator().manual_seed(0))

    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = loaded.model

        def forward(self, tokens):
            return self.inner(tokens).logits

    bare = Network(Bare().eval(), loaded.example)
    assert torch.equal(drawn_, sample_tokens(bare, start, 20, generator=torch.Generator().manual_seed(0)))
