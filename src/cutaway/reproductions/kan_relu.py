"""KANs as ReLU networks: a Kolmogorov-Arnold network of linear splines is one, with a unit a knot.

arXiv 2503.01702 gives the conversion. Here a 2-5-1 KAN is trained on exp(sin(pi x) + y^2), the target of its authors'
first example, and what it computes by its hat functions is held against the ReLU network, which a slice cuts exactly
and interval bounds enclose.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from cutaway import seeds
from cutaway.errors import ClaimError
from cutaway.geometry import input_plane, rectangle, slice_network
from cutaway.network import Network
from cutaway.reproductions.row import Row
from cutaway.structure.kan import kan_to_relu

SOURCE = "arXiv 2503.01702"
TITLE = "A KAN of linear splines is a ReLU network"


class HatLayer(nn.Module):
    """Sum over inputs of linear splines, as weighted hats on `pieces` equal intervals of [-1, 1]: (n, I) to (n, O).

    Tensors as in pykan, order 1, without base functions."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator, pieces: int = 6):
        super().__init__()
        self.k, self.base_fun, self.step = 1, nn.Identity(), 2 / pieces
        self.grid = (-1 + self.step * torch.arange(-1, pieces + 2, dtype=torch.float64)).repeat(inputs, 1)
        start = 0.3 * torch.randn(inputs, outputs, pieces + 1, generator=generator, dtype=torch.float64)
        self.coef = nn.Parameter(start)
        ones = torch.ones(inputs, outputs, dtype=torch.float64)
        self.scale_base, self.scale_sp, self.mask = 0 * ones, ones, ones

    def forward(self, inputs: Tensor) -> Tensor:
        hats = torch.relu(1 - (inputs[..., None] - self.grid[:, 1:-1]).abs() / self.step)
        return torch.einsum("nic,ioc->no", hats, self.coef)


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """Full: 1,500 steps and a 2-8-8-1 network beside. Short: 300 steps of the 2-5-1."""
    rows = []
    for widths in ((2, 5, 1),) if short else ((2, 5, 1), (2, 8, 8, 1)):
        model = trained_kan(widths, 300 if short else 1500, seed)
        progress(f"{widths}: trained")
        rows += equality_rows("-".join(map(str, widths)), model, seed)
    return rows


def trained_kan(widths: tuple[int, ...], steps: int, seed: int) -> nn.Sequential:
    """A KAN of linear splines on exp(sin(pi x) + y^2), [-1, 1]^2."""
    draw = seeds.generator(seed, "kan", "weights")
    model = nn.Sequential(*(HatLayer(a, b, draw) for a, b in itertools.pairwise(widths)))
    inputs = 2 * torch.rand(1000, 2, generator=draw, dtype=torch.float64) - 1
    target = torch.exp(torch.sin(torch.pi * inputs[:, :1]) + inputs[:, 1:] ** 2)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.mse_loss(model(inputs), target).backward()
        optimiser.step()
    return model.eval()


def equality_rows(name: str, model: nn.Module, seed: int) -> list[Row]:
    """Equality, pieces of a slice, and bounds."""
    points = 3 * torch.rand(2000, 2, generator=seeds.generator(seed, "kan", "points"), dtype=torch.float64) - 1.5
    try:
        made = kan_to_relu(model)
    except ClaimError as error:
        return [Row(quantity=f"{name}: conversion", ours=str(error), tolerance="equality", verdict="fail")]
    with torch.no_grad():
        error = float((model(points) - made.model(points)).abs().max())
    result = slice_network(made.model, input_plane(), rectangle(-1, 1, -1, 1))
    with torch.no_grad():
        there = model(torch.tensor(result.vertices)).numpy()
    corners = float(
        np.abs(there[result.cells.origin[result.measures.order]] - result.outputs[result.measures.rows]).max()
    )
    low, high = Network(made.model, points[:2]).bounds(points[:50], 0.02).output
    moved = points[:50, None] + 0.02 * (2 * torch.rand(50, 100, 2, generator=seeds.generator(seed, "kan", "near")) - 1)
    with torch.no_grad():
        values = model(moved.reshape(-1, 2)).reshape(50, 100, -1)
    outside = float(torch.maximum(low[:, None] - values, values - high[:, None]).max())
    return [
        Row(
            quantity=f"{name}: largest difference of the KAN and its ReLU network ({made.units} units), 2,000 points",
            paper=0.0,
            reference="theory",
            ours=error,
            tolerance=1e-12,
            verdict="pass" if error <= 1e-12 else "fail",
        ),
        Row(
            quantity=f"{name}: the KAN at the corners of {result.num_faces:,} exact pieces, largest difference",
            paper=0.0,
            reference="theory",
            ours=corners,
            tolerance=1e-11,
            verdict="pass" if corners <= 1e-11 and result.status.value == "exact" else "fail",
        ),
        Row(
            quantity=f"{name}: values of the KAN outside the bounds of its ReLU network, 5,000 points in 50 boxes",
            ours=max(outside, 0.0),
            tolerance="none, up to rounding",
            verdict="pass" if outside <= 1e-9 else "fail",
        ),
    ]
