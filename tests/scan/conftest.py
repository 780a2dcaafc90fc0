"""A tiny network and data set that a scan takes seconds for."""

import pytest
import torch

from cutaway.instruments import Accuracy, Sparsity
from cutaway.network import Network
from cutaway.testing.contract import small_classifier, small_data


@pytest.fixture
def subject():
    data = small_data(36)
    model = small_classifier(2).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(data.inputs), data.labels).backward()
        optimiser.step()
    return Network(model.eval(), data.inputs[:2], name="tiny"), data


@pytest.fixture
def few():
    return [Accuracy(), Sparsity()]
