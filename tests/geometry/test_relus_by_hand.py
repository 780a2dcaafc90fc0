"""ReLUs written by hand count as `nn.ReLU` does: in local complexity, along rays and in slices."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cutaway import Network
from cutaway.data import Dataset
from cutaway.geometry import crossings, plane_through, slice_network, square_around
from cutaway.instruments.geometry.local_complexity import LocalComplexity


def assigned(z):
    z = z.clone()
    z[z < 0] = 0
    return z


def assigned_in_place(z):
    z[z < 0] = 0
    return z


FORMS = {
    "where": lambda z: torch.where(z > 0, z, torch.zeros_like(z)),
    "where_number": lambda z: torch.where(z > 0, z, 0.0),
    "mask": lambda z: z * (z > 0),
    "mask_in_place": lambda z: z.mul_(z > 0),
    "masked_fill": lambda z: z.masked_fill(z < 0, 0.0),
    "assigned": assigned,
    "assigned_in_place": assigned_in_place,
    "fmax": lambda z: torch.fmax(z, z.new_zeros(())),
    "max_of_multiple": lambda z: torch.max(z, 0 * z),
    "max_of_stack": lambda z: torch.stack([z, 0 * z]).max(0).values,
    "half_of_sum": lambda z: (z + z.abs()) / 2,
    "clamp_min_in_place": lambda z: z.clamp_min_(0),
    "minus_min": lambda z: -torch.min(-z, 0 * z),
    "sign": lambda z: (z.sign() + 1) / 2 * z,
    "heaviside": lambda z: z * torch.heaviside(z.detach(), z.new_zeros(1)),
}


class Net(nn.Module):
    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c, self.function = nn.Linear(6, 24), nn.Linear(24, 16), nn.Linear(16, 3), function

    def forward(self, x):
        return self.c(self.function(self.b(torch.relu(self.a(x)))))


def counted(function):
    """(change of sign near samples, crossings along segments, regions of a slice)."""
    data = Dataset(name="d", inputs=torch.rand(40, 6, generator=torch.Generator().manual_seed(0)))
    with torch.random.fork_rng():
        model = Net(function).eval()
    network = Network(model, data.inputs[:2])
    assert [s.input_shape[-1] for s in network.sites] == [24, 16]
    near = LocalComplexity(radius=0.05).measure(network, data).figure("local_complexity").value
    along = crossings(model, data.inputs[:10], data.inputs[10:20])
    plane = plane_through(data.inputs[:3].double().numpy())
    return near, along.counts.tolist(), slice_network(model, plane, square_around(plane, 1.0)).num_faces


@pytest.fixture(scope="module")
def expected():
    found = counted(torch.relu)
    assert found[0] > 1 and sum(found[1]) > 20 and found[2] > 50
    return found


@pytest.mark.parametrize("name", FORMS)
def test_a_relu_by_hand_counts_like_a_relu(name, expected):
    assert counted(FORMS[name]) == expected
