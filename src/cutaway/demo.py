"""The network that `cutaway scan` looks at when it is given none: a small CNN trained on scikit-learn's digits in
seconds."""

from __future__ import annotations

import torch
from torch import nn

from cutaway.data import Dataset, load_data


def digits_cnn() -> nn.Sequential:
    """1x8x8 -> 10: two convolutions, max pooling, one hidden layer; about 11,000 parameters, untrained."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def train_digits(*, epochs: int = 30, seed: int = 0) -> tuple[nn.Module, Dataset]:
    """Train it with Adam (1e-3, batches of 64) on the training split; returns it in evaluation mode with the held-out
    split."""
    train, test = load_data("digits", split="train"), load_data("digits", split="test")
    assert train.labels is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = digits_cnn()
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(train.inputs)).split(64):
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(train.inputs[rows]), train.labels[rows]).backward()
                optimiser.step()
    return model.eval(), test
