"""Lengths of per-row gradients against the gradients themselves."""

import pytest
import torch
from torch import nn

from cutaway.network import Network
from cutaway.network.calculus import Parameters, sample_gradients
from cutaway.network.row_gradients import row_gradient_norms


class Mixed(nn.Module):
    """Strides, padding, groups, batch norm, an affine layer on a map, in-place activations, a layer without use."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.inner, self.last = nn.Linear(4, 5), nn.Linear(160, 3)
        self.flat = nn.BatchNorm1d(160, affine=True)
        self.norm.running_mean.normal_()
        self.flat.running_var.uniform_(0.5, 2)

    def forward(self, x):
        x = torch.relu_(self.norm(self.first(x)))
        return self.last(self.flat(torch.relu_(self.inner(x)).flatten(1)))


class Twice(nn.Module):
    """A layer that is called twice: its gradient is a sum over both calls."""

    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(torch.relu(self.layer(torch.relu(self.layer(x)))))


def odd():
    return nn.Sequential(
        nn.Conv2d(4, 2, 3, padding="same"), nn.GELU(), nn.Flatten(), nn.LayerNorm(112), nn.Linear(112, 3)
    )


@pytest.mark.parametrize(("make", "shape"), [(Mixed, (4, 7, 8)), (Twice, (6,)), (odd, (4, 7, 8))])
def test_lengths_are_those_of_the_gradients(make, shape):
    torch.manual_seed(0)
    model = make().double().eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    inputs, labels = torch.randn(9, *shape, dtype=torch.double), torch.arange(9) % 3
    network = Network(model, inputs[:2])
    whole = sample_gradients(Parameters(network), inputs, labels).norm(dim=1)
    torch.testing.assert_close(row_gradient_norms(network, inputs, labels), whole)
    torch.testing.assert_close(row_gradient_norms(network, inputs, labels, budget=300_000), whole)
    assert not any(m._forward_hooks for m in model.modules())
    assert network.backward_passes >= 18
