"""Instrument `answer-isotropy` on Markov chains: the contract, what temperature does, what it cannot read."""

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.instruments import AnswerIsotropy
from cutaway.status import Status
from cutaway.testing import check_instrument
from cutaway.text.spread import token_counts, unit_rows


class Chain(nn.Module):
    """The logits of a token depend on the one before."""

    def __init__(self, words=30):
        super().__init__()
        logits = 3 * torch.randn((words, words), generator=torch.Generator().manual_seed(0))
        self.table = nn.Embedding.from_pretrained(logits)

    def forward(self, tokens):
        return self.table(tokens)


def prompts(rows=6, length=4):
    tokens = torch.randint(0, 30, (rows, length), generator=torch.Generator().manual_seed(1))
    return Dataset(name="prompts", inputs=tokens)


SMALL = {"prompt": 3, "answers": 4, "length": 6, "draws": 19}


def test_contract():
    check_instrument(AnswerIsotropy(**SMALL), Chain().eval(), prompts())


def test_colder_answers_agree_more_and_the_words_say_what_it_is():
    found = []
    for temperature in (0.05, 0.5, 3.0):
        instrument = AnswerIsotropy(**SMALL, temperature=temperature)
        reading = instrument.measure(Chain().eval(), prompts())
        found.append(reading.figure("isotropy").value)
        assert "agreement, not truth" in instrument.describe(reading)
    assert found[0] < found[1] < found[2] < 1.001 * np.log(4)
    assert found[0] < 0.4
    assert reading.figure("agreeing").value < 0.5
    one = AnswerIsotropy(**SMALL).measure(Chain().eval(), prompts(rows=1))
    assert "percentile" not in one.values
    short = AnswerIsotropy(prompt=9).measure(Chain().eval(), prompts())
    assert short.status == Status.UNSUPPORTED and "a prompt takes 9" in short.reason


def test_embeddings_by_tokens_are_tfidf():
    from sklearn.feature_extraction.text import TfidfVectorizer

    rows = np.random.default_rng(0).integers(0, 9, (7, 12))
    texts = [" ".join(f"w{t}" for t in row) for row in rows]
    wanted = TfidfVectorizer(sublinear_tf=True).fit_transform(texts).toarray()
    assert unit_rows(token_counts(rows)) == pytest.approx(wanted, abs=1e-12)
