"""Distillation through trainings and along trajectories: gradients against differences, rows that teach, the study's
arms, the instrument's contract, bad input."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.data import Dataset, load_data
from cutaway.errors import InputError
from cutaway.instruments import Distillation
from cutaway.outputs import class_mean_rows, distil_trajectory, distil_unrolled, plain_trainer, study_distilled
from cutaway.outputs.distilled_study import DISTILLED, EVERY, MEANS, REAL
from cutaway.outputs.inner_training import InnerAdam, inner_step, leaf_weights, loss_with
from cutaway.robustness.attacks import PGD
from cutaway.testing import check_instrument
from cutaway.testing.contract import small_classifier, small_data


def begun(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))


def digits(split="train", count=300):
    return load_data("digits", split=split, num=count)


def test_the_gradient_through_steps_of_adam_is_that_of_differences():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    rows, labels, batch = torch.randn(2, 3).double(), torch.tensor([0, 1]), torch.randn(5, 3).double()

    def reached(point):
        weights, adam = leaf_weights(model), InnerAdam(0.05)
        for _ in range(3):
            weights = inner_step(model, weights, point, labels, adam, graph=True)
        return loss_with(model, weights, batch, torch.tensor([0, 1, 0, 1, 1]))

    assert torch.autograd.gradcheck(reached, (rows.requires_grad_(),), eps=1e-6, atol=1e-6)


def test_inner_adam_is_torch_s_adam():
    data, model = digits(count=40), begun(0)
    weights, adam = leaf_weights(model), InnerAdam(0.01)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(5):
        weights = inner_step(model, weights, data.inputs, data.labels, adam, graph=False)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(data.inputs), data.labels).backward()
        optimiser.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(weights[name], parameter, rtol=0, atol=2e-4)  # eps is inside the root, not beside it


@pytest.mark.parametrize("way", [distil_unrolled, distil_trajectory])
def test_rows_distilled_teach_more_than_those_they_began_as(way):
    learn, test = digits(), digits("test", 200)
    few = {"inner_steps": 12, "window": 4} if way is distil_unrolled else {"experts": 2, "epochs": 3}
    before = torch.random.get_rng_state()
    found = way(begun, learn, steps=60, rate=0.1, seed=0, **few)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert found.data.labels.tolist() == list(range(10))
    assert np.mean(found.losses[-10:]) < 0.95 * np.mean(found.losses[:10])
    assert float(found.data.inputs.min()) >= 0 and float(found.data.inputs.max()) <= 1
    trainer = plain_trainer(begun, steps=40, batch_size=64, learning_rate=0.01)
    own = [
        study_distilled(trainer, rows, learn, test, draws=2, num_seeds=2)[DISTILLED].right.mean()
        for rows in (found.data, found.start)
    ]
    assert own[0] > own[1] + 0.08
    again = way(begun, learn, steps=60, rate=0.1, seed=0, **few)
    assert torch.equal(again.data.inputs, found.data.inputs)


def test_a_window_of_the_whole_training_lies_at_one_place():
    whole = {"steps": 4, "inner_steps": 5, "window": 5}
    random, last = (distil_unrolled(begun, digits(), place=place, **whole) for place in ("random", "last"))
    torch.testing.assert_close(random.data.inputs, last.data.inputs, rtol=0, atol=0.05)


def test_an_epoch_is_passed_when_the_next_one_s_loss_falls():
    found = distil_trajectory(begun, digits(), steps=240, rate=0.05, experts=2, epochs=4)
    assert found.epochs[0] == 0
    assert max(found.epochs) <= 2  # one epoch is always kept to be watched
    assert all(b - a in (0, 1) for a, b in zip(found.epochs, found.epochs[1:], strict=False))
    assert found.student_rate > 0


def test_class_means_are_means_of_parts():
    learn = digits()
    one = class_mean_rows(learn, 1, torch.Generator().manual_seed(0))
    wanted = torch.stack([learn.inputs[learn.labels == c].mean(dim=0) for c in range(10)])
    torch.testing.assert_close(one.inputs, wanted)
    three = class_mean_rows(learn, 3, torch.Generator().manual_seed(0))
    assert three.labels.tolist() == [c for c in range(10) for _ in range(3)]
    spread = (three.inputs.reshape(10, 3, -1).mean(dim=1) - wanted.flatten(1)).abs().max()
    assert spread < 0.05  # parts differ in size by one row at most


class Memory(nn.Module):
    """Right on as many classes as it was taught rows of distinct values."""

    def __init__(self, rows):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))
        self.known = int(rows.inputs.flatten(1).unique(dim=0).shape[0])

    def forward(self, inputs):
        classes = inputs[:, 0].long()
        said = torch.where(classes < self.known, classes, (classes + 1) % 4)
        return torch.eye(4)[said] + 0 * self.place


def test_the_arms_of_the_study_are_what_they_say():
    labels = torch.arange(40) % 4
    data = Dataset(name="own", inputs=labels[:, None].float().repeat(1, 2), labels=labels, num_classes=4)
    made = dataclasses.replace(data.subset([0, 1, 2, 3]), inputs=torch.tensor([[0.0, 0], [0, 0], [2, 2], [2, 2]]))
    found = study_distilled(lambda rows, seed, scored: (Memory(rows), None), made, data, data, draws=5, num_seeds=2)
    assert {kind: len(taught.right) for kind, taught in found.items()} == {DISTILLED: 2, MEANS: 2, REAL: 5, EVERY: 2}
    assert found[DISTILLED].right.tolist() == [0.5, 0.5]
    assert found[REAL].right.tolist() == [1.0] * 5
    assert found[MEANS].right.tolist() == [1.0] * 2
    assert np.isnan(found[REAL].robust).all()


def test_the_instrument_keeps_its_contract():
    for method in ("kip", "rat", "tm"):
        fast = Distillation(method=method, distil_steps=2, draws=2, seeds=2, steps=3)
        reading = check_instrument(fast)
        assert reading.values["distilled"].shape == reading.values["began_as"].shape
        assert fast.describe(reading).endswith("beside class means.")
    robust = Distillation(distil_steps=2, draws=2, seeds=2, steps=3, radius=0.1)
    reading = robust.measure(small_classifier(), small_data(120))
    assert "Under an attack of size 0.1" in robust.describe(reading)
    assert reading.values["robust_real"].shape == (2,)
    few = Distillation(per_class=1000).measure(small_classifier(), small_data())
    assert "too few to distil 1000" in few.reason
    other = Distillation(method="rat", radius=0.1).measure(small_classifier(), small_data())
    assert "knows no attack" in other.reason


def test_a_distilled_set_attacks_with_its_own_radius():
    """Judged under attack, no network is right more often than without."""
    learn, test = digits(), digits("test", 60)
    trainer = plain_trainer(begun, steps=30, batch_size=64, learning_rate=0.01)
    found = study_distilled(
        trainer, learn.first(10), learn, test, draws=2, num_seeds=2, attack=PGD(radius=0.1, steps=3)
    )
    assert (found[EVERY].robust < found[EVERY].right - 0.1).all()


@pytest.mark.parametrize(
    ("way", "wrong", "words"),
    [
        (distil_unrolled, {"window": 30}, "window 30"),
        (distil_unrolled, {"rate": 0.0}, "rate 0"),
        (distil_trajectory, {"epochs": 1}, "epochs 1"),
        (distil_trajectory, {"per_class": 0}, "per_class 0"),
        (distil_unrolled, {"per_class": 200}, "200 rows or more of every class"),
    ],
)
def test_what_cannot_be_distilled_is_told(way, wrong, words):
    with pytest.raises(InputError, match=words):
        way(begun, digits(count=60), **wrong)


def test_a_training_that_overflows_is_told():
    with pytest.raises(InputError, match="Lower inner_rate"):
        distil_unrolled(begun, digits(count=60), steps=3, inner_rate=1e30)
