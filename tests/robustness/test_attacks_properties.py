"""Properties of every attack on random networks, data and radii; and another library, foolbox, as oracle."""

import copy
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from cutaway.data import Dataset
from cutaway.network import Network
from cutaway.robustness.attacks import APGD, ATTACKS, FGSM, PGD, Boundary, DeepFool, make_attack

SHAPES = {"table": (7,), "sequence": (2, 5), "image": (2, 4, 3)}


def random_case(seed, shape, classes, spread, ranged, scaled):
    """A random network (one hidden layer) on random data in [-1, 2], perhaps with a range and scaled channels."""
    generator = torch.Generator().manual_seed(seed)
    size = int(torch.tensor(shape).prod())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(size, 12), nn.ReLU(), nn.Linear(12, classes)).eval()
    inputs = torch.rand((9, *shape), generator=generator) * 3 - 1
    labels = torch.randint(0, classes, (9,), generator=generator)
    data = Dataset(name="random", inputs=inputs, labels=labels, num_classes=classes)
    if ranged:
        data = Dataset(name="random", inputs=inputs, labels=labels, num_classes=classes, value_range=(-1.0, 2.0))
    if scaled:
        count = shape[0]
        data = data.normalised(mean=(0.3,) * count, std=tuple(spread * (k + 1) for k in range(count)))
    return Network(model, data.inputs[:2]), data


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(
    name=st.sampled_from(sorted(ATTACKS)),
    norm=st.sampled_from(["inf", "2"]),
    shape=st.sampled_from(sorted(SHAPES)),
    classes=st.integers(2, 5),
    radius=st.sampled_from([0.0, 1e-4, 0.05, 0.4, 1.4]),
    ranged=st.booleans(),
    scaled=st.booleans(),
    aimed=st.booleans(),
    early=st.booleans(),
    draws=st.integers(1, 2),
    spread=st.floats(0.05, 4.0),
    seed=st.integers(0, 10_000),
)
def test_no_attack_leaves_ball_or_range_and_every_success_is_one(
    name, norm, shape, classes, radius, ranged, scaled, aimed, early, draws, spread, seed
):
    network, data = random_case(seed, SHAPES[shape], classes, spread, ranged, scaled)
    norm = "2" if name == "boundary" else norm
    attack = make_attack(name, radius=radius, norm=norm, steps=12, stop_early=early, draws=draws)
    targets = (data.labels + 1) % classes if aimed else None
    found = attack.attack(network, data, seed=seed, targets=targets, batch_size=5)
    std = 1.0 if data.std is None else torch.tensor(data.std).reshape(1, -1, *[1] * (data.inputs.ndim - 2))
    change = ((found.inputs - data.inputs) * std).flatten(1).double()
    size = change.abs().amax(1) if norm == "inf" else change.norm(dim=1)
    assert float(size.max()) <= radius + 1e-4
    torch.testing.assert_close(found.distance.double(), size, atol=1e-5, rtol=1e-4)
    if ranged:
        raw = found.inputs * std + (0.3 if scaled else 0.0)
        assert float(raw.min()) >= -1 - 1e-4
        assert float(raw.max()) <= 2 + 1e-4
    with torch.no_grad():
        said = network.model(found.inputs).argmax(1)
    wanted = said == targets if aimed else said != data.labels
    assert torch.equal(found.predictions, said)
    assert torch.equal(found.success, wanted)
    again = attack.attack(network, data, seed=seed, targets=targets, batch_size=5)
    assert torch.equal(found.inputs, again.inputs)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), norm=st.sampled_from(["inf", "2"]))
def test_success_grows_with_radius_and_minimal_changes_lie_within_what_is_reported(seed, norm):
    network, data = random_case(seed, (7,), 3, 1.0, True, False)
    rates = [
        int(APGD(radius=r, norm=norm, steps=15).attack(network, data).success.sum()) for r in (0.0, 0.05, 0.2, 0.8)
    ]
    assert rates == sorted(rates)
    far = DeepFool(radius=50.0, norm=norm).attack(network, data)
    near = DeepFool(radius=0.2, norm=norm).attack(network, data)
    assert bool((near.success >= (far.success & (far.distance <= 0.199))).all())


@pytest.fixture(scope="module")
def digits():
    """A small network trained on scikit-learn's digits, in [0, 1], with 200 held-out rows."""
    from sklearn.datasets import load_digits

    source = load_digits()
    inputs = torch.tensor(source.data / 16.0, dtype=torch.float32).reshape(-1, 1, 8, 8)
    labels = torch.tensor(source.target)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
        )
        optimiser = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(150):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(inputs[:1500]), labels[:1500]).backward()
            optimiser.step()
    data = Dataset(
        name="digits", inputs=inputs[1500:1700], labels=labels[1500:1700], num_classes=10, value_range=(0.0, 1.0)
    )
    return Network(model.eval(), data.inputs[:2]), data


