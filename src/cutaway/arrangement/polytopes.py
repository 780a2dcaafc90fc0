"""Volumes of polytopes in small dimension, given by half-spaces, by hit-and-run."""

from __future__ import annotations

from dataclasses import dataclass
from math import gamma, pi

import numpy as np
from numpy.typing import NDArray

from cutaway.arrays import Floats
from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its standard error."""

    value: float
    error: float


def polytope_volume(matrix: Floats, bound: Floats, *, num_samples: int = 2000, seed: int = 0) -> Estimate:
    """Volume of {v : matrix v <= bound}, bounded and with 0 inside, by telescoping balls and hit-and-run.

    The polytope is cut with balls about 0 whose volumes grow by a factor of two; hit-and-run chains of `num_samples`
    estimate each ratio. An estimate: the error is the delta-method sum over phases with the chains' effective sizes
    (batch means). Cost: phases x samples x 2 D steps of O(rows D). Meant for D up to about 10.
    `matrix` (m, n), `bound` (m,). Raises `InputError` where 0 is not strictly inside or the polytope is not bounded.
    Source: Dyer, Frieze and Kannan 1991 for the balls, Smith 1984 for hit-and-run; the steps and the error are ours.
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
    inner = float((bound / np.linalg.norm(matrix, axis=1)).min())
    log_volume = np.log(pi ** (dims / 2) / gamma(dims / 2 + 1)) + dims * np.log(inner)
    radius, variance = inner, 0.0
    for _ in range(60 * dims):
        radius *= 2 ** (1 / dims)
        chain = _hit_and_run(matrix, bound, radius, num_samples, 2 * dims, generator)
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
