"""Volumes of regions in small dimension by hit-and-run, and the number of regions in a ball with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from math import gamma, pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.geometry.linear_regions import LinearRegion
from cutaway.geometry.program import StagedProgram
from cutaway.geometry.rays import as_program
from cutaway.network.graph import Graph

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its standard error."""

    value: float
    error: float


def polytope_volume(
    matrix: Floats, bound: Floats, *, num_samples: int = 2000, thinning: int = 0, seed: int = 0
) -> Estimate:
    """Volume of {v : matrix v <= bound}, bounded and with 0 inside, by telescoping balls and hit-and-run.

    The polytope is cut with balls about 0 whose volumes grow by a factor of two; hit-and-run chains of `num_samples`
    estimate each ratio. An estimate: the error is the delta-method sum over phases with the chains' effective sizes
    (batch means). Cost: phases x samples x `thinning` (default 2 D) steps of O(rows D). Meant for D up to about 10.
    `matrix` (m, n), `bound` (m,). Raises `InputError` where 0 is not strictly inside or the polytope is not bounded.
    """
    dims = matrix.shape[1]
    if not np.all(bound > 0):
        raise InputError(
            "polytope",
            found="a half-space that leaves out the origin",
            expected="0 strictly inside",
            remedy="move the origin inside",
        )
    generator = np.random.default_rng(seed)
    steps = thinning or 2 * dims
    inner = float((bound / np.linalg.norm(matrix, axis=1)).min())
    log_volume = np.log(pi ** (dims / 2) / gamma(dims / 2 + 1)) + dims * np.log(inner)
    radius, variance = inner, 0.0
    for _ in range(60 * dims):
        radius *= 2 ** (1 / dims)
        chain = _hit_and_run(matrix, bound, radius, num_samples, steps, generator)
        length = np.linalg.norm(chain, axis=1)
        share, error = _batch_mean(length <= radius / 2 ** (1 / dims))
        if share == 1.0:
            break
        log_volume -= np.log(share)
        variance += (error / share) ** 2
    else:
        raise InputError(
            "polytope", found="no end in sight", expected="a bounded polytope", remedy="add the walls of a box about it"
        )
    value = float(np.exp(log_volume))
    return Estimate(value=value, error=value * float(np.sqrt(variance)))


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


def _hit_and_run(
    matrix: Floats, bound: Floats, radius: float, count: int, steps: int, generator: np.random.Generator
) -> Floats:
    """`count` points of the polytope cut with the ball, every `steps`-th of a chain that starts at 0."""
    dims, point = matrix.shape[1], np.zeros(matrix.shape[1])
    found = np.empty((count, dims))
    for i in range(-20, count):
        for _ in range(steps):
            direction = generator.standard_normal(dims)
            direction /= np.linalg.norm(direction)
            speed, room = matrix @ direction, bound - matrix @ point
            with np.errstate(divide="ignore", invalid="ignore"):
                step = room / speed
            high, low = step[speed > 0].min(initial=np.inf), step[speed < 0].max(initial=-np.inf)
            along = point @ direction
            root = np.sqrt(max(along**2 + radius**2 - point @ point, 0.0))
            high, low = min(high, -along + root), max(low, -along - root)
            point = point + generator.uniform(min(low, high), max(low, high)) * direction
        if i >= 0:
            found[i] = point
    return found


def _batch_mean(hits: NDArray[np.bool_], batches: int = 25) -> tuple[float, float]:
    groups = np.array([g.mean() for g in np.array_split(hits.astype(float), batches)])
    return float(hits.mean()), float(groups.std(ddof=1) / np.sqrt(batches))


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
    """
    seen: dict[bytes, int] = {}
    program.passes.forward += len(inputs)
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
