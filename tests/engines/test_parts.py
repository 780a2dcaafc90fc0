"""What a measurement can split runs on the engine in force, in the same parts with the same streams: the same numbers."""

import sys

import cloudpickle
import numpy as np
import pytest
import torch

from cutaway.audits import AnswerAudit, LabelAudit, TuningAudit
from cutaway.data import Dataset
from cutaway.engines import get_executor, in_draws, in_parts, working_on
from cutaway.engines.local import InlineExecutor
from cutaway.engines.parts import DRAWS
from cutaway.errors import InputError
from cutaway.instruments import AnswerIsotropy, AnswerSampling, Authorship, Contamination
from cutaway.network import Network
from cutaway.text import sample_tokens, score_tokens
from cutaway.text.provenance import provenance_test
from cutaway.training.transformers import char_gpt

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # worker processes cannot import a test file

WORDS, LENGTH, ROWS = 20, 16, 12
SMALL = 60_000
"""Bytes of a budget in which a pass holds two or three of the rows, so that there are parts to share out."""


class Elsewhere(InlineExecutor):
    """Each job on a copy of what it is given, as in another process; how many there were."""

    room = 3

    def __init__(self):
        self.jobs = 0

    def submit(self, task, varying, shared):
        self.jobs += 1
        task, varying, shared = cloudpickle.loads(cloudpickle.dumps((task, varying, shared)))
        return super().submit(task, varying, shared)


def language_model() -> Network:
    torch.manual_seed(0)
    model = char_gpt((LENGTH,), WORDS, width=16, depth=1, heads=2).eval()
    return Network(model, torch.zeros((2, LENGTH), dtype=torch.int64))


def texts(rows: int = ROWS) -> Dataset:
    tokens = torch.randint(0, WORDS, (rows, LENGTH), generator=torch.Generator().manual_seed(1))
    groups = torch.arange(rows) % 2
    return Dataset(name="texts", inputs=tokens, groups=groups, group_names=("seen", "fresh"))


INSTRUMENTS = (
    Authorship(samples=9),
    Contamination(draws=19),
    AnswerSampling(answer=3),
    AnswerIsotropy(answers=3, length=4, draws=60),
)


SETTINGS = {"budget": SMALL, "seed": 3}


def same(one, other) -> bool:
    """Every value and figure of two readings, bit for bit, and what they cost in passes."""
    numbers = [repr([(f.name, f.value, f.low, f.high) for f in reading.figures]) for reading in (one, other)]
    passes = [(r.cost.forward_passes, r.cost.backward_passes) for r in (one, other)]
    return numbers[0] == numbers[1] and one.values.identical(other.values) and passes[0] == passes[1]


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda i: i.name)
def test_texts_and_prompts_on_an_engine_give_the_same_numbers(instrument):
    here = instrument.measure(language_model(), texts(), **SETTINGS)
    with working_on(Elsewhere()) as at:
        there = instrument.measure(language_model(), texts(), **SETTINGS)
    assert here.figures and at.parts > 3 and at.executor.jobs > 1
    assert same(here, there)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["loky", "dask"])
def test_two_workers_give_the_numbers_of_one_process_bit_for_bit(engine):
    if engine == "dask":
        pytest.importorskip("distributed")
    data, network, rng = texts(), language_model(), np.random.default_rng(0)
    loss, order = rng.normal(size=200), rng.permutation(200)
    vectors, prompts = rng.normal(size=(40, 6)), np.repeat(np.arange(8), 5)
    answers, labels = rng.integers(0, 3, (60, 5)), rng.integers(0, 3, 60)

    def numbers():
        readings = [i.measure(network, data, **SETTINGS) for i in INSTRUMENTS]
        audits = [AnswerAudit().measure(vectors, prompts), TuningAudit().measure(answers, labels)]
        return readings, audits, provenance_test(order, loss, draws=200)

    here = numbers()
    with get_executor(engine, workers=2) as executor, working_on(executor) as at:
        there = numbers()
    assert at.parts > 20
    assert all(same(a, b) for k in range(2) for a, b in zip(here[k], there[k], strict=True))
    assert [f.null_draws for r in here[1] for f in r.figures] == [f.null_draws for r in there[1] for f in r.figures]
    assert here[2] == there[2]


