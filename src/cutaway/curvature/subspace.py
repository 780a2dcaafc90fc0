"""The exact Hessian in a random subspace, and the excess of its positive curvature.

PC = tr H_d / |H_d|_F with H_d = B^T H B, B (P, d) a random orthonormal basis (Fort and Scherlis 2019; Vysogorets,
Dawid and Kempe 2024). It grows as sqrt(d) for a matrix of one sign, so d belongs beside every value. The basis is
from a QR decomposition and the eigenvalues from the symmetric solver, where the authors' code has columns that are
orthogonal on average and a general solver.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from cutaway import seeds
from cutaway.arrays import Array
from cutaway.curvature.surface import Surface
from cutaway.engines.budget import chunk_size
from cutaway.network.network import DEFAULT_BUDGET


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """`excess` tr H_d / |H_d|_F (NaN where the norm is below 1e-12), `positive` the share of eigenvalues above 0,
    `norm` |H_d|_F, `dimension` d."""

    excess: float
    positive: float
    norm: float
    dimension: int


def random_basis(surface: Surface, dimension: int, seed: int) -> torch.Tensor:
    """An orthonormal basis (P, d) of a uniformly random subspace; all of space for d = P. `BudgetError` where it does
    not fit."""
    dimension = min(dimension, len(surface))
    chunk_size(4 * 8 * len(surface) * dimension, (surface.budget or DEFAULT_BUDGET) // 2)
    draw = seeds.generator(seed, "curvature", "subspace")
    normal = torch.randn(len(surface), dimension, generator=draw, dtype=torch.float64)
    return torch.linalg.qr(normal)[0].to(surface.parameters.theta)


def subspace_hessian(surface: Surface, dimension: int = 50, *, seed: int = 0) -> Array:
    """B^T H B (d, d), exact up to rounding and symmetrised. Cost: d products with H, d vectors of length P."""
    basis = random_basis(surface, dimension, seed)
    projected = (surface.hessian(basis.T) @ basis).double().cpu().numpy()
    return 0.5 * (projected + projected.T)


def positive_excess(matrix: Array) -> Excess:
    """Of a symmetric `matrix` (d, d).

    Exact up to rounding. Source: Fort and Scherlis 2019; Vysogorets, Dawid and Kempe 2024.
    """
    values = np.linalg.eigvalsh(matrix)
    norm = float(np.sqrt(np.sum(values**2)))
    return Excess(
        excess=float(values.sum()) / norm if norm > 1e-12 else float("nan"),
        positive=float((values > 0).mean()),
        norm=norm,
        dimension=len(values),
    )
