"""How many regions a slice would have, before it is cut: from crossings along short random segments.

If the boundaries are spread with length density L over the domain and point in all directions alike, a random segment
crosses 2 L / pi of them a unit of length, and lines with that density cut an area A into about A L^2 / pi regions. The
crossings are exact, the step to regions is a model of random lines: right within a factor of about two on trained
networks, which is enough to choose a domain by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from cutaway.geometry.plane import Plane, check_domain
from cutaway.geometry.program import StagedProgram
from cutaway.geometry.rays import as_program, crossings
from cutaway.network.graph import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """`regions` the domain would hold, about; `density` crossings a unit of length; `shrink(n)` by which factor to
    scale the domain for about n regions."""

    regions: float
    density: float

    def shrink(self, regions: int) -> float:
        """Factor (at most 1) for the width of the domain that leaves about `regions` of them."""
        return min(1.0, float(np.sqrt(regions / max(self.regions, 1.0))))


def estimated_regions(
    model: nn.Module | Graph | StagedProgram, plane: Plane, domain: ArrayLike, *, num_segments: int = 24, seed: int = 0
) -> Preview:
    """About how many regions the polygon `domain` (m, 2) of `plane` holds. An estimate, see the module.

    Cost: some hundred forward passes: segments of random place and direction are doubled in length until they cross
    four boundaries on average. Raises as `crossings` does.
    """
    polygon = check_domain(domain)
    program = as_program(model, torch.zeros(1, *plane.input_shape, dtype=torch.float64))
    generator = np.random.default_rng(seed)
    weights = generator.dirichlet(np.ones(len(polygon)), size=num_segments)
    angle = generator.uniform(0, 2 * np.pi, num_segments)
    middle, along = weights @ polygon, np.stack([np.cos(angle), np.sin(angle)], axis=1)
    width = float(np.ptp(polygon, axis=0).max())
    length = width * 2.0**-14
    while True:
        starts, ends = (plane.lift(middle + side * length * along) for side in (-0.5, 0.5))
        found = crossings(program, torch.from_numpy(starts), torch.from_numpy(ends))
        mean = float(found.counts.double().mean())
        if mean >= 4 or length >= width / 8:
            break
        length *= 2
    density = mean / length
    x, y = (polygon - polygon[0]).T
    area = abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2))
    sides = float(np.hypot(*(np.roll(polygon, -1, axis=0) - polygon).T).sum())
    return Preview(regions=1 + density * sides / 2 + area * np.pi * density**2 / 4, density=density)
