"""Attacks against closed forms: linear networks, whose smallest adversarial change is known, and the losses' formulas."""

import math
import warnings

import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import ClaimError, CutawayWarning, InputError
from cutaway.instruments import RobustAccuracy
from cutaway.network import Network
from cutaway.robustness.attacks import (
    APGD,
    FGSM,
    PGD,
    Attack,
    Boundary,
    DeepFool,
    Noise,
    Square,
    cross_entropy_loss,
    make_attack,
    margin_loss,
    ratio_loss,
)
from cutaway.robustness.attacks.ascent import checkpoints, climb
from cutaway.robustness.attacks.oracle import Oracle
from cutaway.robustness.attacks.square import bump, share_after, two_sided
from cutaway.robustness.attacks.units import plausible_radius
from cutaway.testing.contract import small_classifier, small_data

MANY = [
    (APGD(radius=1, steps=30), 0.02),
    (APGD(radius=1, steps=30, loss="cross-entropy"), 0.3),  # climbs towards any class
    (APGD(radius=1, steps=30, loss="targeted-dlr"), 0.02),
    (PGD(radius=1, steps=40, restarts=2), 0.02),
    (PGD(radius=1, steps=40, restarts=2, stop_early=True), 0.02),
    (DeepFool(radius=1), 0.001),
    (Square(radius=1, steps=500), 0.25),
]


