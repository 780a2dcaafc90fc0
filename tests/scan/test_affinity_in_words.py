"""The first sentence of a report says of regions only what is known of the network."""

import dataclasses

import pytest
import torch
from torch import nn

from cutaway.network import Network
from cutaway.report.words import describe


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.GRU(4, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(torch.relu(self.inner(x)[0][:, -1]))


class Masked(nn.Module):
    def forward(self, x):
        return torch.relu(x) * (x.flip(1) > 0)


@dataclasses.dataclass
class Run:
    network: dict


@pytest.mark.parametrize(
    ("model", "example", "said"),
    [
        (
            nn.Sequential(nn.Linear(4, 4), nn.ReLU()),
            torch.rand(2, 4),
            "It is continuous piecewise affine, so statements",
        ),
        (Recurrent(), torch.rand(2, 5, 4), "It is not known to be piecewise affine"),
        (nn.Sequential(nn.Linear(4, 4), nn.GELU()), torch.rand(2, 4), "It is not known to be piecewise affine"),
        (Masked(), torch.rand(2, 4), "It is piecewise affine, but may jump between its regions"),
    ],
)
def test_the_sentence_follows_what_is_known(model, example, said):
    assert said in describe(Run(Network(model.eval(), example).describe()))  # pyright: ignore[reportArgumentType]
