"""MMR against a naive transcription with full Jacobians, its gradients, its schedules, and its certificate by attack."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cutaway.data import load_data
from cutaway.errors import CutawayError, InputError, ModelError, NotPiecewiseAffine
from cutaway.network import Network
from cutaway.network.capture import record
from cutaway.robustness.attacks import PGD
from cutaway.training.loop import Term, TrainingSettings, train
from cutaway.training.regularisers import (
    MaximumMargin,
    boundary_share_at,
    certified_radius,
    over_training,
    ramp,
)
from cutaway.training.slopes import DensePieces, TracedPieces, boundary_sites_of, dense_chain, pieces


def num(tensor):
    return tensor.detach().item()


BOTH = {"gamma_boundary": 0.7, "gamma_decision": 0.9}


def dense(*widths, slope=0.0, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Flatten()]
    for a, b in zip(widths[:-2], widths[1:-1], strict=True):
        layers += [nn.Linear(a, b), nn.LeakyReLU(slope) if slope else nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(*widths[-2:])).double()


class Convolutional(nn.Module):
    """Own forward, convolution, residual branch, functional activations: nothing the dense path can take."""

    def __init__(self, pool=False):
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Conv2d(1, 3, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 3, 3, padding=1)
        self.last = nn.Linear(27, 4)
        self.pool = pool
        self.norm.running_mean += 0.1
        self.double()

    def forward(self, x):
        x = F.relu(self.norm(self.first(x)))
        x = x + F.leaky_relu(self.second(x), 0.2)
        return self.last((F.max_pool2d(x, 1) if self.pool else x).flatten(1))


NETWORKS = {
    "one hidden layer": lambda: (dense(6, 9, 4), (6,)),
    "three hidden layers": lambda: (dense(6, 7, 8, 5, 4), (6,)),
    "leaky": lambda: (dense(6, 7, 8, 3, slope=0.1), (2, 3)),
    "convolutional": lambda: (Convolutional(), (1, 6, 6)),
}


def made(name, rows=5):
    model, shape = NETWORKS[name]()
    torch.manual_seed(7)
    classes = list(model.parameters())[-1].shape[0]
    return model, torch.randn(rows, *shape, dtype=torch.float64), torch.arange(rows) % classes


def naive(model, x, y, norm, share, gammas):
    """The formulas of arXiv 1810.07481 with every Jacobian written out, one sample after another."""
    q = {"inf": 1, "2": 2, "1": float("inf")}[norm]
    training, total = model.training, 0.0
    model.eval()
    sites, _ = boundary_sites_of(model, x)

    def everything(v):
        scores, pre, _ = record(model, v[None], sites, grad=True)
        return torch.cat([pre[s.name].flatten() for s in sites]), scores[0]

    for row, label in zip(x, y, strict=True):
        heights, scores = everything(row)
        v_units, v_scores = torch.autograd.functional.jacobian(everything, row, create_graph=True)
        norms = v_units.flatten(1).norm(p=q, dim=1)
        d_b = (heights.abs() / norms).sort().values[: max(1, round(share * len(heights)))]
        others = [s for s in range(len(scores)) if s != label]
        difference = v_scores[label][None] - v_scores[others]
        d_d = (scores[label] - scores[others]) / difference.flatten(1).norm(p=q, dim=1)
        total = total + (1 - d_b / gammas[0]).relu().mean() + (1 - d_d / gammas[1]).relu().mean()
    model.train(training)
    return total / len(x)


@pytest.mark.parametrize("norm", ["inf", "2", "1"])
@pytest.mark.parametrize("name", NETWORKS)
def test_agrees_with_full_jacobians_in_value_and_gradient(name, norm):
    model, x, y = made(name)
    term = MaximumMargin(norm=norm, boundary_share=0.3, **BOTH)
    weights = [p for p in model.parameters() if p.requires_grad]
    ours, truth = term(model, x, y), naive(model, x, y, norm, 0.3, (0.7, 0.9))
    assert num(truth) > 0
    assert num(ours) == pytest.approx(num(truth), rel=1e-10)
    mine = torch.autograd.grad(ours, weights, allow_unused=True)
    theirs = torch.autograd.grad(truth, weights, allow_unused=True)
    for a, b in zip(mine, theirs, strict=True):
        a, b = (torch.zeros(1) if g is None else g for g in (a, b))
        torch.testing.assert_close(a.expand_as(b) if a.numel() == 1 else a, b.expand_as(a), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("norm", ["inf", "2", "1"])
def test_dense_and_traced_ways_agree_and_streaming_changes_nothing(norm):
    model, x, y = made("three hidden layers", rows=7)
    q = {"inf": 1.0, "2": 2.0, "1": float("inf")}[norm]
    one, few = DensePieces(dense_chain(model), x), DensePieces(dense_chain(model), x, numbers=20)
    traced, thin = TracedPieces(model, x), TracedPieces(model, x, numbers=60)
    units = torch.tensor([[0, 9, 19, 3]] * 7)
    others = torch.tensor([[k for k in range(4) if k != label] for label in y.tolist()])
    for other in (few, traced, thin):
        torch.testing.assert_close(other.heights, one.heights)
        torch.testing.assert_close(other.unit_norms(q), one.unit_norms(q))
        torch.testing.assert_close(other.row_norms(units, q), one.row_norms(units, q))
        torch.testing.assert_close(other.score_norms(y, others, q), one.score_norms(y, others, q))
    weights = list(model.parameters())
    gradients = [
        torch.autograd.grad(p.row_norms(units, q).sum(), weights, allow_unused=True) for p in (one, few, traced)
    ]
    for a, b, c in zip(*gradients, strict=True):
        if a is not None and b is not None:
            torch.testing.assert_close(a, b)
            torch.testing.assert_close(a, c)


def test_gradient_by_finite_differences():
    model, x, y = made("three hidden layers")
    term = MaximumMargin(norm="inf", boundary_share=0.2, **BOTH)
    names = [n for n, _ in model.named_parameters()]

    def value(*weights):
        with torch.no_grad():
            for name, weight in zip(names, weights, strict=True):
                model.get_parameter(name).copy_(weight)
        return num(term(model, x, y))

    start = [p.detach().clone() for p in model.parameters()]
    gradient = torch.autograd.grad(term(model, x, y), list(model.parameters()))
    torch.manual_seed(1)
    for _ in range(3):
        way = [torch.randn_like(p) for p in start]
        slope = sum(float((g * d).sum()) for g, d in zip(gradient, way, strict=True))
        step = 1e-6
        ahead, behind = (value(*[p + s * d for p, d in zip(start, way, strict=True)]) for s in (step, -step))
        assert (ahead - behind) / (2 * step) == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_closed_form_one_unit():
    """h = 3 x1 + 4 x2 - 5 at (3, 4): h = 20, d_B = 20 / 5 in l2, 20 / 7 in l-infinity, 20 / 4 in l1; f = (h, 0)."""
    model = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 2)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 4.0]])), model[0].bias.fill_(-5.0)
        model[2].weight.copy_(torch.tensor([[1.0], [0.0]])), model[2].bias.zero_()
    x, y = torch.tensor([[3.0, 4.0]], dtype=torch.float64), torch.tensor([0])
    for norm, distance in {"2": 4.0, "inf": 20 / 7, "1": 5.0}.items():
        assert float(certified_radius(model, x, norm=norm)) == pytest.approx(distance, rel=1e-8)
        term = MaximumMargin(norm=norm, gamma_boundary=10.0, gamma_decision=8.0)
        assert num(term(model, x, y)) == pytest.approx((1 - distance / 10) + (1 - distance / 8), rel=1e-12)
        assert num(term(model, x, 1 - y)) == pytest.approx((1 - distance / 10) + (1 + distance / 8), rel=1e-12)
    wide = MaximumMargin(norm="2", gamma_boundary=3.9, gamma_decision=3.9)
    assert num(wide(model, x, y)) == 0.0


def test_rivals_are_the_highest_scoring_other_classes():
    model, x, y = made("one hidden layer")
    one = MaximumMargin(norm="2", gamma_boundary=None, gamma_decision=0.9, rivals=1)
    every = replace(one, rivals=None)
    with torch.no_grad():
        scores = model(x)
        rival = scores.scatter(1, y[:, None], -torch.inf).argmax(1)
    expected = []
    for row, c, s in zip(x, y, rival, strict=True):
        v = torch.autograd.functional.jacobian(lambda z: model(z[None])[0], row)
        expected.append((1 - (scores[len(expected), c] - scores[len(expected), s]) / (v[c] - v[s]).norm() / 0.9).relu())
    assert num(one(model, x, y)) == pytest.approx(float(torch.stack(expected).mean()), rel=1e-10)
    assert num(replace(one, rivals=3)(model, x, y)) == pytest.approx(num(every(model, x, y)), rel=1e-12)


def test_sketched_selection_finds_nearly_the_nearest():
    model, x, y = made("three hidden layers", rows=40)
    exact = MaximumMargin(norm="2", gamma_boundary=0.7, gamma_decision=None, boundary_share=0.2)
    sketched = replace(exact, selection="sketched", probes=16)
    whole, part = num(exact(model, x, y)), num(sketched(model, x, y))
    assert part <= whole + 1e-12  # other units are farther, so their hinge is smaller
    assert part > 0.9 * whole
    again = num(sketched(model, x, y))
    assert again == part
    convolutional, x, y = made("convolutional", rows=6)
    whole, part = (num(t(convolutional, x, y)) for t in (exact, replace(sketched, probes=32)))
    assert 0.9 * whole < part <= whole + 1e-12


def _worst(model, x, radius, norm, generator, tries=300):
    """Does any of `tries` random points and sign-gradient steps inside the ball change the class?"""
    clean = model(x).argmax(1)
    changed = torch.zeros(len(x), dtype=torch.bool)
    view = radius.view(-1, *[1] * (x.dim() - 1))
    for _ in range(tries):
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        if norm == "inf":
            noise = noise.sign()
        elif norm == "2":
            noise = noise / noise.flatten(1).norm(dim=1).view_as(view)
        else:
            noise = F.one_hot(noise.flatten(1).abs().argmax(1), noise[0].numel()).to(x).view_as(x) * noise.sign()
        changed |= model(x + view * noise).argmax(1) != clean
    for other in range(model(x).shape[1]):  # steepest direction towards every class, exact inside one region
        point = x.clone().requires_grad_(True)
        scores = model(point)
        gap = scores[:, other] - scores.gather(1, clean[:, None]).squeeze(1)
        (g,) = torch.autograd.grad(gap.sum(), point)
        if norm == "inf":
            way = g.sign()
        elif norm == "2":
            way = g / g.flatten(1).norm(dim=1).clamp_min(1e-30).view_as(view)
        else:
            way = F.one_hot(g.flatten(1).abs().argmax(1), g[0].numel()).to(x).view_as(x) * g.sign()
        changed |= model(x + view * way).argmax(1) != clean
    return changed


@pytest.mark.parametrize("norm", ["inf", "2", "1"])
@pytest.mark.parametrize("name", NETWORKS)
def test_certificate_is_sound_and_not_vacuous(name, norm):
    model, x, y = made(name, rows=30)
    model.eval()
    radius = certified_radius(model, x, norm=norm)
    assert radius.shape == (30,) and bool((radius > 0).all())
    generator = torch.Generator().manual_seed(5)
    with torch.enable_grad():
        assert not bool(_worst(model, x, radius, norm, generator).any())
        assert bool(_worst(model, x, 300 * radius, norm, generator).any())  # the search can find a change
    labelled = certified_radius(model, x, y, norm=norm)
    right = model(x).argmax(1) == y
    torch.testing.assert_close(labelled, torch.where(right, radius, 0.0))


def test_no_attack_inside_the_certified_ball_of_a_trained_network():
    """PGD with 40 steps and three restarts at several radii: rows certified at that radius stand, others fall."""
    torch.manual_seed(0)
    data = load_data("digits", split="train", num=500)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 10))
    term = MaximumMargin(norm="inf", gamma_boundary=0.1, gamma_decision=0.1)
    train(
        model,
        data,
        TrainingSettings(steps=150, batch_size=100, learning_rate=5e-3),
        terms=(Term(weight=1.0, function=term),),
    )
    radius = certified_radius(model, data.inputs, data.labels, norm="inf")
    fallen = 0
    for share in (0.3, 0.6, 0.9):
        size = float(radius.quantile(share))
        attack = PGD(radius=size, steps=40, restarts=3).attack(Network(model, data.inputs[:2]), data)
        assert not bool((attack.success & (radius > size)).any())
        assert bool((radius > size).any())
        fallen += int(attack.success.sum())
    assert fallen > 0


def test_certificate_equals_the_distance_in_a_network_whose_nearest_boundary_decides():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]))
        model[0].bias.fill_(9.0)  # all boundaries far away
        model[2].weight.copy_(torch.tensor([[1.0, 2.0, 0, 0], [0, 0, 0, 0]]))
        model[2].bias.copy_(torch.tensor([-27.0 - 2.0, 0.0]))  # f_0 - f_1 = x1 + 2 x2 - 2
    x = torch.tensor([[1.0, 1.5, 0.0]])
    assert float(certified_radius(model, x, norm="inf")) == pytest.approx(2 / 3, rel=1e-6)
    assert float(certified_radius(model, x, norm="2")) == pytest.approx(2 / 5**0.5, rel=1e-6)


def test_schedules():
    assert [boundary_share_at(p) for p in (0.0, 0.5, 1.0, 2.0)] == pytest.approx([0.1, 0.06, 0.02, 0.02])
    weight = ramp(6.0, 10)
    assert [weight(s) for s in (0, 5, 10, 50)] == [0.0, 3.0, 6.0, 6.0]
    model, x, y = made("one hidden layer")
    term = MaximumMargin(norm="inf", **BOTH)
    scheduled = over_training(term, 100)
    for step in (0, 50, 100):
        now = replace(term, boundary_share=boundary_share_at(step / 100))
        assert num(scheduled(model, x, y, step=step)) == num(now(model, x, y))


def test_minimising_it_moves_boundaries_away():
    torch.manual_seed(0)
    model, x, y = dense(6, 32, 3).float(), torch.randn(60, 6), torch.arange(60) % 3
    before = certified_radius(model, x, norm="inf").median()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    term = MaximumMargin(norm="inf", gamma_boundary=0.2, gamma_decision=0.2)
    for _ in range(60):
        optimiser.zero_grad()
        (F.cross_entropy(model(x), y) + term(model, x, y)).backward()
        optimiser.step()
    assert certified_radius(model, x, norm="inf").median() > 3 * before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "3"}, "norm; found '3'"),
        ({"gamma_boundary": 0.0}, "gamma_boundary; found 0.0"),
        ({"gamma_decision": float("nan")}, "gamma_decision; found nan"),
        ({"gamma_boundary": None, "gamma_decision": None}, "both gammas None"),
        ({"boundary_share": 0.0}, "boundary_share; found 0.0"),
        ({"selection": "guess"}, "selection; found 'guess'"),
        ({"probes": 0}, "probes; found 0"),
        ({"rivals": 0}, "rivals; found 0"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        MaximumMargin(**({"norm": "inf", "gamma_boundary": 0.1, "gamma_decision": 0.1} | change))


def test_bad_calls_are_refused():
    model, x, y = made("one hidden layer")
    term = MaximumMargin(norm="inf", **BOTH)
    for call, error, message in (
        (lambda: term(model, x, None), InputError, "labels; found none"),
        (lambda: term(model, x, y + 9), InputError, "labels; found 9 to"),
        (lambda: term(model, x, y[:2]), InputError, r"labels; found int64 \(2,\)"),
        (lambda: term(model, x.where(x > 0, torch.nan), y), InputError, "NaN or infinite"),
        (lambda: term(model, x[:0], y[:0]), InputError, "at least one row"),
        (lambda: term(nn.Sequential(nn.Linear(6, 4)).double(), x, y), InputError, "no ReLU-like site"),
        (lambda: term(nn.Sequential(nn.Linear(6, 4), nn.GELU(), nn.Linear(4, 4)).double(), x, y), NotPiecewiseAffine, "gelu"),
        (lambda: certified_radius(model, x, norm="0"), InputError, "norm; found '0'"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            call()
    pooled, images, labels = Convolutional(pool=True), *made("convolutional")[1:]
    assert num(term(pooled, images, labels)) > 0
    with pytest.raises(NotPiecewiseAffine, match="region boundaries that are not zeros"):
        certified_radius(pooled, images, norm="inf")
    broken = Convolutional()
    with torch.no_grad():
        broken.first.weight.fill_(torch.nan)
    with pytest.raises(ModelError, match="NaN"):
        term(broken, images, labels)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_model_is_left_untouched(name):
    model, x, y = made(name)
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    stream = torch.get_rng_state()
    term = MaximumMargin(norm="inf", selection="sketched", **BOTH)
    value = term(model, x, y)
    certified_radius(model, x, norm="inf")
    with pytest.raises(CutawayError):
        term(model, x, y + 99)
    assert all(m.training for m in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(stream, torch.get_rng_state())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    value.backward()
    assert any(p.grad is not None for p in model.parameters())
    with torch.no_grad():
        assert num(term(model, x, y)) == pytest.approx(num(value), rel=1e-12)


def test_hooked_or_unusual_models_take_the_general_way():
    model, x, _ = made("one hidden layer")
    assert isinstance(pieces(model, x), DensePieces)
    handle = model[1].register_forward_hook(lambda m, i, o: o * 1.0)
    assert isinstance(pieces(model, x), TracedPieces)
    handle.remove()
    assert isinstance(pieces(nn.Sequential(model, nn.ReLU()), x), TracedPieces)
    assert isinstance(pieces(nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).double(), x), TracedPieces)  # fmt: skip
