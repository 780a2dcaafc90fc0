"""The ends of the Hessian's spectrum with residual bounds, and the whole spectrum as a smoothed density."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cutaway import seeds
from cutaway.arrays import Array
from cutaway.curvature.surface import Surface
from cutaway.engines.budget import chunk_size
from cutaway.network.lanczos import EigenPairs, leading_pairs, quadrature
from cutaway.network.network import DEFAULT_BUDGET


def extremes(
    surface: Surface, *, top: int = 5, bottom: int = 1, tolerance: float = 1e-3, seed: int = 0, limit: int | None = None
) -> EigenPairs:
    """The `top` largest eigenvalues of H in falling order, then the `bottom` smallest in rising order.

    Block Lanczos with full re-orthogonalisation. By Weyl, an eigenvalue of H lies within `residuals[k]` of `values[k]`
    (|H u - value u| with |u| = 1): a bound up to rounding. `converged` where every residual is below `tolerance` times
    the largest |value|. Cost: up to `limit` products with H (at most what half of the budget holds, 300 by default)
    and as many vectors of length P. Raises `BudgetError` where a block does not fit.
    """
    count = min(top + bottom, len(surface))
    block = min(len(surface), max(count, 4))
    room = chunk_size(2 * 8 * len(surface), (surface.budget or DEFAULT_BUDGET) // 2, minimum=2 * block)

    def order(values: Array) -> Array:
        falling = np.argsort(-values, kind="stable")
        low = min(bottom, max(len(values) - top, 0))
        high = min(top, len(values))
        return np.concatenate([falling[:high], falling[len(values) - low :][::-1]])

    apply = surface.columns(surface.hessian)
    return leading_pairs(
        lambda vectors, _: apply(vectors),
        None,
        len(surface),
        count,
        generator=np.random.default_rng(seeds.stream(seed, "curvature", "extremes")),
        tolerance=tolerance,
        limit=min(room, limit or 300, len(surface)),
        order=order,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Density:
    """The density of eigenvalues: `grid` (m,), `mass` (probes, m) with sum(mass * spacing) about 1 a probe, smoothed
    by a normal curve of standard deviation `width` (in eigenvalues); `nodes` and `weights` (probes, steps) as the
    quadrature gave them."""

    grid: Array
    mass: Array
    width: float
    nodes: Array
    weights: Array


def density(surface: Surface, *, probes: int = 6, steps: int = 40, points: int = 240, seed: int = 0) -> Density:
    """The spectrum of H by stochastic Lanczos quadrature (Ghorbani, Krishnan and Xiao 2019, Algorithm 1).

    An estimate; moments up to degree 2 steps - 1 are exact for each probe, and the spread over probes tells the error.
    `width` is 1/60 of the range of the nodes. Where `probes * steps` vectors of length P do not fit a quarter of the
    budget, fewer probes go at a time, with the same vectors; fewer steps are taken where one probe's do not fit.
    Cost: probes * steps products with H.
    """
    room = max(4, surface.vectors_in(1 / 4))
    steps = max(2, min(steps, room // 2, len(surface)))
    together = max(1, min(probes, room // (2 * steps)))
    apply = surface.columns(surface.hessian)
    parts = []
    generator = np.random.default_rng(seeds.stream(seed, "curvature", "density"))
    for start in range(0, probes, together):
        some = min(together, probes - start)
        parts.append(quadrature(apply, len(surface), probes=some, steps=steps, generator=generator))
    nodes = np.concatenate([p.nodes for p in parts])
    weights = np.concatenate([p.weights for p in parts])
    held = nodes[weights > 0]
    low, high = float(held.min()), float(held.max())
    span = max(high - low, 1e-6 * max(abs(low), abs(high)), 1e-12)
    width = span / 60
    grid = np.linspace(low - 4 * width, high + 4 * width, points)
    curve = np.exp(-0.5 * ((grid[None, None] - nodes[..., None]) / width) ** 2) / (width * np.sqrt(2 * np.pi))
    return Density(
        grid=grid, mass=np.sum(weights[..., None] * curve, axis=1), width=width, nodes=nodes, weights=weights
    )