def linear(classes=4, size=8, rows=60, seed=0):
    """A linear classifier on unbounded inputs, its data, and the smallest change `(n,)` in a norm, in closed form."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(size, classes)).double().eval()
    inputs = torch.randn(rows, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    scores = model(inputs).detach()
    labels = scores.argmax(dim=1)
    data = Dataset(name="linear", inputs=inputs, labels=labels, num_classes=classes)
    weight = model[0].weight.detach()

    def smallest(norm):
        slope = (weight[labels][:, None] - weight[None]).norm(p=1 if norm == "inf" else 2, dim=2)
        gap = scores.gather(1, labels[:, None]) - scores
        return (gap / slope.clamp_min(1e-300)).scatter(1, labels[:, None], torch.inf).amin(1)

    return Network(model, inputs), data, smallest


def with_radius(attack, **changes):
    import dataclasses

    return dataclasses.replace(attack, **changes)


@pytest.mark.parametrize("norm", ["inf", "2"])
@pytest.mark.parametrize(
    ("attack", "slack"), MANY, ids=lambda a: f"{a.name}-{getattr(a, 'loss', '')}" if hasattr(a, "name") else ""
)
def test_linear_networks_fall_exactly_where_the_radius_reaches_the_boundary(attack, slack, norm):
    network, data, smallest = linear()
    exact = smallest(norm)
    radius = float(exact.median())
    found = with_radius(attack, radius=radius, norm=norm).attack(network, data)
    assert not bool((found.success & (exact > radius * (1 + 1e-6))).any())
    missed = ~found.success & (exact < radius * (1 - slack))
    assert int(missed.sum()) == 0
    assert 20 < int(found.success.sum()) < 40


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_fgsm_is_exact_for_two_classes_and_reaches_the_target(norm):
    network, data, smallest = linear(classes=2)
    exact = smallest(norm)
    radius = float(exact.median())
    found = FGSM(radius=radius, norm=norm).attack(network, data)
    assert torch.equal(found.success, exact < radius)
    aimed = FGSM(radius=radius, norm=norm).attack(network, data, targets=1 - data.labels)
    assert torch.equal(aimed.success, found.success)
    torch.testing.assert_close(found.distance[found.success], torch.full_like(exact[found.success], radius))


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_deepfool_finds_the_smallest_change_of_a_linear_network(norm):
    network, data, smallest = linear(classes=6, size=12)
    found = DeepFool(radius=100.0, norm=norm).attack(network, data)
    assert bool(found.success.all())
    torch.testing.assert_close(found.distance, smallest(norm), rtol=1e-4, atol=1e-6)


def test_boundary_attack_comes_near_the_smallest_change_from_decisions_alone():
    network, data, smallest = linear(classes=3, size=6, rows=30)
    found = Boundary(radius=100.0, steps=400).attack(network, data)
    assert bool(found.success.all())
    ratio = found.distance / smallest("2")
    assert float(ratio.min()) >= 1 - 1e-6
    assert float(ratio.median()) < 1.05
    assert network.backward_passes == 0


def test_square_attack_asks_for_scores_alone_and_counts_its_queries():
    network, data, _ = linear()
    before = network.forward_passes
    Square(radius=1e-6, steps=50).attack(network, data)
    assert network.forward_passes - before <= (50 + 4) * len(data)
    assert network.backward_passes == 0


@pytest.mark.parametrize(
    "attack",
    [APGD(radius=1.5, steps=20), PGD(radius=1.5), DeepFool(radius=1.5), Square(radius=1.5), Boundary(radius=3.0)],
)
def test_targets_are_reached_and_success_means_the_target(attack):
    network, data, _ = linear(classes=3)
    targets = (data.labels + 1) % 3
    found = attack.attack(network, data, targets=targets)
    said = network.forward(found.inputs).argmax(1)
    assert torch.equal(found.success, said == targets)
    assert int(found.success.sum()) > 10


def test_losses_equal_their_formulas():
    """Naive transcription, row by row."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(40, 6, generator=generator, dtype=torch.float64) * 3
    labels, targets = torch.arange(40) % 6, (torch.arange(40) + 1) % 6
    for n, (z, y, t) in enumerate(zip(scores.tolist(), labels.tolist(), targets.tolist())):
        order = sorted(z, reverse=True)
        wrong = max(v for k, v in enumerate(z) if k != y)
        assert float(margin_loss(scores, labels)[n]) == pytest.approx(wrong - z[y])
        assert float(ratio_loss(scores, labels)[n]) == pytest.approx(-(z[y] - wrong) / (order[0] - order[2]))
        aimed = -(z[y] - z[t]) / (order[0] - (order[2] + order[3]) / 2)
        assert float(ratio_loss(scores, labels, targets)[n]) == pytest.approx(aimed)
        total = math.log(sum(math.exp(v) for v in z))
        assert float(cross_entropy_loss(scores, labels)[n]) == pytest.approx(total - z[y])
        assert float(cross_entropy_loss(scores, labels, targets)[n]) == pytest.approx(z[t] - total)
    scaled = ratio_loss(5 * scores - 3, labels)
    torch.testing.assert_close(scaled, ratio_loss(scores, labels))
    torch.testing.assert_close(ratio_loss(scores[:, :2], labels % 2), margin_loss(scores[:, :2], labels % 2))


def test_checkpoints_are_the_published_ones():
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)
    assert checkpoints(1) == ()
    assert all(0 < w < 7 for w in checkpoints(7))


class Hill:
    """f(x) = -|x - top|^2 / 2 over the box [-1, 1]^d, never won."""

    def __init__(self, top):
        self.top, self.asked = top, 0

    def evaluate(self, points, rows):
        self.asked += len(points)
        away = points - self.top[rows]
        return -0.5 * away.square().sum(1), -away, torch.zeros(len(points), dtype=torch.bool)

    def step(self, points, gradient, size, rows):
        return self.project(points + size[:, None] * gradient.sign(), rows)

    def project(self, points, rows):
        return points.clamp(-1, 1)


def test_ascent_halves_its_steps_until_it_stands_on_the_top():
    """Closed form: the highest point of the box is the top, cut to the box. Without halving, steps of 2 only swing."""
    top = torch.tensor([[0.3, -0.2, 0.5], [3.0, 0.1, -4.0]], dtype=torch.float64)
    ground = Hill(top)
    found = climb(ground, torch.zeros(2, 3, dtype=torch.float64), size=2.0, steps=100)
    torch.testing.assert_close(found.points, top.clamp(-1, 1), atol=0.02, rtol=0)
    assert ground.asked == 2 * 101