def test_scores_and_samples_are_those_of_one_pass_after_the_other():
    network, tokens = language_model(), texts().inputs
    start = tokens[:, :2]

    def both():
        drawn = sample_tokens(network, start, 9, generator=torch.Generator().manual_seed(2), budget=SMALL)
        return score_tokens(network, tokens, budget=SMALL), drawn

    before = network.forward_passes
    scores, drawn = both()
    alone = network.forward_passes - before
    with working_on(Elsewhere()):
        scores_there, drawn_there = both()
    assert network.forward_passes - before == 2 * alone  # what a worker passes counts here
    assert np.array_equal(scores.log_probability, scores_there.log_probability) and torch.equal(drawn, drawn_there)


def test_permutations_have_a_stream_for_each_part():
    def draw(rng, count, least):
        return least + rng.random(count)

    here = in_draws(draw, 2 * DRAWS + 3, 5, seed=1, path=("x",))
    with working_on(Elsewhere()) as at:
        there = in_draws(draw, 2 * DRAWS + 3, 5, seed=1, path=("x",))
    assert at.parts == 3 and len(here) == 2 * DRAWS + 3 and len(np.unique(here)) == len(here)
    assert np.array_equal(here, there) and here.min() >= 5
    assert not np.array_equal(here, in_draws(draw, 2 * DRAWS + 3, 5, seed=2, path=("x",)))
    assert len(in_draws(draw, 0, 5, seed=1, path=("x",))) == 0


def test_audits_that_deal_anew_use_the_engine_and_others_say_that_they_cannot():
    rng = np.random.default_rng(0)
    with working_on(Elsewhere()) as at:
        TuningAudit().measure(rng.integers(0, 3, (60, 5)), rng.integers(0, 3, 60))
    assert at.parts == 8 and not at.told("loky")  # 199 permutations
    with working_on(Elsewhere()) as at:
        LabelAudit().measure(rng.random(50) < 0.8, rng.random(50) < 0.5)
    assert at.parts == 0 and at.told("loky") == "engine loky: nothing in this work is split, so it ran here"


def test_what_a_part_raises_comes_out_with_its_words():
    tokens = texts().inputs.clone()
    tokens[-1, -1] = WORDS + 5
    with working_on(Elsewhere()), pytest.raises((InputError, IndexError)):
        score_tokens(language_model(), tokens, budget=SMALL)
    with working_on(Elsewhere()), pytest.raises(InputError, match="a prompt; found"):
        in_parts(_refuse, [(1,), (2,)])


def _refuse(number):
    raise InputError("a prompt", found=str(number), expected="none", remedy="give none")


class Batchwise(torch.nn.Module):
    """Logits that tell how many rows came along: what a part of other rows gives differs."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(WORDS, WORDS)

    def forward(self, tokens):
        return self.table(tokens) * len(tokens)


def test_the_parts_are_the_same_on_every_engine():
    network = Network(Batchwise().eval(), torch.zeros((2, LENGTH), dtype=torch.int64), probe=False)
    here = score_tokens(network, texts().inputs, budget=SMALL)
    with working_on(Elsewhere()) as at:
        there = score_tokens(network, texts().inputs, budget=SMALL)
    assert 1 < at.parts < ROWS
    assert np.array_equal(here.log_probability, there.log_probability)


def test_the_engine_is_in_force_inside_only():
    def work():
        assert in_parts(pow, [(1,), (2,)], 2) == [2, 4]

    with working_on(Elsewhere()) as at:
        with working_on(Elsewhere()) as inner:
            work()
        assert (at.parts, inner.parts) == (0, 2)
        in_parts(pow, [(1,)], 2)  # one part is not worth a job
        assert at.parts == 0
        work()
    work()
    assert (at.parts, inner.parts) == (2, 2)
