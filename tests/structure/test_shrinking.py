"""Pruned networks with their dead units taken out: the same outputs from fewer units, on every kind of wiring."""

import pytest
import torch
from torch import nn

from cutaway.errors import ClaimError
from cutaway.network import Network
from cutaway.structure import narrowing
from cutaway.structure.shrinking import save_shrunk, without_dead_units


class Residual(nn.Module):
    """Two units that the sum holds together, flattened at the end."""

    def __init__(self):
        super().__init__()
        self.a, self.n = nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.b, self.c = nn.Conv2d(6, 4, 3, padding=1), nn.Conv2d(4, 6, 1)
        self.deep, self.end = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.Linear(6 * 4, 5)

    def forward(self, x):
        h = torch.relu(self.n(self.a(x)))
        h = h + torch.relu(self.c(torch.relu(self.b(h))))
        h = nn.functional.max_pool2d(nn.functional.leaky_relu(self.deep(h), 0.1), 2)
        return self.end(h.flatten(1))


class Concatenated(nn.Module):
    """Two branches and the input side by side, a channel's mean, and channels put last."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(1, 3, 1)
        self.c = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.d, self.end = nn.Linear(6, 7), nn.Linear(7, 3)

    def forward(self, x):
        h = torch.cat([self.a(x).tanh(), x, nn.functional.gelu(self.b(x))], dim=1)
        h = self.c(h).permute(0, 2, 3, 1)
        return self.end(torch.relu(self.d(h)).mean(dim=(1, 2)))


def made(kind):
    torch.manual_seed(3)
    model = {"residual": Residual, "concatenated": Concatenated}[kind]().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model


CUT = {
    "residual": {"b": [0, 2], "a": [1], "c": [1], "deep": [1]},
    "concatenated": {"a": [0, 3], "b": [1], "c": [0, 4], "d": [2, 3, 5]},
}
LEFT = {
    "residual": {"a": (6, 5), "b": (4, 2), "c": (6, 5), "deep": (6, 5), "end": (5, 5)},
    "concatenated": {"a": (4, 2), "b": (3, 2), "c": (6, 4), "d": (7, 4), "end": (3, 3)},
}


def without(kind):
    """A model of which the units in `CUT` do nothing: nothing leads to them, but for their biases."""
    model = made(kind)
    with torch.no_grad():
        for name, units in CUT[kind].items():
            module = getattr(model, name)
            (module.weight.transpose(0, 1) if name == "c" and kind == "concatenated" else module.weight)[units] = 0
            if kind == "residual" and name in ("a", "c"):
                for bias in (model.n.bias, model.n.running_mean, model.c.bias):
                    bias[units] = 0
        if kind == "residual":  # what a unit of one value at all positions leaves
            model.deep.bias[1] = 0
            model.b.bias[[0, 2]] = -1.0
        else:  # a constant that each of the positions of the transposed kernel weighs anew would stay
            model.a.bias[[0, 3]], model.b.bias[1] = 0, 0
    return model


@pytest.mark.parametrize("kind", CUT)
def test_dead_units_are_taken_out_and_the_outputs_stay(kind, tmp_path):
    model, inputs = without(kind), torch.rand(20, 1, 4, 4)
    network = Network(model, inputs[:2])
    found = without_dead_units(network, inputs)
    assert found.units == LEFT[kind] and found.deviation < 1e-6
    assert found.weights < found.weights_before and found.operations < found.operations_before
    assert found.bytes < found.bytes_before and f"a {LEFT[kind]['a'][0]} to {LEFT[kind]['a'][1]}" in found.told()
    with torch.no_grad():
        wanted = model(inputs)
        path = save_shrunk(found, inputs, tmp_path / "small.pt2")
        loaded = torch.export.load(path).module()
        for rows in (1, 7, 20):
            torch.testing.assert_close(found.model(inputs[:rows]), wanted[:rows], rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(loaded(inputs[:rows]), wanted[:rows], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", CUT)
def test_at_random_zeros_the_outputs_stay(kind):
    inputs = torch.rand(12, 1, 4, 4)
    for seed in range(2):
        model = made(kind)
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter *= torch.rand(parameter.shape, generator=draw) < 0.15
        found = without_dead_units(Network(model, inputs[:2]), inputs)
        assert found.deviation < 1e-5 and found.weights <= found.weights_before


def test_nothing_goes_where_all_is_read_and_nothing_is_left_where_all_is_zero():
    inputs = torch.rand(4, 1, 4, 4)
    whole = without_dead_units(Network(made("residual"), inputs[:2]), inputs)
    assert whole.weights == whole.weights_before and "all are read" in whole.told()
    model = made("residual")
    nn.init.zeros_(model.end.weight)
    cut = without_dead_units(Network(model, inputs[:2]), inputs)
    assert {after for name, (_, after) in cut.units.items() if name != "end"} == {1}
    torch.testing.assert_close(cut.model(inputs), model(inputs))


def test_a_unit_taken_out_by_mistake_is_noticed(monkeypatch):
    monkeypatch.setattr(narrowing, "_keep", lambda kept, index, units=None: None)
    with pytest.raises(ClaimError, match="followed wrongly"):
        without_dead_units(Network(made("residual"), torch.rand(2, 1, 4, 4)), torch.rand(8, 1, 4, 4))