def test_leaving_won_rows_alone_costs_no_success_and_saves_passes():
    network, data, smallest = linear(rows=100)
    radius = float(smallest("inf").median())
    results = {}
    for early in (True, False):
        before = network.forward_passes
        found = APGD(radius=radius, steps=25, stop_early=early).attack(network, data)
        results[early] = (found.success, network.forward_passes - before)
    assert torch.equal(results[True][0], results[False][0])
    assert results[True][1] < 0.75 * results[False][1]


def test_expectation_over_noise_is_the_smoothed_gradient():
    """Closed form: for f(x) = sum_i x_i^3 the mean over N(0, s^2) noise of the gradient is 3 x^2 + 3 s^2."""

    class Cube(nn.Module):
        def forward(self, x):
            return torch.stack([(x**3).sum(1), torch.zeros(len(x), dtype=x.dtype)], 1)

    inputs = torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64).repeat(200, 1)
    network = Network(Cube(), inputs)
    oracle = Oracle(network=network, draws=50, noise=torch.tensor(0.7), generator=torch.Generator().manual_seed(0))
    scores, gradient = oracle.gradient(inputs, lambda s: s[:, 0])
    expected = 3 * inputs[0] ** 2 + 3 * 0.49
    torch.testing.assert_close(gradient.mean(0), expected, rtol=0.05, atol=0.02)
    _, rows = oracle.jacobian(inputs, torch.zeros(200, 1, dtype=torch.int64))
    torch.testing.assert_close(rows[:, 0].mean(0), expected, rtol=0.05, atol=0.02)
    assert float(scores[:, 0].mean()) == pytest.approx(float((inputs[0] ** 3 + 3 * inputs[0] * 0.49).sum()), rel=0.05)


def test_a_network_that_answers_at_random_falls_to_averaged_gradients_more_often():
    class Random(nn.Module):
        """A linear network whose weights are shaken anew in every pass."""

        def __init__(self, inner):
            super().__init__()
            self.inner, self.generator = inner, torch.Generator().manual_seed(1)

        def forward(self, x):
            shake = torch.randn(self.inner.weight.shape, generator=self.generator, dtype=x.dtype)
            return x @ (self.inner.weight + 0.4 * shake).T + self.inner.bias

    plain, data, smallest = linear(rows=150)
    model = Random(plain.model[0]).eval()
    radius = float(1.2 * smallest("inf").median())
    rates = {}
    for draws in (1, 16):
        network = Network(model, data.inputs, probe=False)
        attack = FGSM(radius=radius, loss="margin", draws=draws, stop_early=False)
        found = attack.attack(network, data, seed=1)
        rates[draws] = int((plain.forward(found.inputs).argmax(1) != data.labels).sum())  # against the mean network
    assert rates[16] > rates[1] + 15


def test_bumps_have_unit_norm_and_the_window_shrinks_on_time():
    for side in ((1, 1), (1, 5), (3, 3), (6, 6), (7, 4)):
        pattern = two_sided(*side)
        assert tuple(pattern.shape) == side
        assert float(pattern.norm()) == pytest.approx(1)
    hill = bump(5, 5)
    assert [float(v) for v in hill[2]] == pytest.approx([1 / 9, 1 / 9 + 1 / 4, 1 / 9 + 1 / 4 + 1, 1 / 9 + 1 / 4, 1 / 9])
    shares = [share_after(step, 10_000, 0.8) for step in (1, 11, 51, 8001)]
    assert shares == pytest.approx([0.8, 0.4, 0.2, 0.8 / 256])


