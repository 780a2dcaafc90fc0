"""Collapse by layer against a naive transcription, and what the instrument says of odd classes."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.features.class_means import collapse
from cutaway.features.collapse_by_layer import Means, layer_collapse, layer_means, means_fit, simplex_alignment
from cutaway.instruments import NeuralCollapse
from cutaway.network import Network
from cutaway.testing import check_instrument
from cutaway.testing.contract import small_classifier, small_data


def naive(features, labels, clean_features, clean_labels):
    """NC1/C with the d x d pseudo-inverse, mean |cos + 1/(C-1)|, and nearest clean means, by loops."""
    classes = sorted(set(labels.tolist()))
    means = np.array([features[labels == c].mean(axis=0) for c in classes])
    centred = means - means.mean(axis=0)
    within = sum(
        np.outer(x - means[classes.index(c)], x - means[classes.index(c)]) for x, c in zip(features, labels.tolist())
    ) / len(features)
    between = centred.T @ centred / len(classes)
    nc1 = np.trace(within @ np.linalg.pinv(between, rcond=1e-9)) / len(classes)
    angles = [
        abs(a @ b / np.linalg.norm(a) / np.linalg.norm(b) + 1 / (len(classes) - 1))
        for i, a in enumerate(centred)
        for j, b in enumerate(centred)
        if i != j
    ]
    seen = sorted(set(clean_labels.tolist()))
    centres = [clean_features[clean_labels == c].mean(axis=0) for c in seen]
    nearest = [seen[int(np.argmin([np.linalg.norm(x - m) for m in centres]))] for x in features]
    return nc1, np.mean(angles), nearest


@pytest.mark.parametrize("budget", [None, 200_000])
def test_layers_equal_a_naive_transcription(budget):
    data, model = small_data(60), small_classifier()
    network = Network(model, data.inputs[:2])
    sites = network.select("activation")
    moved = data.inputs + 0.3 * torch.rand(data.inputs.shape)
    labels = torch.as_tensor(data.labels).roll(7)
    clean = layer_means(network, data.inputs, data.labels, sites, budget)
    found = layer_collapse(network, moved, labels, clean, sites, budget)
    for k, site in enumerate(sites):
        values = [
            network.capture(x, [site], pre=False).post[site.name].flatten(1).detach().double().numpy()
            for x in (moved, data.inputs)
        ]
        nc1, angle, nearest = naive(values[0], labels.numpy(), values[1], data.labels.numpy())
        assert found.nc1[k] == pytest.approx(nc1, rel=1e-6) and found.angle[k] == pytest.approx(angle, rel=1e-6)
        assert found.nearest[:, k].tolist() == nearest


def test_the_last_layer_is_the_heads_features():
    data, model = small_data(60), small_classifier()
    reading = NeuralCollapse().measure(model, data)
    assert float(reading.values["layer_nc1"].sel(group="clean")[-1]) == pytest.approx(reading.figure("nc1").value)
    for group, view in (("attacked", "attacked"), ("noised", "noised")):
        ours = float(reading.values["layer_nc1"].sel(group=group)[-1])
        assert ours == pytest.approx(float(reading.values["nc1"].sel(view=view)), rel=1e-6)


def test_alignment_of_known_simplices():
    corners = torch.eye(3, dtype=torch.float64)
    classes = torch.arange(3)
    clean = Means(classes=classes, means=corners)
    same = simplex_alignment(clean, Means(classes=classes, means=2 * corners + 5))
    assert same.cosine == pytest.approx(1.0)
    turned = simplex_alignment(clean, Means(classes=classes, means=-corners))
    assert turned.cosine == pytest.approx(-1.0) and turned.raw_cosine == pytest.approx(-1.0)
    assert turned.shift == pytest.approx(2 / math.sqrt(2 / 3))
    fewer = simplex_alignment(clean, Means(classes=torch.tensor([1, 2]), means=corners[1:]))
    assert fewer.cosine == pytest.approx(1.0) and fewer.shift == pytest.approx(0.0)
    assert math.isnan(simplex_alignment(clean, Means(classes=torch.tensor([1]), means=corners[1:2])).cosine)


def test_the_contract_holds_with_targets_and_one_attack_leads_on():
    reading = check_instrument(NeuralCollapse(targeted=True, radius=0.5, steps=20))
    assert reading.figure("targeted_hit_rate").value > 0
    groups = [str(g) for g in reading.values["group"].values]
    assert groups[:4] == ["clean", "attacked", "noised", "attacked, by prediction"]


def test_one_class_is_no_collapse_in_words():
    data = small_data(30)
    alone = Dataset(name="one", inputs=data.inputs, labels=torch.zeros(30, dtype=torch.long), num_classes=3,
                    value_range=(0.0, 1.0))  # fmt: skip
    reading = NeuralCollapse().measure(small_classifier(), alone)
    assert reading.status.value == "unsupported" and "two classes" in reading.reason


def test_collapsed_features_have_a_floor_under_their_ratio():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3)), model[0].bias.zero_()
    labels = torch.arange(30) % 3
    data = Dataset(name="corners", inputs=torch.eye(3)[labels], labels=labels, num_classes=3, value_range=(0.0, 1.0))
    reading = NeuralCollapse(radius=0.0).measure(model.eval(), data)
    assert reading.figure("nc1").value < 1e-12
    assert math.isfinite(reading.figure("nc1_ratio_attacked").value)
    assert reading.figure("simplex_cosine").value == pytest.approx(1.0)


def test_means_that_do_not_fit_are_left_out_with_the_reason():
    data, model = small_data(40), small_classifier()
    network = Network(model, data.inputs[:2])
    sites = network.select("activation")
    fits, left = means_fit(sites, 3, 2, budget=4 * 8 * 64 * 3 * 2)
    assert [s.name for s in fits] == [sites[0].name] and [s.name for s in left] == [sites[1].name]
    fits, left = means_fit(sites, 3, 2, budget=4 * 8 * 8 * 3 * 2)  # what is left out takes no room
    assert [s.name for s in fits] == [sites[1].name] and [s.name for s in left] == [sites[0].name]


@pytest.mark.parametrize(
    "settings", [{}, {"layers": False}, {"steps": 3}, {"steps": 0}, {"targeted": True, "steps": 2}]
)
def test_the_cost_is_what_the_instrument_says(settings):
    data, instrument = small_data(30), NeuralCollapse(**settings)
    cost = instrument.measure(Network(small_classifier(), data.inputs[:2]), data, intervals=False).cost
    forward, backward = 11 + instrument.steps - 8 * (not instrument.layers), instrument.steps
    more = (3 + instrument.steps, instrument.steps) if instrument.targeted else (0, 0)
    assert len(data) * forward <= cost.forward_passes <= len(data) * (forward + more[0]) + 2  # and the probe's
    assert cost.backward_passes == len(data) * (backward + more[1])


def test_nc1_of_permuted_labels_is_large():
    data, model = small_data(60), small_classifier()
    network = Network(model, data.inputs[:2])
    sites = network.select("activation")
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    for labels, least, most in ((data.labels, 0, 5), (data.labels[order], 5, math.inf)):
        found = layer_collapse(network, data.inputs, labels, layer_means(network, data.inputs, labels, sites), sites)
        assert least < found.nc1[-1] < most


def test_collapse_is_still_what_it_was():
    """Four numbers of the head by hand: two classes at -1 and 1."""
    features = np.array([[-1.0], [-1.0], [1.0], [1.0]])
    found = collapse(features, np.array([0, 0, 1, 1]), np.array([[-1.0], [1.0]]), np.array([0, 0, 1, 1]))
    assert found["nc1"] == 0 and found["nc4"] == 0 and found["nc3"] == pytest.approx(0)


def narrowing(width=400):
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 3)]
    return nn.Sequential(*layers).eval()


def test_no_other_layer_stands_for_the_last_one_that_does_not_fit():
    data, instrument = small_data(40), NeuralCollapse(num_points=40, steps=2)
    whole, part = (instrument.measure(narrowing(), data, budget=b) for b in (100_000_000, 50_000))
    assert "attacked_near_true" in {f.name for f in whole.figures}
    assert len(part.values["layer"]) == 1
    assert not {"attacked_near_true", "leap"} & {f.name for f in part.figures}
    assert any("last layer" in s.what and "--budget" in s.reason for s in part.coverage.skipped)


def test_attack_and_noise_do_not_follow_the_budget():
    data, instrument = small_data(40), NeuralCollapse(num_points=40, steps=3, targeted=True, layers=True)
    readings = [instrument.measure(small_classifier(), data, seed=1, budget=b) for b in (100_000_000, 40_000)]
    for figure in readings[0].figures:
        assert readings[1].figure(figure.name).value == pytest.approx(figure.value, rel=1e-4), figure.name


def test_the_attack_is_that_of_adversarial_training():
    """Second implementation: `training.adversarial.Ascent` with the same starts (its own of the same stream)."""
    from cutaway import seeds
    from cutaway.features.moved_rows import attacked_rows
    from cutaway.training.adversarial import Ascent

    data, model = small_data(40), small_classifier()
    ours = attacked_rows(Network(model, data.inputs[:2]), data, radius=0.1, steps=4, seed=3, batch_size=7)
    low, high = data.value_range
    wanted = Ascent(radius=0.1, steps=4, low=low, high=high)(
        model, data.inputs, data.labels, seeds.generator(3, "features", "attack")
    )
    assert torch.allclose(ours, wanted, atol=1e-6)
