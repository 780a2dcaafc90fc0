"""Activation patterns: exact counts, thresholds as fractions, and what the clamped engine proves."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn

from cutaway.errors import InputError
from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.patterns import (
    coarsen,
    contradict,
    count_activations,
    coverage_and_precision,
    follows,
    mine,
    verify_pattern,
)
from cutaway.robustness.query import Clause, Query
from cutaway.robustness.verify.replay import module_replay
from cutaway.status import Status


def ridge():
    """Two neurons, x and -x; output x1 positive where the first is active: label known by the pattern."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])), model[0].bias.zero_()
        model[2].weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]])), model[2].bias.copy_(torch.tensor([0.1, 0.0]))
    return model


@pytest.fixture
def subject():
    model = ridge()
    return model, bound_network(model, torch.zeros(1, 2)), module_replay(model, (2,))


def wrong_label_query(radius=1.0):
    low, high = torch.full((2,), -radius).double(), torch.full((2,), radius).double()
    clause = Clause(lower=low, upper=high, matrix=torch.tensor([[1.0, -1.0]]).double(), limits=torch.zeros(1).double())
    return Query(clauses=(clause,), num_inputs=2, num_outputs=2)


POINTS = torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.5, -1.0], [-1.0, 0.0], [-2.0, 3.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 0, 0, 1, 1])


def test_patterns_hold_neurons_of_the_network_only():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 4), nn.ReLU(), nn.Linear(4, 2)
    ).double()
    x = torch.randn(12, 1, 8, 8, dtype=torch.float64)
    net, labels = bound_network(model, x[:1]), model(x).argmax(1)
    counts = count_activations(net, x, labels, 2)
    assert sorted(v[0].numel() for v in counts.active.values()) == [4, 72]
    label = int(labels[0])
    pattern = mine(counts, label, 1)
    clause = Clause(
        lower=x[0].flatten() - 0.01, upper=x[0].flatten() + 0.01, matrix=torch.tensor([[1.0, -1.0]]).double(),
        limits=torch.full((1,), -50.0).double(),
    )  # fmt: skip
    query = Query(clauses=(clause,), num_inputs=64, num_outputs=2)
    assert verify_pattern(net, query, pattern, module_replay(model, (1, 8, 8))).status is Status.CERTIFIED


def test_counts_and_shares_are_exact(subject):
    _, net, _ = subject
    counts = count_activations(net, POINTS, LABELS, 2, batch_size=2)
    (active,) = counts.active.values()
    assert active.reshape(2, 2).tolist() == [[3, 0], [0, 2]] and counts.total.tolist() == [3, 2]
    mixed = count_activations(net, POINTS, torch.zeros(5, dtype=torch.int64), 1)
    assert mine(mixed, 0, "0.6").num_fixed == 2  # exactly 3 of 5
    assert mine(mixed, 0, Fraction(601, 1000)).num_fixed == 0


def test_following_coverage_precision(subject):
    _, net, _ = subject
    counts = count_activations(net, POINTS, LABELS, 2)
    first, second = mine(counts, 0, 1), mine(counts, 1, 1)
    assert follows(net, first, POINTS).tolist() == [True, True, True, False, False]
    assert coverage_and_precision(net, first, POINTS, LABELS) == (1.0, 1.0, 3)
    assert contradict(first, second) and not contradict(first, first)


def test_pattern_certifies_where_the_box_alone_does_not(subject):
    model, net, replay = subject
    counts = count_activations(net, POINTS, LABELS, 2)
    pattern = mine(counts, 0, 1)
    found = verify_pattern(net, wrong_label_query(), pattern, replay, known=torch.tensor([[0.5, 0.0]]).double())
    assert found.status is Status.CERTIFIED and found.inhabited and not found.vacuous
    opposite = verify_pattern(net, wrong_label_query(), mine(counts, 1, 1), replay)
    assert opposite.status is Status.FALSIFIED and opposite.witness is not None
    assert bool(follows(net, mine(counts, 1, 1), opposite.witness.reshape(1, 2))[0])
    scores = model(opposite.witness)
    assert scores[0] <= scores[1]


def test_vacuous_is_said(subject):
    _, net, replay = subject
    counts = count_activations(net, POINTS, LABELS, 2)
    query = wrong_label_query()
    clause = query.clauses[0]
    away = Clause(
        lower=torch.tensor([-2.0, -1.0]).double(),
        upper=torch.tensor([-1.0, 1.0]).double(),
        matrix=clause.matrix,
        limits=clause.limits,
    )
    found = verify_pattern(net, Query(clauses=(away,), num_inputs=2, num_outputs=2), mine(counts, 0, 1), replay)
    assert found.vacuous and not found.inhabited


def test_coarsening_keeps_what_is_needed(subject):
    _, net, replay = subject
    pattern = mine(count_activations(net, POINTS, LABELS, 2), 0, 1)
    smaller = coarsen(net, wrong_label_query(), pattern, replay, timeout=20)
    assert smaller.num_fixed == 1
    assert verify_pattern(net, wrong_label_query(), smaller, replay).status is Status.CERTIFIED


def test_refusals(subject):
    _, net, replay = subject
    counts = count_activations(net, POINTS, LABELS, 3)
    with pytest.raises(InputError, match=r"delta; found 0.5; expected a share in \(1/2, 1\]"):
        mine(counts, 0, 0.5)
    with pytest.raises(InputError, match="class 2; found no samples"):
        mine(counts, 2, 1)
    with pytest.raises(InputError, match="found 4 labels; expected one for each of 5 inputs"):
        count_activations(net, POINTS, LABELS[:4], 2)
    with pytest.raises(InputError, match="not certified"):
        coarsen(net, wrong_label_query(), mine(counts, 1, 1), replay)
