"""Density, Jacobian norm, input gradient, linear margin: closed forms, full Jacobians, finite differences, bad input."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cutaway.errors import InputError
from cutaway.geometry.density import boundary_density
from cutaway.training.loop import Term, TrainingSettings, train
from cutaway.training.regularisers import BoundaryDensity, InputGradient, JacobianNorm, LinearMargin, MaximumMargin

EXACT = JacobianNorm(num_directions=None)
TERMS = {
    "density": BoundaryDensity(sigma=0.3, num_directions=2),
    "jacobian": EXACT,
    "jacobian sketch": JacobianNorm(num_directions=2),
    "gradient l2": InputGradient(norm="2"),
    "gradient l1": InputGradient(norm="inf", loss="mse"),
    "margin": LinearMargin(norm="2", gamma=2.0, rivals=2),
}


class Small(nn.Module):
    """Convolution, batch norm and dropout, with a smooth or a ReLU activation."""

    def __init__(self, smooth=False):
        super().__init__()
        torch.manual_seed(2)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 3, 3, stride=2), nn.BatchNorm2d(3), nn.Tanh() if smooth else nn.ReLU(), nn.Flatten(),
            nn.Dropout(0.5), nn.Linear(27, 8), nn.GELU() if smooth else nn.ReLU(), nn.Linear(8, 4),
        ).double()  # fmt: skip

    def forward(self, x):
        return self.layers(x)


def batch(rows=6):
    torch.manual_seed(4)
    return torch.randn(rows, 1, 7, 7, dtype=torch.float64), torch.arange(rows) % 4


def jacobians(model, x):
    model.eval()
    return torch.stack([torch.autograd.functional.jacobian(lambda v: model(v[None])[0], row).flatten(1) for row in x])


def value(tensor):
    return tensor.detach().item()


def test_closed_forms_of_a_linear_map():
    model = nn.Sequential(nn.Linear(2, 3)).double()
    weight = torch.tensor([[3.0, 4.0], [0.0, 1.0], [-2.0, 0.0]], dtype=torch.float64)
    with torch.no_grad():
        model[0].weight.copy_(weight), model[0].bias.zero_()
    x, y = torch.tensor([[1.0, 1.0]], dtype=torch.float64), torch.tensor([0])  # scores 7, 1, -2
    assert value(EXACT(model, x, y)) == pytest.approx(30.0, rel=1e-14)
    assert value(LinearMargin(norm="2", gamma=10.0)(model, x, y)) == pytest.approx(1 - 6 / math.sqrt(18) / 10)
    assert value(LinearMargin(norm="inf", gamma=10.0)(model, x, y)) == pytest.approx(1 - 1 / 10)  # 6 / (3 + 3)
    assert value(LinearMargin(norm="1", gamma=10.0)(model, x, 0 * y + 1)) == pytest.approx(1 + 6 / 3 / 10)
    p = torch.tensor([7.0, 1.0, -2.0], dtype=torch.float64).softmax(0) - torch.tensor([1.0, 0, 0], dtype=torch.float64)
    slope = p @ weight
    assert value(InputGradient(norm="2")(model, x, y)) == pytest.approx(float(slope.square().sum()), rel=1e-10)
    assert value(InputGradient(norm="inf")(model, x, y)) == pytest.approx(float(slope.abs().sum()), rel=1e-10)
    assert value(InputGradient(norm="1")(model, x, y)) == pytest.approx(float(slope.abs().max()), rel=1e-10)
    error = torch.tensor([6.0, 1.0, -2.0], dtype=torch.float64) * 2 / 3
    mse = InputGradient(norm="2", loss="mse")(model, x, y)
    assert value(mse) == pytest.approx(float((error @ weight).square().sum()), rel=1e-12)


def test_density_of_one_unit():
    """z = 3 x1 + 4 x2 - 5 at (1, 1): |grad z| = 5, phi_sigma(2)."""
    model = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 2)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 4.0]])), model[0].bias.fill_(-5.0)
    x = torch.ones(400, 2, dtype=torch.float64)
    truth = 5 * math.exp(-0.5 * (2 / 0.8) ** 2) / (0.8 * math.sqrt(2 * math.pi))
    term = BoundaryDensity(sigma=0.8, num_directions=40)
    found = value(term(model, x, generator=torch.Generator().manual_seed(1)))
    assert found == pytest.approx(truth, rel=4 * 0.75 / math.sqrt(400 * 40))  # four standard errors
    same = boundary_density(model, x, sigma=0.8, num_directions=40, generator=torch.Generator().manual_seed(1))
    assert found == pytest.approx(value(same.mean()), rel=1e-12)


@pytest.mark.parametrize("smooth", [False, True])
def test_agree_with_full_jacobians(smooth):
    model, (x, y) = Small(smooth), batch()
    full = jacobians(model, x)
    model.train()
    assert value(EXACT(model, x, y)) == pytest.approx(float(full.square().sum((1, 2)).mean()), rel=1e-10)
    model.eval()
    scores = model(x).detach()
    model.train()
    residual = scores.softmax(1) - F.one_hot(y, 4)
    slopes = torch.einsum("nc,ncd->nd", residual, full)
    assert value(InputGradient(norm="inf")(model, x, y)) == pytest.approx(float(slopes.abs().sum(1).mean()), rel=1e-10)
    expected = []
    for row in range(len(x)):
        others = sorted((k for k in range(4) if k != y[row]), key=lambda k: -scores[row, k])[:2]
        for k in others:
            size = (full[row, y[row]] - full[row, k]).norm()
            expected.append((1 - (scores[row, y[row]] - scores[row, k]) / size / 2.0).relu())
    assert value(TERMS["margin"](model, x, y)) == pytest.approx(float(torch.stack(expected).mean()), rel=1e-10)


def test_sketched_jacobian_is_unbiased():
    """Ten thousand one-direction estimates: the mean lies within four standard errors of the exact value."""
    model, (x, y) = Small(), batch(1)
    exact = value(EXACT(model, x, y))
    generator = torch.Generator().manual_seed(0)
    many = x.expand(2000, -1, -1, -1)
    with torch.no_grad():
        found = torch.stack([JacobianNorm(num_directions=5)(model, many, generator=generator)])
    spread = math.sqrt(2 / 10_000)
    assert value(found.mean()) == pytest.approx(exact, rel=4 * spread)


@pytest.mark.parametrize("name", TERMS)
def test_gradients_by_finite_differences(name):
    model, (x, y) = Small(), batch()
    term = TERMS[name]
    weights = list(model.parameters())
    gradient = torch.autograd.grad(term(model, x, y), weights, allow_unused=True, materialize_grads=True)
    start = [w.detach().clone() for w in weights]
    torch.manual_seed(9)
    way = [torch.randn_like(w) for w in weights]
    sides = []
    for step in (1e-6, -1e-6):
        with torch.no_grad():
            for w, s, d in zip(weights, start, way, strict=True):
                w.copy_(s + step * d)
        sides.append(value(term(model, x, y)))
    slope = sum(float((g * d).sum()) for g, d in zip(gradient, way, strict=True))
    assert abs(slope) > 1e-6
    assert (sides[0] - sides[1]) / 2e-6 == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize("name", TERMS)
def test_the_model_is_left_untouched(name):
    model, (x, y) = Small(), batch()
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    stream, x_before = torch.get_rng_state(), x.clone()
    found = TERMS[name](model, x, y)
    assert found.shape == () and found.requires_grad and not x.requires_grad
    with torch.no_grad():
        silent = TERMS[name](model, x, y)  # also without gradients, and a function: the same again
    assert not silent.requires_grad and value(silent) == pytest.approx(value(found), rel=1e-12)
    assert all(m.training for m in model.modules())
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(stream, torch.get_rng_state()) and torch.equal(x, x_before)
    other = TERMS[name]
    if name in ("density", "jacobian sketch"):
        fresh = other(model, x, y, generator=torch.Generator().manual_seed(77))
        assert value(fresh) != value(found)


@pytest.mark.parametrize("name", TERMS)
def test_bad_calls_are_refused(name):
    model, (x, y) = Small(), batch()
    term = TERMS[name]
    with pytest.raises(InputError, match="inputs, row 0; found NaN or infinite"):
        term(model, x.where(x == 99, torch.nan), y)
    with pytest.raises(InputError, match="dtype int64"):
        term(model, y[:, None], y)
    if name not in ("density", "jacobian", "jacobian sketch"):
        for labels, message in ((None, "labels; found none"), (y + 4, "found 4 to 7"), (y.double(), "float64")):
            with pytest.raises(InputError, match=message):
                term(model, x, labels)
    assert not any(m.training is False for m in model.modules())


def test_density_needs_relu_like_sites_and_scores_need_two_dimensions():
    x, y = batch()
    with pytest.raises(InputError, match="no ReLU-like site"):
        BoundaryDensity()(Small(smooth=True), x, y)
    with pytest.raises(InputError, match=r"the model's output; found shape \(6, 3, 3, 3\)"):
        EXACT(nn.Conv2d(1, 3, 3, stride=2).double(), x, y)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InputGradient(norm="p"), "norm; found 'p'"),
        (lambda: InputGradient(norm="2", loss="hinge"), "loss; found 'hinge'"),
        (lambda: LinearMargin(norm="2", gamma=-1.0), "gamma; found -1.0"),
        (lambda: LinearMargin(norm="2", gamma=1.0, rivals=0), "rivals; found 0"),
        (lambda: BoundaryDensity(sigma=0.0), "sigma; found 0.0"),
        (lambda: BoundaryDensity(num_directions=0), "num_directions; found 0"),
        (lambda: JacobianNorm(num_directions=0), "num_directions; found 0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("term", "weight"),
    [
        (BoundaryDensity(sigma=0.3), 0.05),
        (JacobianNorm(), 0.1),
        (InputGradient(norm="inf"), 0.3),
        (LinearMargin(norm="inf", gamma=0.5), 1.0),
        (MaximumMargin(norm="inf", gamma_boundary=0.2, gamma_decision=0.2), 1.0),
    ],
    ids=lambda v: type(v).__name__,
)
def test_training_with_a_term_lowers_it(term, weight):
    """In the loop of `cutaway.training`: after 120 steps the term is at most 70 % of what plain training gives."""
    from cutaway.data import Dataset

    torch.manual_seed(0)
    centres = torch.randn(3, 5)
    labels = torch.arange(120) % 3
    data = Dataset(name="blobs", inputs=centres[labels] + 0.3 * torch.randn(120, 5), labels=labels)
    needs = ("generator",) if isinstance(term, BoundaryDensity | JacobianNorm) else ()
    found = []
    for terms in ((), (Term(weight=weight, function=term, needs=needs),)):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(5, 24), nn.ReLU(), nn.Linear(24, 3))
        trained = train(
            model, data, TrainingSettings(steps=120, batch_size=60, learning_rate=1e-2), terms=terms, test=data
        )
        assert trained.score.accuracy > 0.9
        found.append(value(term(model, data.inputs, data.labels)))
    assert found[1] < 0.7 * found[0]


@pytest.mark.parametrize("norm", ["inf", "2", "1"])
def test_linear_margin_is_the_decision_part_of_mmr_in_a_relu_network(norm):
    """A second implementation: by differentiation here, by products of the weights there."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(49, 20), nn.ReLU(), nn.Linear(20, 9), nn.ReLU(), nn.Linear(9, 5)
    ).double()
    x, y = batch()
    for rivals in (1, 3):
        one = LinearMargin(norm=norm, gamma=0.4, rivals=rivals)(model, x, y)
        other = MaximumMargin(norm=norm, gamma_boundary=None, gamma_decision=0.4, rivals=rivals)(model, x, y)
        assert value(one) == pytest.approx(value(other), rel=1e-10)
