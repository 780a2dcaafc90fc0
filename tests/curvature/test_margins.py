"""Margins against closed forms, refusals with their reasons, and steepest descent against its definition."""

import math

import pytest
import torch
from torch import nn

from cutaway.curvature.norm_margins import DUAL, NORMS, margins, row_margins
from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.instruments import Margins
from cutaway.network import Network
from cutaway.network.calculus import Parameters
from cutaway.testing import check_instrument
from cutaway.testing.contract import small_data
from cutaway.training.loop import TrainingSettings, train
from cutaway.training.steepest import STEEPEST, SteepestDescent


class Signed(nn.Module):
    """One output as two classes: (0, w.x)."""

    def __init__(self, weight):
        super().__init__()
        self.w = nn.Linear(len(weight), 1, bias=False).double()
        with torch.no_grad():
            self.w.weight.copy_(torch.tensor([weight]))

    def forward(self, x):
        z = self.w(x)
        return torch.cat([torch.zeros_like(z), z], dim=1)


def points():
    inputs = torch.tensor([[1.0, 3.0], [2.0, 1.0], [-1.0, -3.0], [-4.0, 0.0]], dtype=torch.float64)
    return Dataset(name="four", inputs=inputs, labels=torch.tensor([1, 1, 0, 0]), num_classes=2)


def test_margins_of_a_linear_classifier_by_hand():
    reading = Margins().measure(Signed([2.0, 1.0]), points())
    value = {f.name: f.value for f in reading.figures}
    assert value["degree"] == 1 and value["margin_l2"] == pytest.approx(5 / math.sqrt(5))
    assert value["margin_l1"] == pytest.approx(5 / 3) and value["margin_linf"] == pytest.approx(5 / 2)
    assert value["margin_spectral"] == pytest.approx(value["margin_l2"])
    rows = torch.tensor([5.0, 5.0, 5.0, 8.0])
    soft = -math.log(float(torch.exp(-rows).sum()))
    assert value["soft_margin_l1"] == pytest.approx(soft / 3)
    assert reading.values["margin"].values == pytest.approx(rows.numpy() / math.sqrt(5))
    assert "separated" in Margins().describe(reading) and "_" not in Margins().describe(reading)


def test_the_residual_is_zero_where_the_weights_are_along_the_gradient_in_that_norm():
    """Two opposite points x, -x: -grad L is along x, so w = x is stationary in l2, sign(x) in linf, e_1 in l1."""
    x = torch.tensor([3.0, 1.0], dtype=torch.float64)
    data = Dataset(name="two", inputs=torch.stack([x, -x]), labels=torch.tensor([1, 0]), num_classes=2)
    for norm, weight in (("l2", [3.0, 1.0]), ("linf", [1.0, 1.0]), ("l1", [1.0, 0.0])):
        reading = Margins().measure(Signed(weight), data)
        assert reading.figure(f"residual_{norm}").value == pytest.approx(0, abs=1e-12), norm
        others = [n for n in ("l1", "l2", "linf") if n != norm]
        assert all(reading.figure(f"residual_{n}").value > 0.01 for n in others)


def deep(seed=0):
    torch.manual_seed(seed)
    layers = (nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3, bias=False))
    return nn.Sequential(*layers)


def separated():
    model, data = deep(), small_data()
    train(model, data, TrainingSettings(steps=400, learning_rate=1e-2, weight_decay=0.0))
    return model.eval(), data


def test_the_contract_holds_on_a_network_that_separates_its_rows():
    model, data = separated()
    reading = check_instrument(Margins(), model, data)
    assert reading.status.value == "exact" and reading.figure("degree").value == 2


def test_scaling_the_weights_changes_no_margin_and_chunks_no_number():
    model, data = separated()
    before = Margins().measure(model, data)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.5
    after = Margins().measure(model, data, budget=600_000)
    for norm in NORMS:
        assert after.figure(f"margin_{norm}").value == pytest.approx(before.figure(f"margin_{norm}").value, rel=1e-5)


