"""Goals of attacks: their formulas against naive transcriptions, and every attack with every goal inside ball and range."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import ClaimError, InputError
from cutaway.network import Network
from cutaway.robustness.attacks import APGD, ATTACKS, FGSM, PGD, DeepFool, make_attack
from cutaway.robustness.attacks.goals import Entropy, Label, MutualInformation, OwnLoss, TargetClass
from cutaway.testing.contract import small_classifier, small_data

DATA = small_data(24)
MODELS = [small_classifier(seed) for seed in (0, 1, 2)]
GOALS = {
    "label": Label(),
    "target": TargetClass(classes=1),
    "entropy": Entropy(limit=1.09),
    "low entropy": Entropy(lower=True, limit=0.9),
    "information": MutualInformation(limit=0.02),
    "own": OwnLoss(loss=lambda z, y: z.mean(0)[:, 0], limit=0.1),
}


def networks(models=MODELS):
    return [Network(model, DATA.inputs[:2]) for model in models]


def naive(scores: list) -> tuple[float, float]:
    """Total entropy and mutual information of one row, `scores[k][j]` of member k, by the definitions."""
    members = []
    for z in scores:
        total = sum(math.exp(v) for v in z)
        members.append([math.exp(v) / total for v in z])
    mean = [sum(p[j] for p in members) / len(members) for j in range(len(members[0]))]

    def entropy(p):
        return -sum(v * math.log(v) for v in p if v > 0)

    return entropy(mean), entropy(mean) - sum(map(entropy, members)) / len(members)


@given(members=st.integers(1, 5), classes=st.integers(2, 6), size=st.floats(0.1, 8), seed=st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_entropy_and_information_are_their_definitions(members, classes, size, seed):
    z = size * torch.randn(members, 3, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    total, shared = Entropy().value(z, None), MutualInformation().value(z, None)
    for row in range(3):
        wanted = naive(z[:, row].tolist())
        assert float(total[row]) == pytest.approx(wanted[0], abs=1e-12)
        assert float(shared[row]) == pytest.approx(wanted[1], abs=1e-12)
    assert bool((total <= math.log(classes) + 1e-12).all() and (shared >= -1e-12).all())
    assert bool((shared <= math.log(members) + 1e-12).all())
    torch.testing.assert_close(Entropy(lower=True).value(z, None), -total)


def test_extreme_scores_give_no_nan():
    z = torch.tensor([[[2000.0, 0.0]], [[0.0, 2000.0]]], requires_grad=True)
    value = MutualInformation().value(z, None)
    assert float(value.detach().sum()) == pytest.approx(math.log(2))
    value.sum().backward()
    assert bool(torch.isfinite(z.grad).all())


@pytest.mark.parametrize("goal", [Entropy(), MutualInformation(), Label(), GOALS["own"]], ids=lambda g: g.name)
def test_gradients_through_several_networks_are_those_of_differences(goal):
    from cutaway.robustness.attacks.aim import Aim
    from cutaway.robustness.attacks.oracle import Oracle

    smooth = [nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 3)).double() for _ in range(3)]
    inputs = DATA.inputs[:4].double()
    first, *others = [Network(model, inputs[:2]) for model in smooth]
    oracle = Oracle(
        network=first, draws=1, noise=None, generator=torch.Generator().manual_seed(0), others=tuple(others)
    )
    aim = Aim(goal=goal, oracle=oracle, labels=DATA.labels[:4])
    value, gradient, _ = aim.ascend(inputs)
    step = torch.zeros_like(inputs)
    step[:, 0, 1, 2] = 1e-6
    slope = (aim.value(inputs + step) - aim.value(inputs - step)) / 2e-6
    torch.testing.assert_close(slope, gradient[:, 0, 1, 2], rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(aim.value(inputs), value)
    assert {n.backward_passes for n in (first, *others)} == {4}


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize(("name", "norm"), [(name, norm) for name, kind in ATTACKS.items() for norm in kind.norms])
def test_every_attack_takes_every_goal_and_stays_inside(name, goal, norm):
    radius = {"inf": 0.15, "2": 0.5}[norm]
    attack = make_attack(name, radius=radius, norm=norm, steps=8)
    found = attack.attack(networks(), DATA, goal=GOALS[goal], batch_size=10)
    change = (found.inputs - DATA.inputs).flatten(1)
    size = change.abs().amax(1) if norm == "inf" else change.norm(dim=1)
    assert float(size.max()) <= radius * (1 + 1e-5) and 0 <= float(found.inputs.min()) <= float(found.inputs.max()) <= 1
    again = torch.stack([model(found.inputs) for model in MODELS]).detach()
    mean = torch.softmax(again, 2).mean(0)
    assert torch.equal(found.predictions, mean.argmax(1))
    if goal == "label":
        assert torch.equal(found.success, found.predictions != DATA.labels)
    elif goal == "target":
        assert torch.equal(found.success, found.predictions == 1)
    else:
        torch.testing.assert_close(found.value, GOALS[goal].value(again, DATA.labels), rtol=1e-4, atol=1e-6)
        assert torch.equal(found.success, found.value > GOALS[goal].threshold)


@pytest.mark.parametrize("kind", [PGD, APGD])
@pytest.mark.parametrize("goal", [Entropy(), Entropy(lower=True), MutualInformation()], ids=["up", "down", "mi"])
def test_searches_beat_noise_and_never_lose_to_the_input(kind, goal):
    unlabelled = dataclasses.replace(DATA, labels=None, num_classes=None)
    found = kind(radius=0.1, steps=10).attack(networks(), unlabelled, goal=goal)
    noise = make_attack("noise", radius=0.1).attack(networks(), unlabelled, goal=goal)
    clean = goal.value(torch.stack([model(DATA.inputs) for model in MODELS]).detach(), None)
    assert bool((found.value >= clean - 1e-6).all()) and float(found.value.mean()) > float(noise.value.mean())
    assert torch.equal(found.success, found.value > clean) and float(found.success.float().mean()) > 0.9


def at_the_walls() -> tuple[nn.Module, Dataset, torch.Tensor]:
    """A linear network, rows of which half of the numbers stand at an end of the range, and the largest margin within
    l-infinity 0.2 of them in closed form."""
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(30, 12, generator=generator).round(decimals=1)
    x[:, ::2] = x[:, ::2].round()
    layer = nn.Linear(12, 2).eval()
    labels = torch.arange(30) % 2
    slope = (layer.weight[1] - layer.weight[0]).detach() * torch.where(labels == 0, 1.0, -1.0)[:, None]
    best = torch.where(slope > 0, (x + 0.2).clamp_max(1), (x - 0.2).clamp_min(0))
    scores = layer(best).detach()
    other = scores.gather(1, 1 - labels[:, None]) - scores.gather(1, labels[:, None])
    return layer, Dataset(name="walls", inputs=x, labels=labels, num_classes=2, value_range=(0.0, 1.0)), other[:, 0]


@pytest.mark.parametrize("kind", [PGD, APGD])
def test_numbers_at_the_ends_of_the_range_keep_their_gradient(kind):
    """A clamp between point and network would stop it: the largest margin of a linear network is reached exactly."""
    layer, data, best = at_the_walls()
    found = kind(radius=0.2, steps=20, stop_early=False).attack(Network(layer, data.inputs[:2]), data)
    torch.testing.assert_close(found.value, best, rtol=1e-5, atol=1e-5)
    clamped = nn.Sequential(nn.Hardtanh(0.001, 0.999), layer).eval()  # what an attack with such a clamp would see
    weak = kind(radius=0.2, steps=20, stop_early=False).attack(Network(clamped, data.inputs[:2]), data)
    assert float((best - weak.value).max()) > 0.01


def test_the_smallest_change_for_a_goal_on_a_linear_loss_is_the_closed_form():
    direction = torch.linspace(-1, 1, 16)
    goal = OwnLoss(loss=lambda z, y: z.mean(0)[:, 0], limit=3.0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[0] = direction
    free = dataclasses.replace(DATA, value_range=None)
    found = DeepFool(radius=100.0).attack(Network(model, DATA.inputs[:2]), free, goal=goal)
    gap = (goal.limit - model(DATA.inputs)[:, 0]).detach().clamp_min(0)
    torch.testing.assert_close(found.distance, gap / direction.norm(), rtol=2e-3, atol=1e-4)
    assert bool(found.success.all())


def test_draws_of_one_random_network_are_members():
    attack = PGD(radius=0.1, steps=4, draws=6, noise=0.2)
    found = attack.attack(networks()[0], DATA, goal=MutualInformation())
    assert bool((found.value > 0).all())


def test_what_goals_cannot_do_is_said():
    (one, *_), data = networks(), DATA
    with pytest.raises(InputError, match="goal 'mutual-information' of attack 'pgd'; found one network, asked once"):
        PGD(radius=0.1).attack(one, data, goal=MutualInformation())
    with pytest.raises(InputError, match="goal 'entropy' of attack 'deepfool'; found no limit"):
        DeepFool(radius=0.1).attack(one, data, goal=Entropy())
    with pytest.raises(InputError, match="found a goal and targets"):
        PGD(radius=0.1).attack(one, data, goal=Label(), targets=data.labels)
    with pytest.raises(InputError, match="row 0; found 7; expected 0 to 2"):
        PGD(radius=0.1).attack(one, data, goal=TargetClass(classes=7))
    with pytest.raises(InputError, match=r"own-loss'; found shape \(\); expected \(24,\)"):
        FGSM(radius=0.1).attack(one, data, goal=OwnLoss(loss=lambda z, y: z.sum()))
    wide = Network(nn.Sequential(nn.Flatten(), nn.Linear(16, 4)).eval(), data.inputs[:2])
    with pytest.raises(InputError, match=r"found outputs \(3,\), \(4,\); expected networks with the same classes"):
        PGD(radius=0.1).attack([one, wide], data)
    with pytest.raises(InputError, match="without labels"):
        PGD(radius=0.1).attack(one, dataclasses.replace(data, labels=None, num_classes=None))


def test_an_attack_that_leaves_the_ball_is_refused_for_every_goal():
    class Leaver(PGD):
        def _attack(self, aim, inputs, ball, generator):
            return inputs + 1.01 * ball.radius

    for goal in GOALS.values():
        with pytest.raises(ClaimError, match="expected at most 0.1"):
            Leaver(radius=0.1).attack(networks(), DATA, goal=goal)