def test_square_changes_of_l2_use_the_whole_radius():
    network, data = Network(small_classifier(), small_data().inputs[:2]), small_data()
    import dataclasses

    free = dataclasses.replace(data, value_range=None)
    found = Square(radius=0.05, norm="2", steps=60, stop_early=False).attack(network, free)
    moved = found.distance[found.distance > 0]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.05), rtol=1e-4, atol=1e-6)


class Leaver(Attack):
    """Claims more than it may: steps `far` times the radius away."""

    name = "leaver"

    def _attack(self, aim, inputs, ball, generator):
        return inputs + 1.01 * ball.radius


def test_a_claim_outside_the_ball_or_the_range_is_refused():
    data, network = small_data(), Network(small_classifier(), small_data().inputs[:2])
    with pytest.raises(ClaimError, match="'leaver'; found a point at distance 0.101; expected at most 0.1"):
        Leaver(radius=0.1, stop_early=False).attack(network, data)

    class Outside(Leaver):
        def _attack(self, aim, inputs, ball, generator):
            return inputs + ball.radius

    bright = Dataset(
        name="bright", inputs=torch.full((4, 1, 4, 4), 0.95), labels=torch.zeros(4, dtype=torch.int64), num_classes=3,
        value_range=(0.0, 1.0),
    )  # fmt: skip
    with pytest.raises(ClaimError, match="outside the data's range"):
        Outside(radius=0.1, stop_early=False).attack(network, bright)


def test_a_radius_in_the_wrong_units_is_warned_of():
    data, network = small_data(), Network(small_classifier(), small_data().inputs[:2])
    message = r"radius of attack 'pgd'; found 8 in linf on data 'small' that lies in \[0, 1\]; expected at most 0.5"
    with pytest.warns(CutawayWarning, match=message) as caught:
        PGD(radius=8, steps=1).attack(network, data)
    assert "8/255 = 0.03137" in str(caught[0].message)
    with pytest.warns(CutawayWarning, match="radius of attack 'apgd'; found 30 in l2"):
        APGD(radius=30, norm="2", steps=1).attack(network, data)
    assert plausible_radius(data.normalised(), "2") == pytest.approx(plausible_radius(data, "2"), rel=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PGD(radius=8 / 255, steps=1).attack(network, data)
        DeepFool(radius=8).attack(network, data)  # only a cap there


def test_bad_settings_are_refused():
    data, network = small_data(), Network(small_classifier(), small_data().inputs[:2])
    with pytest.raises(
        InputError, match="loss of an attack; found 'hinge'; expected 'cross-entropy' or 'margin' or 'dlr'"
    ):
        APGD(radius=0.1, loss="hinge").attack(network, data)
    with pytest.raises(InputError, match=r"attack 'boundary'; found norm 'inf'; expected one of \('2',\)"):
        Boundary(radius=0.1, norm="inf").attack(network, data)
    with pytest.raises(InputError, match="targets of attack 'pgd', row 3; found 9; expected 0 to 2"):
        PGD(radius=0.1).attack(network, data, targets=torch.where(torch.arange(48) == 3, 9, 1))
    with pytest.raises(InputError, match=r"targets of attack 'pgd'; found shape \(2,\)"):
        PGD(radius=0.1).attack(network, data, targets=torch.tensor([1, 2]))
    with pytest.raises(InputError, match="found draws 0, noise 0.0"):
        PGD(radius=0.1, draws=0).attack(network, data)
    with pytest.raises(InputError, match="attack; found 'agpd'; .* Did you mean 'apgd'?"):
        make_attack("agpd", radius=0.1)


def test_noise_is_never_stopped_early_and_the_instrument_names_its_attack():
    data, model = small_data(), small_classifier()
    wide = Dataset(name="wide", inputs=data.inputs, labels=data.labels, num_classes=3)
    noised = Noise(radius=0.3, norm="2").attack(Network(model, data.inputs[:2]), wide)
    torch.testing.assert_close(noised.distance, torch.full((48,), 0.3))
    values = {}
    for name in ("pgd", "fgsm", "apgd", "square"):
        reading = RobustAccuracy(attack=name, radius=0.1, steps=None).measure(model, data)
        values[name] = reading.figure("robust_accuracy").value
        assert name.upper() in reading.figure("robust_accuracy").long_name
        assert f"under attack ({name.upper()})" in RobustAccuracy(attack=name, radius=0.1).describe(reading)
    assert values["apgd"] <= values["fgsm"]
    with pytest.raises(InputError, match="found 'pdg'"):
        RobustAccuracy(attack="pdg").measure(model, data)


def test_noise_in_l2_has_the_radius_wherever_the_range_lets_it():
    generator = torch.Generator().manual_seed(0)
    dark = torch.where(
        torch.rand(40, 1, 6, 6, generator=generator) < 0.7, 0.0, torch.rand(40, 1, 6, 6, generator=generator)
    )
    data = Dataset(name="dark", inputs=dark, labels=torch.zeros(40).long(), num_classes=2, value_range=(0.0, 1.0))
    scaled = data.normalised(mean=(0.3,), std=(0.2,))
    for part in (data, scaled):
        network = Network(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)).eval(), part.inputs[:2])
        found = Noise(radius=1.5, norm="2").attack(network, part, seed=1)
        torch.testing.assert_close(found.distance, torch.full((40,), 1.5), atol=1e-4, rtol=0)
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)).eval(), dark[:2])
    with pytest.warns(CutawayWarning, match="radius of attack 'noise'"):
        corner = Noise(radius=6.0, norm="2").attack(network, data, seed=1)  # beyond most drawn corners
    short = corner.distance < 5.99
    assert bool(short.any())
    moved = corner.inputs[short]
    assert bool(((moved == 0) | (moved == 1)).all())


