"""Pair models: closed forms, the guarantee, checks that a wrong model fails, what is refused, the instrument."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.instruments import Epistemic
from cutaway.outputs import PairPredictor, PairProbabilities, check_pairs, pair_probabilities
from cutaway.status import Status
from cutaway.testing import check_instrument


def calibrated(truth):
    """The pair model of a predictor that cannot tell the rows of `truth` (n, C) apart."""
    first, joint = truth.mean(axis=0), np.einsum("na,nb->ab", truth, truth) / len(truth)
    second = joint / first[:, None]
    return PairProbabilities(first=np.tile(first, (len(truth), 1)), second=np.tile(second, (len(truth), 1, 1)))


def drawn(chances, rng):
    sums = chances.cumsum(axis=1)
    return (rng.random((len(chances), 1)) > sums / sums[:, -1:]).sum(axis=1)


@given(st.integers(2, 5), st.integers(2, 30), st.integers(0, 1000))
def test_a_calibrated_pair_model_claims_the_variance_and_keeps_its_promise(classes, rows, seed):
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet(np.full(classes, 0.3), rows) * (rng.random((rows, classes)) > 0.3)
    truth = np.where(truth.sum(axis=1, keepdims=True) > 0, truth, 1.0)
    truth /= truth.sum(axis=1, keepdims=True)
    truth = np.concatenate([truth, np.full((1, classes), 1 / classes)])  # every answer is possible somewhere
    pairs = calibrated(truth)
    assert pairs.variance[0] == pytest.approx(truth.var(axis=0), abs=1e-12)
    assert pairs.asymmetry == pytest.approx(0, abs=1e-12)
    assert ((truth == 0).mean(axis=0) <= 1 - pairs.confidence[0] + 1e-12).all()  # Cantelli


def test_one_group_of_which_half_is_impossible_meets_the_bound_exactly():
    truth = np.array([[0.0, 1.0], [0.8, 0.2]])
    pairs = calibrated(truth)
    assert pairs.variance[0, 0] == pytest.approx(0.16) and 1 - pairs.confidence[0, 0] == pytest.approx(0.5)


def test_the_check_accepts_a_calibrated_model_and_refutes_one_that_claims_to_know():
    rng = np.random.default_rng(0)
    truth = np.where(rng.random((8000, 1)) < 0.5, [[0.9, 0.1]], [[0.2, 0.8]])
    labels = [drawn(truth, rng) for _ in range(2)]
    pairs = calibrated(truth)
    for column, claim in ((-1, 2 * truth[:, 0].var()), (0, truth[:, 0].var())):
        found = check_pairs(pairs, *labels, column=column)
        assert found.holds and found.claimed == pytest.approx(claim) and found.rows.sum() == 8000
        assert (found.low < found.error).all() and (found.error < found.high).all()
    expert = PairProbabilities(first=pairs.first, second=np.repeat(pairs.first[:, None], 2, axis=1))
    assert expert.variance == pytest.approx(0) and not check_pairs(expert, *labels).holds


def test_intervals_of_the_check_hold_as_often_as_they_say():
    truth, missed = np.tile([[0.3, 0.7]], (400, 1)), 0
    pairs = calibrated(truth)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        missed += not check_pairs(pairs, drawn(truth, rng), drawn(truth, rng), bins=4).holds
    assert missed <= 200 * 0.05


def queries(rows, seed):
    """Half of the rows look alike but have opposite answers; the others can be told apart."""
    rng = np.random.default_rng(seed)
    x = rng.choice([-1.0, 1.0], (rows, 4)).astype(np.float32)
    known, hidden = x[:, 0] > 0, rng.random(rows) < 0.5
    truth = np.where(known, x[:, 1] > 0, hidden)[:, None] * np.array([[0.9, -0.9]]) + np.array([[0.05, 0.95]])
    return x, drawn(truth, rng), drawn(truth, rng), known


def test_a_trained_one_knows_which_rows_it_cannot_tell():
    words = np.array(["no", "yes"])
    x, first, second, _ = queries(8000, 0)
    predictor = PairPredictor(hidden=32, seed=1)
    state = torch.get_rng_state()
    assert predictor.fit(x, words[first], words[second]) is predictor and torch.equal(state, torch.get_rng_state())
    x, first, second, known = queries(2000, 9)
    variance = predictor.epistemic_variance(x)[:, 0]
    assert variance[~known].mean() == pytest.approx(0.45**2, abs=0.04) and variance[known].mean() < 0.03
    away = predictor.abstain(x, 0.3)
    assert away[~known].mean() > 0.9 and away[known].mean() < 0.2
    assert (predictor.predict(x)[known] == words[first[known]]).mean() > 0.85
    assert predictor.check(x, words[first], words[second], column=0).holds
    few = x[:500], first[:500], second[:500]
    twice = [PairPredictor(epochs=3).fit(*few).predict_proba(x) for _ in range(2)]
    copy: Any = clone(predictor)
    assert np.array_equal(twice[0], twice[1]) and copy.hidden == 32
    with pytest.raises(InputError, match="maybe; expected one of the 2 classes"):
        predictor.check(x[:1], np.array(["maybe"]), np.array(["no"]))
    with pytest.raises(InputError, match="a share between 0 and 1"):
        predictor.abstain(x, 1.0)


def test_a_module_of_the_users_own_is_copied_and_told_the_first_outcome():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.told, self.out = nn.Embedding(5, 8), nn.Linear(3, 8), nn.Linear(8, 3)

        def forward(self, x, told):
            mean = self.table(x).mean(dim=1)
            return self.out(torch.relu(mean if told is None else mean + self.told(told.float())))

    rng, module = np.random.default_rng(0), Tokens()
    before = [p.clone() for p in module.parameters()]
    x, first = rng.integers(0, 5, (300, 6)), rng.integers(0, 3, 300)
    predictor = PairPredictor(module, epochs=2).fit(x, first, rng.permutation(first))
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters()))
    pairs = predictor.pairs(x)
    assert pairs.second.shape == (300, 3, 3) and pairs.second.sum(axis=2) == pytest.approx(1)


def test_rows_that_are_no_pairs_are_refused():
    x, first, second, _ = queries(60, 0)
    for arguments, says in (
        ((x, first, first), "the first labels again, in all 60 rows"),
        ((x[:50], first, second), "50 inputs"),
        ((x[:1], [0], [1]), "1 inputs.*at least 10 rows"),
        ((np.where(x < 0, x, np.nan), first, second), "NaN or infinity"),
    ):
        with pytest.raises(InputError, match=says):
            PairPredictor().fit(*arguments)
    with pytest.raises(InputError, match=r"expected \(n, 6\): 2 of the first outcome, 2\^2 of the second"):
        pair_probabilities(torch.zeros(3, 4), 2)
    with pytest.raises(InputError, match="20 rows for 5 bins"):
        check_pairs(calibrated(np.full((20, 2), 0.5)), first[:20], second[:20])
    with pytest.raises(InputError, match="a held-out loss that is no number"):
        PairPredictor(rate=1e30, epochs=2).fit(x * 1e30, first, second)


def test_the_instrument_reads_a_pair_network_and_says_what_others_lack():
    x, first, second, _ = queries(8000, 0)
    network = PairPredictor(hidden=32, seed=1).fit(x, first, second).network()
    x, first, second, _ = queries(1500, 5)
    data = Dataset(name="pairs", inputs=torch.tensor(x), labels=torch.tensor(first), labels2=torch.tensor(second))
    reading = check_instrument(Epistemic(), network, data)
    gap = reading.figure("calibration_gap")
    assert gap.low is not None and gap.high is not None and gap.low <= 0 <= gap.high
    assert reading.figure("bins_refuted").value == 0
    assert reading.figure("mse_p").value == pytest.approx(0.2, abs=0.05)
    assert reading.figure("rank_correlation").value > 0.2
    assert "Nothing here speaks against its claims" in Epistemic().describe(reading)

    class Expert(nn.Module):
        def forward(self, inputs):
            first = network(inputs)[:, :2]
            return torch.cat([first, first, first], dim=1)

    boast = Epistemic().measure(Expert(), data)
    assert boast.figure("bins_refuted").value > 0 and "its promises do not hold" in Epistemic().describe(boast)
    plain = Epistemic().measure(nn.Linear(4, 2), data)
    assert plain.status is Status.UNSUPPORTED and "needs a pair network of 6 scores" in plain.reason
