"""A small classifier d-128-2 on embeddings, with points of the regions that fool it most in every epoch.

Class 0 is the positive class (the one whose regions are verified), as published. Each epoch draws one point in every
box and moves it `steps` times along the sign of the gradient, step = width / 4 (the released code divides by 1,000
more, which is nearly uniform sampling), cut to the box; a second cross-entropy asks for class 0 there.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from cutaway.guard.nlp.boxes import Boxes


def train_classifier(
    points: np.ndarray,
    labels: np.ndarray,
    *,
    boxes: Boxes | None = None,
    epochs: int = 30,
    batch_size: int = 64,
    hidden: int = 128,
    rate: float = 1e-3,
    steps: int = 5,
    seed: int = 0,
) -> nn.Sequential:
    """Linear-ReLU-Linear in float32, in evaluation mode. points (n, d), labels (n,) of 0 and 1; same seed, same
    network."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(points.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, 2))
    x, y = torch.from_numpy(points).float(), torch.from_numpy(labels).long()
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        hard = None if boxes is None or not len(boxes) else attacked(model, boxes, steps=steps, generator=generator)
        parts = max(1, -(-len(x) // batch_size))
        for k in range(parts):
            rows = order[k * batch_size : (k + 1) * batch_size]
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            if hard is not None:
                own = hard[k::parts]
                if len(own):
                    loss = loss + nn.functional.cross_entropy(model(own), torch.zeros(len(own), dtype=torch.long))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval().requires_grad_(False)


def attacked(model: nn.Module, boxes: Boxes, *, steps: int, generator: torch.Generator, fading: bool = False) -> Tensor:
    """One point in each box (k, d), moved towards class 1 by steps of width / 4, or falling to 0 where `fading`."""
    low, high = torch.from_numpy(boxes.lower).float(), torch.from_numpy(boxes.upper).float()
    point = low + torch.rand(low.shape, generator=generator, dtype=torch.float32) * (high - low)
    for step in range(steps):
        point.requires_grad_(True)
        scores = model(point)
        (slope,) = torch.autograd.grad((scores[:, 1] - scores[:, 0]).sum(), point)
        size = (1 - step / steps) if fading else 1.0
        moved = point.detach() + slope.sign() * (high - low) * (size / 4)
        point = torch.minimum(torch.maximum(moved, low), high)
    return point.detach()
