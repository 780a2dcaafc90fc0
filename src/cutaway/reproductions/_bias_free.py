"""Networks without biases, which are homogeneous in their parameters, and their plain training: what the studies of
initial scales and kernels start from."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn


def fully_connected(widths: Sequence[int], seed: int, *, scale: float = 1.0) -> nn.Sequential:
    """ReLU layers of `widths` without biases on flattened inputs, He-normal weights times `scale`; evaluation mode."""
    layers: list[nn.Module] = [nn.Flatten()]
    for number, (a, b) in enumerate(itertools.pairwise(widths)):
        layers += [nn.ReLU()] if number else []
        layers.append(nn.Linear(a, b, bias=False))
    return _initialised(nn.Sequential(*layers), seed, scale)


def convolutional(seed: int, *, scale: float = 1.0) -> nn.Sequential:
    """1 x 8 x 8 -> 10: two 3 x 3 convolutions of 8 and 16 channels with max pooling, a linear layer, no biases."""
    layers = [
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 10, bias=False),
    ]
    return _initialised(nn.Sequential(*layers), seed, scale)


def _initialised(model: nn.Sequential, seed: int, scale: float) -> nn.Sequential:
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            fan_in = weight[0].numel()
            weight.copy_(scale * (2 / fan_in) ** 0.5 * torch.randn(weight.shape, generator=draw))
    return model.eval()


def trained(
    model: nn.Sequential,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    *,
    rate: float,
    steps: int,
    batch_size: int,
    seed: int,
) -> nn.Sequential:
    """Plain SGD on cross-entropy, in place; stops where the loss is no longer finite."""
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(steps):
        rows = torch.randint(0, len(inputs), (batch_size,), generator=draw)
        loss = nn.functional.cross_entropy(model(inputs[rows]), labels[rows])
        if not torch.isfinite(loss):
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model
