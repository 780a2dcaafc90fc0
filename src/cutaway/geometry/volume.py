"""Volumes of regions in small dimension, and the number of regions in a ball with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cutaway.arrangement.polytopes import Estimate, polytope_volume
from cutaway.errors import InputError
from cutaway.geometry.linear_regions import LinearRegion
from cutaway.geometry.program import StagedProgram
from cutaway.geometry.rays import as_program
from cutaway.network.graph import Graph


def region_volume(region: LinearRegion, *, box: float, num_samples: int = 2000, seed: int = 0) -> Estimate:
    """Volume of a sample's region inside the box |v|_inf <= `box` about the sample; the error is `polytope_volume`'s.

    Half-spaces that do not reach the box are left out. Raises InputError when the sample lies on a boundary.
    """
    if not box > 0:
        raise InputError(
            "box about the sample", found=str(box), expected="a positive half-width", remedy="give a number above 0"
        )
    matrix, bound = region.inward
    near = bound <= box * np.abs(matrix).sum(axis=1)
    walls = np.concatenate([np.eye(len(region.point)), -np.eye(len(region.point))])
    matrix = np.concatenate([matrix[near], walls])
    return polytope_volume(
        matrix, np.concatenate([bound[near], np.full(len(walls), box)]), num_samples=num_samples, seed=seed
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionCount:
    """`observed` distinct regions (a lower bound), `estimate` after Chao with its standard `error`, `singletons` seen
    once, `num_samples`; `saturated`: nearly every sample has a region of its own, so the count only says how many
    samples were drawn."""

    observed: int
    estimate: float
    error: float
    singletons: int
    num_samples: int

    @property
    def saturated(self) -> bool:
        return self.singletons > 0.9 * self.num_samples


def regions_in_ball(
    model: nn.Module | Graph | StagedProgram,
    centre: Tensor,
    radius: float,
    *,
    num_samples: int = 4096,
    generator: torch.Generator,
    batch_size: int = 512,
) -> RegionCount:
    """Distinct activation patterns among uniform samples of an l2 ball about `centre` (*input_shape).

    `observed` is a lower bound; `estimate` is Chao's bias-corrected lower bound on the number of regions of
    non-vanishing volume, with its asymptotic standard error (Chao 1987). Cost: `num_samples` forward passes.
    Raises `InputError` for a radius that is not above 0.
    """
    if not radius > 0:
        raise InputError(
            "radius of the ball", found=str(radius), expected="a positive number", remedy="give a number above 0"
        )
    dims = centre.numel()
    direction = torch.randn(num_samples, dims, generator=generator, dtype=torch.float64)
    length = torch.rand(num_samples, 1, generator=generator, dtype=torch.float64) ** (1 / dims)
    points = centre.to(torch.float64).reshape(1, -1) + radius * length * direction / direction.norm(dim=1, keepdim=True)
    return count_patterns(
        as_program(model, centre[None]), points.reshape(num_samples, *centre.shape), batch_size=batch_size
    )


def count_patterns(program: StagedProgram, inputs: Tensor, *, batch_size: int = 512) -> RegionCount:
    """Distinct activation patterns among given inputs, as in `regions_in_ball` (the statistic of TE-NAS).

    `inputs` (N, *input shape). The count is exact, the number of regions behind it an estimate. Cost: N forward passes.
    Source: Chen, Gong and Wang 2021 (TE-NAS) for the statistic.
    """
    seen: dict[bytes, int] = {}
    program.passes.count(len(inputs))
    with torch.no_grad():
        for begin in range(0, len(inputs), batch_size):
            gates = torch.cat(program.all_gates(inputs[begin : begin + batch_size]), dim=1) > 0
            for row in np.packbits(gates.numpy(), axis=1):
                key = row.tobytes()
                seen[key] = seen.get(key, 0) + 1
    counts = np.array(list(seen.values()))
    once, twice, n = int((counts == 1).sum()), int((counts == 2).sum()), len(inputs)
    shrink = (n - 1) / n
    extra = shrink * once * (once - 1) / (2 * (twice + 1))
    if twice > 0:
        ratio = once / twice
        variance = twice * (0.5 * shrink * ratio**2 + shrink**2 * ratio**3 + 0.25 * shrink**2 * ratio**4)
    else:
        total = len(counts) + extra
        variance = shrink * once * (once - 1) / 2 + shrink**2 * once * (2 * once - 1) ** 2 / 4
        variance -= shrink**2 * once**4 / (4 * total) if total else 0.0
    return RegionCount(
        observed=len(counts),
        estimate=float(len(counts) + extra),
        error=float(np.sqrt(max(variance, 0.0))),
        singletons=once,
        num_samples=n,
    )