def test_apgd_is_not_weaker_than_pgd_nor_blinded_by_large_scores(digits):
    network, data = digits
    for norm, radius in (("inf", 0.08), ("inf", 0.12), ("2", 0.5)):
        plain = PGD(radius=radius, norm=norm, steps=20).attack(network, data).success.sum()
        assert int(APGD(radius=radius, norm=norm, steps=20).attack(network, data).success.sum()) >= int(plain)
    loud = copy.deepcopy(network.model)
    with torch.no_grad():
        for parameter in loud[-1].parameters():
            parameter.mul_(1000)  # the same decisions; cross-entropy's gradients vanish
    counts = {
        loss: int(APGD(radius=0.08, steps=20, loss=loss).attack(Network(loud, data.inputs[:2]), data).success.sum())
        for loss in ("both", "cross-entropy", "dlr")
    }
    assert counts["cross-entropy"] < 0.5 * counts["dlr"]
    assert counts["both"] >= counts["dlr"] - 4, "half the steps with dlr cost at most 2 % of 200 rows"


@pytest.fixture(scope="module")
def foolbox():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # imports scipy's and numpy's deprecated names
        return pytest.importorskip("foolbox", reason="foolbox, the oracle of this test, is not importable")


def theirs(foolbox, attack, network, data, radius):
    """Success `(n,)` and distances of a foolbox attack, re-judged by us."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = foolbox.PyTorchModel(network.model, bounds=(0, 1))
        torch.manual_seed(0)
        _, points, _ = attack(model, data.inputs, data.labels, epsilons=radius)
    with torch.no_grad():
        return network.model(points).argmax(1) != data.labels, (points - data.inputs).flatten(1)


CASES = [
    ("inf", 0.08, FGSM(radius=0.08), "LinfFastGradientAttack", {}),
    ("2", 0.5, FGSM(radius=0.5, norm="2"), "L2FastGradientAttack", {}),
    ("inf", 0.08, PGD(radius=0.08, steps=20), "LinfProjectedGradientDescentAttack", {"steps": 20}),
    ("2", 0.5, PGD(radius=0.5, norm="2", steps=20), "L2ProjectedGradientDescentAttack", {"steps": 20}),
    ("inf", 0.08, APGD(radius=0.08, steps=20), "LinfProjectedGradientDescentAttack", {"steps": 20}),
    ("2", 0.5, APGD(radius=0.5, norm="2", steps=20), "L2ProjectedGradientDescentAttack", {"steps": 20}),
]  # fmt: skip


@pytest.mark.parametrize(("norm", "radius", "ours", "peer", "options"), CASES, ids=lambda v: getattr(v, "name", None))
def test_success_is_at_least_foolbox_s_at_equal_budget(foolbox, digits, norm, radius, ours, peer, options):
    network, data = digits
    other, _ = theirs(foolbox, getattr(foolbox.attacks, peer)(**options), network, data, radius)
    found = ours.attack(network, data)
    assert 0.1 < float(other.float().mean()) < 0.999
    assert float(found.success.float().mean()) >= float(other.float().mean()) - 0.01


@pytest.mark.parametrize(("norm", "peer"), [("2", "L2DeepFoolAttack"), ("inf", "LinfDeepFoolAttack")])
def test_deepfool_s_changes_are_no_larger_than_foolbox_s(foolbox, digits, norm, peer):
    network, data = digits
    other, change = theirs(foolbox, getattr(foolbox.attacks, peer)(), network, data, None)
    size = change.norm(dim=1) if norm == "2" else change.abs().amax(1)
    found = DeepFool(radius=20.0, norm=norm).attack(network, data)
    right = network.model(data.inputs).argmax(1) == data.labels
    assert bool((found.success | ~other)[right].all())
    both = right & other & found.success
    assert float(found.distance[both].median()) <= 1.01 * float(size[both].median())


def test_boundary_s_changes_are_no_larger_than_foolbox_s_at_equal_steps(foolbox, digits):
    network, data = digits
    part = data.first(60)
    attack = foolbox.attacks.BoundaryAttack(steps=600)
    other, change = theirs(foolbox, attack, network, part, None)
    found = Boundary(radius=20.0, steps=600).attack(network, part)
    both = other & found.success & (found.distance > 0)
    assert int(both.sum()) > 50
    assert float(found.distance[both].median()) <= 1.05 * float(change.norm(dim=1)[both].median())