def test_a_residual_is_between_zero_and_one_and_never_overflows():
    model, data = separated()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 40  # exp(-m) leaves float64
    reading = Margins().measure(model, data)
    assert all(0 <= reading.figure(f"residual_{norm}").value <= 1 for norm in NORMS)


def test_what_has_no_margin_says_why():
    data = small_data()
    biased = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    curved = nn.Sequential(nn.Flatten(), nn.Linear(16, 8, bias=False), nn.GELU(), nn.Linear(8, 3, bias=False))
    for model in (biased, curved.eval()):
        reading = Margins().measure(model, data)
        assert reading.status.value == "unsupported" and "not homogeneous" in reading.reason
    reading = Margins().measure(deep().eval(), data)
    assert reading.status.value == "unsupported" and "of 48 rows are not classified rightly" in reading.reason
    with pytest.raises(InputError, match="without labels"):
        Margins().measure(deep().eval(), Dataset(name="bare", inputs=data.inputs))


def test_one_output_is_a_sign():
    outputs = torch.tensor([[2.0], [-3.0]])
    assert row_margins(outputs, torch.tensor([1, 0])).tolist() == [2.0, 3.0]
    parameters = Parameters(Network(nn.Linear(2, 1, bias=False).double(), points().inputs[:2]))
    found = margins(parameters, points().inputs, torch.tensor([0, 1, 0, 1]), 1)
    assert found.rows.shape == (4,) and all(math.isnan(v) for v in found.hard.values())


def size_of(norm, tensors):
    flat = torch.cat([t.flatten() for t in tensors])
    if norm in ("l1", "l2", "linf"):
        return float(torch.linalg.vector_norm(flat, {"l1": 1, "l2": 2, "linf": math.inf}[norm]))
    values = [torch.linalg.svdvals(t.reshape(len(t), -1) if t.dim() > 1 else t[None]) for t in tensors]
    return float(max(v[0] for v in values) if norm == "spectral" else sum(v.sum() for v in values))


@pytest.mark.parametrize("norm", NORMS)
def test_a_step_is_the_steepest_of_its_size(norm):
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(s, dtype=torch.float64)) for s in ((4, 3), (3,), (2, 2, 2))]
    before = [w.detach().clone() for w in weights]
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    slopes = [w.grad.clone() for w in weights]
    SteepestDescent(weights, 0.1, norm=norm).step()
    moved = [b - w.detach() for b, w in zip(before, weights, strict=True)]
    dual = size_of(DUAL[norm], slopes)
    assert size_of(norm, moved) == pytest.approx(0.1 * dual)
    gain = sum(float((m * g).sum()) for m, g in zip(moved, slopes, strict=True))
    assert gain == pytest.approx(0.1 * dual**2)  # as large as Hoelder's inequality allows


def test_l2_is_plain_gradient_descent_and_unknown_norms_are_refused():
    torch.manual_seed(0)
    ends = []
    for make in (
        lambda p: SteepestDescent(p, 0.1, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.01),
    ):
        weight = nn.Parameter(torch.arange(6.0).reshape(2, 3))
        optimiser = make([weight])
        for _ in range(3):
            optimiser.zero_grad()
            (weight**3).sum().backward()
            optimiser.step()
        ends.append(weight.detach())
    assert torch.allclose(ends[0], ends[1])
    with pytest.raises(InputError, match="l2, linf, l1, spectral"):
        SteepestDescent([nn.Parameter(torch.ones(2))], norm="l3")


@pytest.mark.parametrize("name", STEEPEST)
def test_recipes_take_them(name):
    from cutaway.training.recipe import checked_recipe

    checked_recipe({"data": {"name": "digits"}, "model": {"name": "mlp"}, "training": {"steps": 3, "optimiser": name}})
    data, rate = small_data(), {"sign-descent": 1e-4, "coordinate-descent": 0.3}.get(name, 0.03)
    trained = train(deep(), data, TrainingSettings(steps=60, optimiser=name, learning_rate=rate, weight_decay=0.0))
    losses = [
        nn.functional.cross_entropy(m(data.inputs), data.labels).item() for m in (deep().eval(), trained.model.eval())
    ]
    assert losses[1] < losses[0]
