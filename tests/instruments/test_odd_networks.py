"""Networks that people really have: what every instrument says of them, and that they are left as they were."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import ModelError
from cutaway.network import Network
from cutaway.registry import instrument, names
from cutaway.testing.contract import model_state, small_data


class Wrapped(nn.Module):
    """A small network whose answer is dressed as people dress theirs."""

    def __init__(self, dress):
        super().__init__()
        layers = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(16, 3))
        self.body, self.dress = nn.Sequential(*layers), dress
        nn.init.normal_(self.body[5].weight)

    def forward(self, x):
        return self.dress(self.body(x), x)


class Shared(nn.Module):
    """One layer and one activation called three times."""

    def __init__(self):
        super().__init__()
        self.layer, self.act, self.head = nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)

    def forward(self, x):
        x = x.transpose(2, 3).reshape(len(x), -1)
        for _ in range(3):
            x = self.act(self.layer(x))
        return self.head(x)


def subject(kind):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        dresses = {
            "plain": lambda y, x: y, "tuple": lambda y, x: (y, x), "dict": lambda y, x: {"logits": y, "input": x},
            "one": lambda y, x: y[:, 0], "hard": lambda y, x: (y == y.amax(dim=1, keepdim=True)).to(y),
            "detached": lambda y, x: y.detach(),
        }  # fmt: skip
        return Shared().eval() if kind == "shared" else Wrapped(dresses[kind]).eval()


CHEAPER = {
    "uncertainty-under-attack": {"steps": 3, "draws": 3},
    "distillation": {"distil_steps": 5, "draws": 2, "seeds": 2, "steps": 5},
}  # more than half of the time of all together; all else as it stands


@pytest.mark.parametrize("kind", ["plain", "tuple", "dict", "one", "hard", "detached", "shared"])
def test_every_instrument_answers_or_says_why(kind):
    model, data = subject(kind), replace(small_data(24), groups=torch.arange(24) % 2)
    data = replace(data, labels2=torch.where(torch.arange(24) % 4 == 0, (data.labels + 1) % 3, data.labels))
    before = model_state(model)
    for name in names():
        reading = instrument(name)(**CHEAPER.get(name, {})).measure(Network(model, data.inputs[:2]), data)
        assert reading.figures or reading.reason, name
        assert model_state(model) == before, name
    attacked = instrument("robust-accuracy")().measure(Network(model, data.inputs[:2]), data)
    if kind in ("hard", "detached"):
        assert "no gradient with respect to the inputs" in attacked.reason
        assert instrument("robust-accuracy")(attack="square").measure(Network(model, data.inputs[:2]), data).figures


def test_rows_that_are_not_contiguous_read_the_same():
    model, data = subject("shared"), small_data(24)
    turned = Dataset(
        name="turned", inputs=data.inputs.transpose(2, 3).contiguous().transpose(2, 3), labels=data.labels, num_classes=3,
        value_range=(0.0, 1.0),
    )  # fmt: skip
    assert not turned.inputs.is_contiguous()
    for name in ("accuracy", "local-complexity", "robust-accuracy", "boundary-distance"):
        plain = instrument(name)().measure(Network(model, data.inputs[:2]), data)
        other = instrument(name)().measure(Network(model, turned.inputs[:2]), turned)
        assert [f.value for f in plain.figures] == pytest.approx([f.value for f in other.figures], rel=1e-4, abs=1e-6)


def test_outputs_that_are_nan_are_named_as_that():
    model = Wrapped(lambda y, x: y / 0.0 - y / 0.0).eval()
    with pytest.raises(ModelError, match="NaN or infinite on finite inputs"):
        instrument("accuracy")().measure(model, small_data(6))


def test_half_precision_is_left_as_it_was():
    model, data = subject("plain").bfloat16(), small_data(24)
    before = model_state(model)
    for name in ("accuracy", "sparsity", "local-complexity"):
        assert instrument(name)().measure(Network(model, data.inputs[:2]), data).figures
        assert model_state(model) == before


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_the_callers_grad_mode_changes_no_reading(mode):
    from cutaway.instruments import BoundaryDistance, LocalComplexity, RobustAccuracy

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)).eval()
    data = Dataset(name="d", inputs=torch.rand(40, 6), labels=torch.arange(40) % 3)
    for question in (LocalComplexity(), BoundaryDistance(), RobustAccuracy()):
        wanted = [figure.value for figure in question.measure(model, data).figures]
        with mode():
            found = question.measure(model, data)
            assert [figure.value for figure in found.figures] == wanted and wanted
            assert Network(model, data.inputs[:2]).affine_at(data.inputs[0]).check() < 1e-6


def test_parameters_made_under_inference_mode_are_named():
    with torch.inference_mode():
        model = torch.nn.Linear(3, 2).eval()
    with pytest.raises(ModelError, match=r"'weight' made under torch.inference_mode.*Build or load the model outside"):
        Network(model, torch.rand(2, 3))
