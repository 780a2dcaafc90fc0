"""Trace and Frobenius norm of the Hessian, and the trace of its Gauss-Newton part, from one set of random probes.

With v of independent signs, E v^T H v = tr H (Hutchinson 1990) and E |H v|^2 = |H|_F^2: one product serves both. The
residual part's trace tr H - tr G is taken probe by probe, so that what both share falls out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from cutaway import seeds
from cutaway.arrays import Array
from cutaway.curvature.surface import Surface


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """One number a probe, each (probes,): `trace` v^T H v, `square` |H v|^2, `gauss_newton` v^T G v (NaN where it was
    not asked for). Their means are unbiased estimates of tr H, |H|_F^2 and tr G."""

    trace: Array
    square: Array
    gauss_newton: Array

    def excess(self, rows: Array | None = None, *, dimension: int = 0) -> float:
        """tr H / |H|_F =: t of the probes `rows` (all by default); NaN where |H|_F is below 1e-12 (0 over 0).

        `dimension` d > 0: what t becomes in d random directions B, t / sqrt(1 + (1 + t^2) / d), which lies between
        -sqrt(d) and sqrt(d) and may be compared across networks. From E |B^T H B|_F^2 = (d (d + 1) |H|_F^2
        + d (tr H)^2) / P^2 for normal columns of variance 1/P; exact to leading order in 1/P. A number. Source: ours,
        after Fort and Scherlis 2019.
        """
        rows = np.arange(len(self.trace)) if rows is None else rows
        norm = float(np.sqrt(self.square[rows].mean()))
        if not norm > 1e-12:
            return float("nan")
        t = float(self.trace[rows].mean()) / norm
        return t / float(np.sqrt(1 + (1 + t**2) / dimension)) if dimension else t


def moments(surface: Surface, *, probes: int = 20, seed: int = 0, gauss_newton: bool = True) -> Moments:
    """`probes` random probes of H, shared by trace and norm, and with `gauss_newton` the same ones of G.

    Estimates with standard errors of order |H|_F sqrt(2/probes) for the trace. Cost: `probes` products with H (about
    four forward passes a row each), as many with G. The same seed gives the same probes at every budget.
    """
    found: dict[str, list[Array]] = {"trace": [], "square": [], "gauss_newton": []}
    at_once = max(1, min(probes, surface.vectors_in(1 / 8)))
    draw = seeds.generator(seed, "curvature", "probes")
    for start in range(0, probes, at_once):
        count = min(at_once, probes - start)
        signs = torch.stack(
            [torch.randint(0, 2, (len(surface),), generator=draw, dtype=torch.int8) for _ in range(count)]
        )
        block = (2 * signs - 1).to(surface.parameters.theta)
        moved = surface.hessian(block)
        found["trace"].append(_numpy((block * moved).sum(dim=1)))
        found["square"].append(_numpy(moved.square().sum(dim=1)))
        if gauss_newton:
            found["gauss_newton"].append(_numpy((block * surface.gauss_newton(block)).sum(dim=1)))
        else:
            found["gauss_newton"].append(np.full(count, np.nan))
    return Moments(**{name: np.concatenate(parts) for name, parts in found.items()})


def _numpy(values: torch.Tensor) -> Array:
    return values.double().cpu().numpy()
