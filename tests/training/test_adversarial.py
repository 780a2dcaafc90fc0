"""Adversarial training: the inner ascent against the PGD attack, balls, free training, TRADES, and what they buy."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cutaway import seeds
from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.network import Network
from cutaway.robustness.attacks import PGD
from cutaway.training.adversarial import Ascent, Free, Mixed, Trades, fast
from cutaway.training.loop import Term, TrainingSettings, train


def network(seed=0, widths=(12, 20, 4), norm=False):
    torch.manual_seed(seed)
    parts = [nn.Linear(widths[0], widths[1])]
    if norm:
        parts += [nn.BatchNorm1d(widths[1]), nn.Dropout(0.3)]
    return nn.Sequential(*parts, nn.ReLU(), nn.Linear(*widths[1:]))


def batch(rows=40, dims=12, classes=4):
    torch.manual_seed(3)
    return torch.rand(rows, dims), torch.arange(rows) % classes


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("norm", ["inf", "2"])
@pytest.mark.parametrize("steps", [1, 7])
def test_the_inner_ascent_is_the_pgd_attack(norm, steps):
    """Second implementation: same start, same steps, best point kept, on the margin loss: equal to the last bit."""
    model, (x, y) = network().eval(), batch()
    data = Dataset(name="unit cube", inputs=x, labels=y, num_classes=4, value_range=(0.0, 1.0))
    truth = PGD(radius=0.1, norm=norm, steps=steps).attack(Network(model, x), data, seed=5)
    ours = Ascent(radius=0.1, norm=norm, steps=steps, loss="margin", best=True)
    found = ours(model, x, y, seeds.generator(5, "attack", "pgd", 0))
    assert torch.equal(found, truth.inputs)
    assert bool(truth.success.any()) and not torch.equal(found, x)


@pytest.mark.parametrize("norm", ["inf", "2"])
@pytest.mark.parametrize("loss", ["cross-entropy", "mse", "margin"])
def test_points_stay_in_the_ball_and_the_range_and_raise_the_loss(norm, loss):
    model, (x, y) = network(), batch()
    radius = 0.1 if norm == "inf" else 0.4
    found = Ascent(radius=radius, norm=norm, steps=10, loss=loss)(model, x, y, drawn())
    change = (found - x).flatten(1)
    size = change.abs().amax(1) if norm == "inf" else change.norm(dim=1)
    assert float(size.max()) <= radius * (1 + 1e-6) and float(size.median()) > 0.9 * radius
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    free = Ascent(radius=radius, norm=norm, steps=10, loss=loss, low=None, high=None)(model, x, y, drawn())
    assert float(free.min()) < 0
    with torch.no_grad():
        before, after = (F.cross_entropy(model(p), y).item() for p in (x, found))
    assert after > before + 0.03
    assert not found.requires_grad


def test_one_linear_step_is_the_worst_case():
    """For f = (w . x, 0) the linf worst point is x - r sign(w) on class 0: reached by one step of at least 2 r."""
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, -1.0, 0.5], [0, 0, 0]])), model.bias.zero_()
    x, y = torch.full((5, 3), 0.5), torch.zeros(5, dtype=torch.int64)
    settings = Ascent(radius=0.2, steps=1, step_size=0.4)
    torch.testing.assert_close(settings(model, x, y, drawn()), x - 0.2 * torch.tensor([1.0, -1.0, 1.0]))
    quick = fast(0.2)
    assert (quick.steps, quick.step_size, quick.start) == (1, 0.25, "random")
    from_x = replace(quick, start="input", step_size=0.15)
    torch.testing.assert_close(from_x(model, x, y, drawn()), x - 0.15 * torch.tensor([1.0, -1.0, 1.0]))


def test_a_seed_gives_the_same_points_and_the_best_is_no_worse_than_the_last():
    model, (x, y) = network(), batch()
    settings = Ascent(radius=0.1, steps=5)
    assert torch.equal(settings(model, x, y, drawn(1)), settings(model, x, y, drawn(1)))
    assert not torch.equal(settings(model, x, y, drawn(1)), settings(model, x, y, drawn(2)))
    last, best = settings(model, x, y, drawn(1)), replace(settings, best=True)(model, x, y, drawn(1))
    with torch.no_grad():
        a, b = (F.cross_entropy(model(p), y, reduction="none") for p in (last, best))
    assert bool((b >= a - 1e-6).all())


def test_mixed_changes_the_first_share_only():
    model, (x, y) = network(), batch()
    found = Mixed(adversary=Ascent(radius=0.1, steps=2), share=0.25)(model, x, y, drawn())
    changed = (found != x).any(dim=1)
    assert bool(changed[:10].all()) and not bool(changed[10:].any())


def test_free_training_moves_with_the_weights_own_gradient():
    model, (x, y) = network(), batch()
    free = Free(radius=0.1, repeats=3)
    first = free(model, x, y, drawn())
    assert torch.equal(first.detach(), x) and first.requires_grad
    loss = F.cross_entropy(model(first), y)
    loss.backward()
    expected = (x + 0.1 * first.grad.sign()).clamp(0, 1)
    free.update(model)
    torch.testing.assert_close(free(model, x, y, drawn()).detach(), expected)
    state = free.state()
    again = Free(radius=0.1, repeats=3)
    again.restore(state)
    torch.testing.assert_close(again(model, x, y, drawn()).detach(), expected)
    for _ in range(4):
        F.cross_entropy(model(free(model, x, y, drawn())), y).backward()
        free.update()
    assert float((free(model, x, y, drawn()).detach() - x).abs().max()) <= 0.1 + 1e-6
    smaller = free(model, x[:7], y[:7], drawn())
    assert smaller.shape == (7, 12)
    with pytest.raises(InputError, match="no gradient at the inputs"):
        free.update()
    assert Free(radius=0.1).state() == {}


def test_trades_is_zero_for_a_constant_network_and_a_divergence_otherwise():
    x, y = batch()
    constant = network()
    with torch.no_grad():
        constant[0].weight.zero_()
    term = Trades(inner=Ascent(radius=0.1, steps=4))
    assert term(constant, x, y).item() == pytest.approx(0.0, abs=1e-7)
    model = network().double()
    x = x.double()
    found = term(model, x, y, generator=drawn(3))
    assert found.requires_grad
    smaller = Trades(inner=Ascent(radius=0.01, steps=4))(model, x, y, generator=drawn(3))
    assert 0 < smaller.item() < 0.1 * found.item()
    # at most the divergence maximised by brute force over random corners cannot be far above a 4-step ascent's
    with torch.no_grad():
        p = model(x).log_softmax(1)
        tries = [
            (p.exp() * (p - model((x + 0.1 * torch.randn(x.shape, generator=drawn(k)).sign()).clamp(0, 1)).log_softmax(1)))
            .sum(1).mean().item() for k in range(50)
        ]  # fmt: skip
    assert max(tries) < found.item()


@pytest.mark.parametrize("make", [lambda: Ascent(radius=0.1, steps=3), lambda: Mixed(adversary=fast(0.1))])
def test_the_model_is_left_untouched(make):
    model, (x, y) = network(norm=True, widths=(12, 16, 4)), batch()
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    stream = torch.get_rng_state()
    make()(model, x, y, drawn())
    with pytest.raises(InputError):
        make()(model, x, y + 9, drawn())
    assert all(m.training for m in model.modules())
    assert all(p.grad is None for p in model.parameters()) and not x.requires_grad
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(stream, torch.get_rng_state())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ascent(radius=0.0), "radius; found 0.0"),
        (lambda: Ascent(radius=math.nan), "radius; found nan"),
        (lambda: Ascent(radius=0.1, norm="1"), "norm; found '1'"),
        (lambda: Ascent(radius=0.1, steps=0), "steps; found 0"),
        (lambda: Ascent(radius=0.1, step_size=-1.0), "step_size; found -1.0"),
        (lambda: Ascent(radius=0.1, loss="dlr"), "loss; found 'dlr'"),
        (lambda: Ascent(radius=0.1, start="far"), "start; found 'far'"),
        (lambda: Ascent(radius=0.1, low=None), "low and high; found one of them"),
        (lambda: Mixed(adversary=fast(0.1), share=0.0), "share; found 0.0"),
        (lambda: Free(radius=-0.1), "radius; found -0.1"),
        (lambda: Free(radius=0.1, repeats=0), "repeats; found 0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_bad_calls_are_refused():
    model, (x, y) = network(), batch()
    for adversary in (Ascent(radius=0.1), Free(radius=0.1)):
        with pytest.raises(InputError, match="inputs, row 2; found NaN or infinite"):
            adversary(model, x.index_fill(0, torch.tensor([2]), math.inf), y, drawn())
    with pytest.raises(InputError, match="labels; found none"):
        Ascent(radius=0.1)(model, x, None, drawn())


@pytest.mark.parametrize("method", ["pgd", "fast", "free", "trades"])
def test_training_with_it_makes_digits_robust(method):
    """In the loop of `cutaway.training` on the digits, l-infinity 0.1: PGD accuracy at least 15 points over plain."""
    from cutaway.data import load_data

    data = load_data("digits", split="train", num=600)
    test = load_data("digits", split="test", num=200)
    extra = {
        "pgd": {"adversary": Ascent(radius=0.1, steps=5)},
        "fast": {"adversary": fast(0.1)},
        "free": {"adversary": Free(radius=0.1, repeats=4)},
        "trades": {
            "terms": (Term(weight=6.0, function=Trades(inner=Ascent(radius=0.1, steps=5)), needs=("generator",)),)
        },
    }
    found = []
    for chosen in ({}, extra[method]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        train(model, data, TrainingSettings(steps=300, batch_size=100, learning_rate=5e-3), **chosen)
        attacked = PGD(radius=0.1, steps=20).attack(Network(model, test.inputs[:2]), test)
        found.append(1 - float(attacked.success.double().mean()))
    assert found[1] > found[0] + 0.15, found
