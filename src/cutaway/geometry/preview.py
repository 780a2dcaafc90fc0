"""How many regions a slice would have, before it is cut: from crossings along short random segments.

If the boundaries are spread with length density L over the domain and point in all directions alike, a random segment
crosses 2 L / pi of them a unit of length, and lines with that density cut an area A into about A L^2 / pi regions. The
crossings are exact, the step to regions is a model of random lines: right within a factor of about two, which is enough
to choose a domain by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from cutaway.arrays import Floats
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
    model: nn.Module | Graph | StagedProgram,
    plane: Plane,
    domain: ArrayLike,
    *,
    num_segments: int = 128,
    seed: int = 0,
    budget: int = 1 << 30,
) -> Preview:
    """About how many regions the polygon `domain` (m, 2) of `plane` holds. An estimate, see the module.

    Cost: some hundred forward passes: segments of random place and direction are doubled in length until they cross
    four boundaries on average. Memory: `budget` bytes, a few segments at a time. Raises as `crossings` does,
    BudgetError where the crossings of one segment do not fit. Source: Crofton's formula and random lines (Santalo
    1976).
    """
    from scipy.stats import qmc

    polygon = check_domain(domain)
    program = as_program(model, torch.zeros(1, *plane.input_shape, dtype=torch.float64))
    place = qmc.Sobol(3, rng=seed).random(num_segments)
    angle = 2 * np.pi * place[:, 2]
    middle, along = _spread(polygon, place[:, :2]), np.stack([np.cos(angle), np.sin(angle)], axis=1)
    width = float(np.ptp(polygon, axis=0).max())
    length = width * 2.0**-14
    while True:
        mean = _crossed(program, plane, middle, length * along, budget) / num_segments
        if mean >= 2 or length >= width / 16:
            break
        length *= 2
    density = mean / length
    area = float(_fan(polygon).sum())
    sides = float(np.hypot(*(np.roll(polygon, -1, axis=0) - polygon).T).sum())
    return Preview(regions=1 + density * sides / 2 + area * np.pi * density**2 / 4, density=density)


def _crossed(program: StagedProgram, plane: Plane, middle: Floats, along: Floats, budget: int) -> int:
    """Crossings of the segments about `middle` (n, 2) with the vectors `along` (n, 2), in all."""
    size = max(1, budget // (64 * plane.origin.size))
    count = 0
    for begin in range(0, len(middle), size):
        some = slice(begin, begin + size)
        starts, ends = (plane.lift(middle[some] + side * along[some]) for side in (-0.5, 0.5))
        found = crossings(program, torch.from_numpy(starts), torch.from_numpy(ends), budget=budget // 2)
        count += len(found.at)
    return count


def _spread(polygon: Floats, place: Floats) -> Floats:
    """(n, 2): places (n, 2) of the unit square sent to a convex polygon (m, 2), evenly."""
    reached = np.concatenate([[0.0], np.cumsum(_fan(polygon))])
    at = place[:, 0] * reached[-1]
    triangle = np.searchsorted(reached, at, side="right") - 1
    a = np.sqrt((at - reached[triangle]) / np.diff(reached)[triangle])[:, None]
    b = place[:, 1:]
    return polygon[0] + a * ((1 - b) * polygon[triangle + 1] + b * polygon[triangle + 2] - polygon[0])


def _fan(polygon: Floats) -> Floats:
    """(m - 2,): areas of the triangles from the first corner to each of the opposite sides."""
    x, y = (polygon[1:] - polygon[0]).T
    return np.abs(x[:-1] * y[1:] - y[:-1] * x[1:]) / 2
