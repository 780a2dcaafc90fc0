"""p-values and intervals do what they promise."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cutaway.engines import get_executor
from cutaway.evidence import (
    PermutedLabels,
    Reinitialised,
    bootstrap_interval,
    median_interval,
    p_value,
    proportion_interval,
    q_values,
    replicates,
)
from cutaway.evidence.null import null_seed
from cutaway.features.class_means import collapse
from cutaway.instruments import Accuracy, NeuralCollapse, Sparsity
from cutaway.network import Network
from cutaway.reading.rank import undecided
from cutaway.testing.contract import small_classifier, small_data


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40), st.floats(-5, 5))
def test_p_value_by_counting(draws, value):
    """Oracle: the formula by hand."""
    draws = np.round(np.array(draws), 3)
    value = round(value, 3)
    by_hand = (1 + sum(d >= value for d in draws)) / (len(draws) + 1)
    assert p_value(value, draws, "greater") == pytest.approx(by_hand)
    assert p_value(-value, -draws, "less") == pytest.approx(by_hand)
    assert 0 < p_value(value, draws, "two-sided") <= 1


def test_sequential_p_is_limit_over_draws_and_nan_counts_against():
    draws = np.array([2.0, 0.0, 2.0, 2.0, 0.0])
    assert p_value(1.0, draws, "greater", limit=2) == pytest.approx(2 / 3)
    assert p_value(1.0, draws, "greater", limit=4) == pytest.approx(4 / 6)
    assert p_value(1.0, np.array([np.nan, 0.0]), "greater") == pytest.approx(2 / 3)
    assert undecided(1.0, draws[:2], "greater", 2)
    assert not undecided(1.0, draws[:3], "greater", 2)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_p_values_are_valid_under_the_null(seed):
    """P(p <= a) <= a for exchangeable draws, one-sided, plain and sequential; 3000 trials, 5 standard errors of
    slack.
    """
    rng = np.random.default_rng(seed)
    draws = rng.normal(size=(3000, 20))
    for limit in (None, 4):
        p = np.array([p_value(row[0], row[1:], "greater", limit=limit) for row in draws])
        for level in (0.05, 0.2, 0.5):
            assert (p <= level).mean() <= level + 5 * np.sqrt(level * (1 - level) / 3000)


def test_random_networks_get_uniform_p_values():
    """100 scans of random networks: Kolmogorov-Smirnov; false-alarm rate of this test 0.1 %."""
    data, found = small_data(24), []
    for trial in range(100):
        random_network = Network(small_classifier(), data.inputs[:2], probe=False).twin(90_000 + trial)
        reading = Sparsity().measure(random_network, data, seed=trial, intervals=False)
        null = replicates(Sparsity(), random_network, data, Reinitialised(), count=19, seed=trial)
        judged = reading.against(null).figure("non_zero_share")
        draws_p = judged.p_value
        assert draws_p is not None
        found.append(draws_p)
    # Two-sided with 19 draws p lies on 0.1, 0.2, ..., 1; less a uniform step it is uniform on [0, 1] if the null holds.
    spread = np.array(found) - np.random.default_rng(0).uniform(0, 0.1, 100)
    assert stats.kstest(spread, "uniform").pvalue > 0.001


def test_a_trained_signal_gets_a_small_p_and_permuted_labels_do_not():
    data = small_data(60)
    model = small_classifier(1).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(data.inputs), data.labels).backward()
        optimiser.step()
    network = Network(model.eval(), data.inputs[:2])
    reading = Accuracy().measure(network, data)
    for null in (Reinitialised(), PermutedLabels()):
        judged = reading.against(replicates(Accuracy(), network, data, null, count=19))
        assert judged.figure("accuracy").p_value == pytest.approx(1 / 20)
    order = np.random.default_rng(0).permutation(60)
    lost = dataclasses.replace(data, labels=data.labels[order])
    judged = (
        Accuracy().measure(network, lost).against(replicates(Accuracy(), network, lost, PermutedLabels(), count=19))
    )
    assert judged.figure("accuracy").p_value > 0.05


def test_null_seeds_are_distinct():
    seeds = {null_seed(seed, r) for seed in range(50) for r in range(200)}
    assert len(seeds) == 10_000


def test_intervals_cover():
    """Coverage over 400 trials within 5 standard errors of 95 % (Clopper-Pearson and the median may exceed it)."""
    rng = np.random.default_rng(0)
    hits = np.zeros(3)
    for trial in range(400):
        low, high = proportion_interval(int(rng.binomial(40, 0.3)), 40)
        hits[0] += low <= 0.3 <= high
        low, high = median_interval(rng.exponential(size=25))
        hits[1] += low <= np.log(2) <= high
        sample = rng.normal(size=40)
        low, high = bootstrap_interval(lambda i, s=sample: float(s[i].mean()), 40, seed=trial, resamples=200)
        hits[2] += low <= 0 <= high
    slack = 5 * np.sqrt(0.95 * 0.05 / 400)
    assert hits[0] / 400 >= 0.95 - slack
    assert hits[1] / 400 >= 0.95 - slack
    assert 0.95 - slack - 0.02 <= hits[2] / 400 <= 0.95 + slack


def test_q_values_against_a_second_library_formula():
    p = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.5}
    ordered = sorted(p.values())
    by_hand = {}
    for name, value in p.items():
        by_hand[name] = min(min(v * 4 / (ordered.index(v) + 1) for v in ordered if v >= value), 1.0)
    assert q_values(p) == pytest.approx(by_hand)
    assert q_values({}) == {}


def test_interval_of_a_variance_within_small_groups_holds_the_value():
    """Repeated rows make a variance within groups of six too small; scaled about the value, the interval holds it, and
    is the plain one where repeats do no harm."""
    features = np.random.default_rng(0).normal(size=(60, 40)) + 3 * np.repeat(np.eye(10, 40), 6, axis=0)
    labels = np.repeat(np.arange(10), 6)

    def nc1(rows):
        return collapse(features[rows], labels[rows], np.eye(10, 40), labels[rows])["nc1"]

    value = nc1(slice(None))
    plain = bootstrap_interval(nc1, 60, seed=0, resamples=60)
    low, high = bootstrap_interval(nc1, 60, seed=0, resamples=60, about=value)
    assert not plain[0] <= value <= plain[1]
    assert low < value < high
    assert high / low == pytest.approx(plain[1] / plain[0])


def test_collapse_reading_of_few_rows_a_class_holds_its_value():
    data = small_data(18)
    for seed in range(4):
        figure = NeuralCollapse().measure(small_classifier(seed), data, seed=seed).figure("nc1")
        assert figure.low < figure.value < figure.high


def test_replicates_on_workers_are_those_of_one_process():
    network, data = Network(small_classifier(), small_data().inputs[:2]), small_data(12)
    plain = list(replicates(Sparsity(), network, data, Reinitialised(), count=3, seed=5))
    with get_executor("inline") as executor:
        there = list(replicates(Sparsity(), network, data, Reinitialised(), count=3, seed=5, executor=executor))
    assert all(a.same_result(b) for a, b in zip(plain, there, strict=True))
    assert len({r.figures[0].value for r in plain}) > 1
