"""The null of what is learned by memory: labels in random order are learned, as well as the network learned its own."""

import copy

import pytest
import torch
from torch import nn

from cutaway.errors import InputError
from cutaway.evidence import NULLS, MemorisedLabels, memorise, replicates
from cutaway.evidence.memorised import fit_of
from cutaway.evidence.null import null_effort
from cutaway.instruments import Margins
from cutaway.network import Network
from cutaway.network.calculus import Parameters
from cutaway.testing.contract import small_data


def flat(bias=False, outputs=3, width=24):
    torch.manual_seed(0)
    layers = (nn.Flatten(), nn.Linear(16, width, bias=bias), nn.ReLU(), nn.Linear(width, outputs, bias=bias))
    return nn.Sequential(*layers).eval()


def learned(labels, goal=1e-2, **options):
    """A network that has learned these labels of the small data, and the data."""
    data = small_data()
    data.labels.copy_(labels(data.labels))
    network = Network(flat(**options), data.inputs[:2])
    memorise(network, data.inputs, data.labels, goal=goal)
    return network, data


def true(labels):
    return labels


def shuffled(labels):
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(2))]


def state(network, data, labels):
    return fit_of(Parameters(network), data.inputs, labels, None)


@pytest.mark.parametrize("labels", [true, shuffled])
def test_any_labels_are_learned_to_the_goal(labels):
    network, data = learned(labels, goal=1e-3)
    outputs = network.outputs(data.inputs)
    loss = float(nn.functional.cross_entropy(outputs, data.labels))
    assert loss <= 1e-3 and bool((outputs.argmax(1) == data.labels).all())
    assert state(network, data, data.labels) == (pytest.approx(loss, rel=1e-4), 0)


def test_a_single_logit_learns_too():
    data = small_data()
    labels = (data.labels % 2)[torch.randperm(len(data), generator=torch.Generator().manual_seed(1))]
    network = Network(flat(outputs=1), data.inputs[:2])
    loss, wrong = memorise(network, data.inputs, labels, goal=1e-2)
    assert loss <= 1e-2 and wrong == 0
    assert bool(((network.outputs(data.inputs)[:, 0] > 0) == labels.bool()).all())


def test_the_budget_changes_nothing_but_the_chunks():
    ends = []
    for budget in (None, 150_000):
        data, network = small_data(), Network(flat().double(), small_data().inputs[:2])
        memorise(network, data.inputs, data.labels, goal=0.0, steps=25, budget=budget)
        ends.append(torch.cat([p.flatten() for p in network.model.parameters()]))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-9, atol=1e-12)


def test_a_draw_has_memorised_other_labels_as_well_as_the_network_its_own():
    network, data = learned(true)
    before = copy.deepcopy(network.model.state_dict())
    own, wrong = state(network, data, data.labels)
    assert wrong == 0
    for seed in (0, 1):
        twin, moved = MemorisedLabels().draw(network, data, seed)
        assert sorted(moved.labels) == sorted(data.labels) and not torch.equal(moved.labels, data.labels)
        loss, wrong = state(twin, moved, moved.labels)
        assert loss <= own and wrong == 0
        again, _ = MemorisedLabels().draw(network, data, seed)
        assert all(torch.equal(a, b) for a, b in zip(twin.model.parameters(), again.model.parameters(), strict=True))
    assert all(torch.equal(before[k], v) for k, v in network.model.state_dict().items())


def test_of_a_network_that_is_not_right_a_draw_need_not_be():
    data = small_data()
    network = Network(flat(), data.inputs[:2])
    own, wrong = state(network, data, data.labels)
    twin, moved = MemorisedLabels().draw(network, data, 0)
    assert wrong > 0 and state(twin, moved, moved.labels)[0] <= own


def judged(labels, count=4):
    network, data = learned(labels, goal=3e-2)
    reading = Margins().measure(network, data)
    null = replicates(Margins(), network, data, NULLS[Margins.null], count=count)
    return reading.against(null, null=Margins.null)


def test_labels_that_can_be_learned_leave_larger_margins_than_memory():
    reading = judged(true)
    for norm in ("l1", "l2", "spectral"):
        figure = reading.figure(f"margin_{norm}")
        assert figure.p_value == pytest.approx(0.2) and figure.null_median < figure.value, norm
    assert reading.figure("residual_l2").p_value is None and reading.figure("degree").p_value is None
    words = Margins().describe(reading)
    assert "times what networks of this shape grow that memorise" in words
    low, high = (reading.figure("median_margin_l2").low, reading.figure("median_margin_l2").high)
    assert low < reading.figure("median_margin_l2").value < high


def test_what_memorised_its_own_labels_is_nothing_beside_the_null():
    reading = judged(shuffled)
    assert all(reading.figure(f"margin_{norm}").p_value > 0.2 for norm in ("l1", "l2", "linf", "spectral"))


def test_the_picture_shows_the_null_beside(tmp_path):
    text = judged(true, count=2).plot().to_json()
    assert "over the median of the null" in text and "labels memorised" in text
    network, data = learned(true)
    assert "share of rows at or below" in Margins().measure(network, data).plot().to_json()


def test_a_network_that_cannot_be_trained_says_so():
    data = small_data()
    network = Network(flat(), data.inputs[:2])
    with pytest.raises(InputError, match="a loss of"):
        memorise(network, data.inputs * 1e38, data.labels, goal=1e-3, steps=10)


def test_half_precision_is_trained_in_a_type_that_can():
    data = small_data()
    network = Network(flat().half(), data.inputs[:2].half())
    twin, moved = MemorisedLabels().draw(network, data, 0)
    assert twin.dtype == torch.float64 and state(twin, moved, moved.labels)[0] < 1.2


def test_the_cost_of_a_draw_is_known_to_plans():
    assert null_effort("memorised-labels") > 100 and null_effort("reinitialised") == 0 == null_effort("unheard-of")
