"""Who is worst off: cells, simultaneous intervals, equalised odds, and the instrument on a planted shortcut."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.evidence.null import NULLS, replicates
from cutaway.instruments.outputs.group_accuracy import GroupAccuracy
from cutaway.network import Network
from cutaway.outputs import cells_of, equalised_odds, simultaneous_intervals
from cutaway.outputs.groups import least_interval
from cutaway.reading.intervals import proportion_interval
from cutaway.status import Status


class Shortcut(nn.Module):
    """Answers the class in column 0, but in group 1 (column 1) answers class 0 for the rows that column 2 marks."""

    def forward(self, x):
        said = torch.where(x[:, 2] > 0.5, torch.zeros_like(x[:, 0]), x[:, 0]).long()
        return nn.functional.one_hot(said, 2).to(x)


def planted(rows=400, share=0.5, seed=0):
    """Rows of two classes and two groups; in class 1 of group b a `share` is answered wrongly, elsewhere none."""
    rng = np.random.default_rng(seed)
    labels, groups = rng.integers(0, 2, rows), rng.integers(0, 2, rows)
    wrong = (labels == 1) & (groups == 1) & (rng.random(rows) < share)
    inputs = torch.tensor(np.stack([labels, groups, wrong], axis=1), dtype=torch.float32)
    return Dataset(
        name="planted", inputs=inputs, labels=torch.tensor(labels), groups=torch.tensor(groups), group_names=("a", "b")
    ), wrong


labelled = st.integers(5, 60).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(0, 2), min_size=n, max_size=n) for _ in range(3)))
)


@given(labelled)
@settings(max_examples=60, deadline=None)
def test_cells_count_every_row_once_and_equalised_odds_equal_their_definition(columns):
    predicted, labels, groups = map(np.array, columns)
    cells = cells_of(predicted == labels, groups, labels)
    assert cells.counts.sum() == len(labels)
    assert cells.hits.sum() == (predicted == labels).sum()
    naive = [
        np.mean(predicted[(labels == y) & (groups == g)] == k) - np.mean(predicted[(labels == y) & (groups == h)] == k)
        for y in set(labels)
        for k in set(predicted)
        for g in set(groups[labels == y])
        for h in set(groups[labels == y])
        if g != h
    ]
    found = equalised_odds(predicted, labels, groups)
    assert (found is None) == (not naive)
    if found is not None:
        assert found.difference == pytest.approx(max(naive))
        assert found.low <= found.difference <= found.high
        rate = [
            np.mean(predicted[(labels == found.label) & (groups == g)] == found.predicted)
            for g in (found.most, found.fewest)
        ]
        assert rate[0] - rate[1] == pytest.approx(found.difference)


def test_simultaneous_intervals_hold_all_at_once_where_single_ones_do_not():
    rng = np.random.default_rng(0)
    truth = np.full(20, 0.7)
    together = alone = 0
    for _ in range(200):
        hits = rng.binomial(50, truth)
        bands = simultaneous_intervals(hits, np.full(20, 50))
        together += bool(((bands[:, 0] <= truth) & (truth <= bands[:, 1])).all())
        single = np.array([proportion_interval(int(h), 50) for h in hits])
        alone += bool(((single[:, 0] <= truth) & (truth <= single[:, 1])).all())
    assert together >= 186  # 95 % of 200, less three standard deviations
    assert alone < 150


def test_the_least_of_proportions_lies_between_the_least_ends():
    bands = np.array([[0.2, 0.9], [0.4, 0.5], [0.3, 0.8]])
    assert least_interval(bands) == (0.2, 0.5)


def test_the_worst_group_is_found_and_told_apart_from_random_groups():
    data, wrong = planted()
    network = Network(Shortcut(), data.inputs[:2])
    reading = GroupAccuracy().measure(network, data)
    cell = (data.labels == 1) & (data.groups == 1)
    worst = reading.figure("worst_group_accuracy")
    assert worst.value == pytest.approx(1 - wrong[cell.numpy()].mean())
    assert worst.low < 0.5 < worst.high
    assert reading.figure("equalised_odds").value == pytest.approx(1 - worst.value)
    judged = reading.against(
        replicates(GroupAccuracy(), network, data, NULLS["permuted-groups"], count=39), null="permuted-groups"
    )
    assert judged.figure("worst_group_accuracy").p_value == pytest.approx(1 / 40)
    assert "class 1, b" in GroupAccuracy().describe(judged)


def test_groups_that_do_not_matter_are_not_told_apart():
    """One-sided p-values of groups that were drawn at random are uniform or larger."""
    found = []
    for seed in range(20):
        data, _ = planted(200, seed=seed)
        random = torch.tensor(np.random.default_rng(seed).integers(0, 2, 200))
        data = Dataset(name="random", inputs=data.inputs, labels=data.labels, groups=random)
        network = Network(Shortcut(), data.inputs[:2])
        reading = GroupAccuracy().measure(network, data, intervals=False)
        nulls = replicates(GroupAccuracy(), network, data, NULLS["permuted-groups"], count=19, seed=seed)
        found.append(reading.against(nulls, null="permuted-groups").figure("worst_group_accuracy").p_value)
    assert np.mean(np.array(found) <= 0.1) <= 0.3


def test_the_null_moves_groups_within_a_class_and_leaves_all_else():
    data, _ = planted()
    _, drawn = NULLS["permuted-groups"].draw(Network(Shortcut(), data.inputs[:2]), data, 3)
    assert torch.equal(drawn.inputs, data.inputs)
    assert torch.equal(drawn.labels, data.labels)
    assert not torch.equal(drawn.groups, data.groups)
    for label in (0, 1):
        own = data.labels == label
        assert sorted(drawn.groups[own].tolist()) == sorted(data.groups[own].tolist())
        assert not torch.equal(drawn.groups[own], data.groups[own])


def test_small_cells_are_listed_and_left_out_and_no_groups_are_refused():
    data, _ = planted(400, share=0.0)
    groups = data.groups.clone()
    groups[:5] = 2
    few = Dataset(name="few", inputs=data.inputs, labels=data.labels, groups=groups)
    reading = GroupAccuracy().measure(Network(Shortcut(), data.inputs[:2]), few)
    assert any("group 2" in s.what and "fewer than 20" in s.reason for s in reading.coverage.skipped)
    assert reading.values.sizes["cell"] == 4
    with pytest.raises(InputError, match="--groups"):
        GroupAccuracy().measure(Shortcut(), Dataset(name="none", inputs=data.inputs, labels=data.labels))
    tiny = few.subset(range(15))
    assert GroupAccuracy().measure(Shortcut(), tiny).status == Status.UNSUPPORTED


def test_a_network_that_is_wrong_on_everything_is_measured():
    data, _ = planted(share=0.0)
    wrong = Dataset(name="wrong", inputs=data.inputs, labels=1 - data.labels, groups=data.groups)
    reading = GroupAccuracy().measure(Shortcut(), wrong)
    assert reading.figure("worst_group_accuracy").value == 0
    assert reading.figure("group_gap").value == 0
    assert "0%" in GroupAccuracy().describe(reading)