def test_apgd_with_both_losses_costs_what_one_does():
    network, data, smallest = linear(rows=100)
    passes = {}
    for loss in ("both", "dlr"):
        before = network.forward_passes
        APGD(radius=float(smallest("2").min()) / 2, norm="2", steps=21, loss=loss).attack(network, data)
        passes[loss] = (network.forward_passes - before) / len(data)
    assert passes["both"] == passes["dlr"] + 3  # one more start, and the margin at the end of either half
    assert bool(APGD(radius=float(smallest("inf").max()) * 2, steps=1).attack(network, data).success.any())


def test_the_instrument_warns_of_its_radius_once_and_by_the_name_of_its_attack():
    data, model = small_data(), small_classifier()
    for name in ("pgd", "deepfool"):
        with pytest.warns(CutawayWarning, match=f"radius of attack '{name}'") as caught:
            RobustAccuracy(attack=name, radius=8, steps=1).measure(model, data)
        assert len(caught) == 1


def test_apgd_goes_on_until_the_target_itself_is_reached():
    network, data, _ = linear(classes=6, rows=100)
    targets = (data.labels + 1) % 6
    slow = PGD(radius=0.7, steps=100, restarts=3).attack(network, data, targets=targets)
    fast = APGD(radius=0.7, steps=40).attack(network, data, targets=targets)
    assert 20 < int(slow.success.sum()) < 80
    assert int(fast.success.sum()) >= int(slow.success.sum()) - 1


def test_without_stopping_pgd_s_points_are_lost_by_more():
    network, data, smallest = linear()
    radius = float(2 * smallest("inf").median())
    margins, passes = {}, {}
    for early in (True, False):
        before = network.forward_passes
        found = PGD(radius=radius, steps=20, stop_early=early).attack(network, data)
        margins[early] = margin_loss(network.forward(found.inputs), data.labels)[found.success].detach()
        passes[early] = network.forward_passes - before
    assert float(margins[False].mean()) > 1.5 * float(margins[True].mean())
    assert passes[True] < 0.7 * passes[False]
