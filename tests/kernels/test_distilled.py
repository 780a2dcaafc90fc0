"""Distilled rows: the loss is the predictor's, rows stay in range, an attack changes what they learn, bad input."""

from dataclasses import replace

import pytest
import torch

from cutaway.data import load_data
from cutaway.errors import InputError
from cutaway.kernels import InfiniteNetwork, KernelPredictor, distil
from cutaway.network import Network
from cutaway.robustness.attacks import PGD

INFINITE = InfiniteNetwork(depth=1)


def digits(split="train", count=300):
    return load_data("digits", split=split, num=count)


def right(data, test):
    said = KernelPredictor.fit(INFINITE, data)(test.inputs).argmax(dim=1)
    return float((said == test.labels).double().mean())


def test_the_loss_is_that_of_the_predictor_of_the_rows():
    learn = digits()
    found = distil(INFINITE, learn, per_class=3, steps=1, batch_size=10_000, seed=3)
    with torch.no_grad():
        said = KernelPredictor.fit(INFINITE, found.start)(learn.inputs)
    each = (said - torch.nn.functional.one_hot(learn.labels, 10)).square().sum(dim=1)
    # a batch is drawn with replacement, so its mean is that of the rows only within its error
    assert found.losses[0] == pytest.approx(float(each.mean()), abs=4 * float(each.std()) / len(learn) ** 0.5)


def test_distilled_rows_teach_more_than_the_real_ones_they_began_as():
    learn, test = digits(), digits("test", 200)
    found = distil(INFINITE, learn, steps=30)
    assert found.data.labels.tolist() == list(range(10)) and found.losses[-1] < 0.7 * found.losses[0]
    assert right(found.data, test) > right(found.start, test) + 0.1
    again = distil(INFINITE, learn, steps=30)
    assert torch.equal(again.data.inputs, found.data.inputs)


def test_rows_stay_in_the_data_s_range_however_large_the_steps():
    found = distil(INFINITE, digits(), steps=5, rate=50.0)
    assert float(found.data.inputs.min()) == 0.0 and float(found.data.inputs.max()) == 1.0


def test_rows_distilled_against_an_attack_resist_it_better():
    learn, test = digits(), digits("test", 100)
    standing = {}
    for radius in (0.0, 0.15):
        found = distil(INFINITE, learn, per_class=2, steps=30, batch_size=100, radius=radius, attack_steps=3)
        network = Network(KernelPredictor.fit(INFINITE, found.data).eval(), test.inputs[:2], probe=False)
        standing[radius] = 1 - float(PGD(radius=0.15, steps=5).attack(network, test).success.double().mean())
    assert standing[0.15] > standing[0.0] + 0.05


def test_what_cannot_be_distilled_is_told():
    learn = digits()
    with pytest.raises(InputError, match="no labels"):
        distil(INFINITE, replace(learn, labels=None, num_classes=None))
    with pytest.raises(InputError, match="class . has"):
        distil(INFINITE, learn, per_class=200)
    for bad in ({"rate": 0.0}, {"rate": float("nan")}, {"ridge": 0.0}, {"per_class": 0}, {"batch_size": 0}):
        with pytest.raises(InputError, match="distillation"):
            distil(INFINITE, learn, **bad)


def test_the_attacks_draw_from_the_seed_that_was_given(monkeypatch):
    seen: list[int] = []
    attack = PGD.attack

    def watched(self, network, data, *, seed):
        seen.append(seed)
        return attack(self, network, data, seed=seed)

    monkeypatch.setattr(PGD, "attack", watched)
    for seed in (0, 1):
        distil(INFINITE, digits(), steps=2, batch_size=20, radius=0.1, attack_steps=1, seed=seed)
    assert len(seen) == 4 == len(set(seen))
