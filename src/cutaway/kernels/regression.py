"""Kernel regression (K + ridge) a = Y: directly where the matrix fits, by conjugate gradients where its blocks do, and
the training of a wide network in function space.

Duplicated rows make K singular. The direct solver then raises the small eigenvalues to a floor and says which;
conjugate gradients need no floor for targets that agree on the duplicates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from cutaway.engines.budget import chunk_size
from cutaway.errors import InputError
from cutaway.network.network import DEFAULT_BUDGET

Block = Callable[[slice], torch.Tensor]
FLOOR = 1e-12
OFF = 1e-3  # of the largest entry or eigenvalue: more is no rounding, even of half precision


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solution:
    """`coefficients` (n, c); `residual` |(K + ridge) a - Y| / |Y|; `floor`: eigenvalues below it were raised to it (0:
    none were); `method` direct, floored or gradients; `products` with K that conjugate gradients took."""

    coefficients: torch.Tensor
    residual: float
    floor: float
    method: str
    products: int = 0


def solve(
    kernel: torch.Tensor | Block,
    targets: torch.Tensor,
    *,
    ridge: float = 0.0,
    budget: int | None = None,
    tolerance: float = 1e-6,
    limit: int = 1000,
) -> Solution:
    """Coefficients of the predictor f(x) = K(x, X) a.

    kernel : K (n, n), or a function that gives the rows of a slice (b, n), called anew for each product.
    targets : (n, c).
    budget : bytes. Solved directly where the kernel as a whole, in float64, and its factor fit (a matrix that is given
        and needs no copy does not count); else rows go by blocks through conjugate gradients, n * block numbers at a
        time. So does a singular matrix whose eigenvectors do not fit.
    tolerance, limit : of conjugate gradients, relative residual and products with K.

    Exact up to rounding directly, to `tolerance` by conjugate gradients. Cost: n^3 / 3 operations directly (an
    eigenproblem where the matrix is singular to rounding); n^2 a product. Of a singular matrix and targets that it does
    not reach, conjugate gradients give the coefficients of least residual that they met, and `residual` says how far
    they came. Raises `InputError` for shapes that do not fit, a ridge that is negative or infinite, a kernel of zeros,
    one that is not symmetric or clearly has negative eigenvalues (solved directly), numbers that are not finite,
    `BudgetError` where a row of the kernel does not fit. Source:
    definition; conjugate gradients by Hestenes and Stiefel 1952.
    """
    count = len(targets)
    if (
        targets.dim() != 2
        or not 0 <= ridge < math.inf
        or (isinstance(kernel, torch.Tensor) and kernel.shape != (count, count))
    ):
        found = f"targets {tuple(targets.shape)}, ridge {ridge:g}"
        raise InputError(
            "kernel regression",
            found=found,
            expected="targets (n, c), a kernel (n, n), a finite ridge of 0 or more",
            remedy="one row of targets for each row of the kernel",
        )
    memory, targets, size = budget or DEFAULT_BUDGET, targets.double(), 8 * count**2
    block = min(count, chunk_size(3 * 8 * count, memory // 2))
    rows: Block = kernel.__getitem__ if isinstance(kernel, torch.Tensor) else kernel
    whole = kernel if isinstance(kernel, torch.Tensor) and kernel.dtype == torch.float64 and not ridge else None
    room = memory - size * (whole is None)
    if room >= size:
        whole = _joined(rows, targets, block) if whole is None else whole
        found = _direct(whole, targets, ridge, room)
        if found is not None:
            return found
        rows, ridge = whole.__getitem__, 0.0  # which is in it by now
    elif isinstance(kernel, torch.Tensor):
        _check_symmetric(kernel)
    return _gradients(rows, targets, ridge, block, tolerance, limit)


def _joined(kernel: Block, targets: torch.Tensor, block: int) -> torch.Tensor:
    whole = torch.empty(len(targets), len(targets), dtype=torch.float64, device=targets.device)
    for start in range(0, len(whole), block):
        whole[start : start + block] = kernel(slice(start, start + block))
    return whole


def _direct(kernel: torch.Tensor, targets: torch.Tensor, ridge: float, room: int) -> Solution | None:
    """Of a kernel in float64; a ridge is added to it in place, so that only it and its factor stand in memory. None
    for a singular one whose eigenvectors, and what their search takes, are more than `room` bytes."""
    _check_finite("kernel", kernel)
    _check_finite("targets", targets)
    _check_symmetric(kernel)
    if ridge:
        kernel.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(kernel)
    small = factor.diagonal().square().min() <= len(kernel) * FLOOR * kernel.diagonal().max()
    if not int(failed) and not bool(small):
        half = torch.linalg.solve_triangular(factor, targets, upper=False)  # cholesky_solve would copy the factor
        found = torch.linalg.solve_triangular(factor.mT, half, upper=True)
        return Solution(coefficients=found, residual=_residual(kernel, found, targets), floor=0.0, method="direct")
    del factor
    if 3 * kernel.nbytes > room:
        return None
    values, vectors = torch.linalg.eigh(kernel)
    floor = float(len(kernel) * FLOOR * values.abs().max())
    if not floor > 0:
        raise _zeros()
    if float(values[0]) < -OFF * float(values.abs().max()):
        raise _no_kernel(f"an eigenvalue of {float(values[0]):.3g} beside one of {float(values[-1]):.3g}")
    found = vectors @ ((vectors.T @ targets) / values.clamp(min=floor)[:, None])
    return Solution(coefficients=found, residual=_residual(kernel, found, targets), floor=floor, method="floored")


def _check_symmetric(kernel: torch.Tensor) -> None:
    """In blocks of rows, so that no second matrix stands beside it."""
    largest = float(kernel.diagonal().abs().max())
    for start in range(0, len(kernel), 64):
        rows = slice(start, start + 64)
        off = float((kernel[rows] - kernel[:, rows].T).abs().max())
        if off > OFF * max(largest, float(kernel[rows].abs().max())):
            raise _no_kernel(f"entries (i, j) and (j, i) that differ by {off:.3g}")


def _no_kernel(found: str) -> InputError:
    return InputError(
        "kernel matrix",
        found=found,
        expected="a symmetric matrix without negative eigenvalues but for rounding",
        remedy="give K(x, x') of the same rows on both sides, in the same order",
    )


def _residual(kernel: torch.Tensor, found: torch.Tensor, targets: torch.Tensor) -> float:
    size = float(targets.norm())
    return float((kernel @ found - targets).norm()) / size if size > 0 else 0.0


def _gradients(
    kernel: Block, targets: torch.Tensor, ridge: float, block: int, tolerance: float, limit: int
) -> Solution:
    """All columns at once, each with its own steps (Hestenes and Stiefel 1952), and of each the step of least
    residual: along a direction that the kernel does not see, or bends down, no step is taken."""
    _check_finite("targets", targets)

    def product(vectors: torch.Tensor) -> torch.Tensor:
        parts = [kernel(slice(s, s + block)).to(vectors) @ vectors for s in range(0, len(vectors), block)]
        return torch.cat(parts) + ridge * vectors

    found, rest = torch.zeros_like(targets), targets.clone()
    way, size = rest.clone(), rest.square().sum(dim=0)
    goal, tiny = tolerance**2 * size, torch.finfo(torch.float64).tiny
    best, least = found, size
    going, taken = size > goal, 0
    while taken < limit and bool(going.any()):
        moved = product(way)
        _check_finite("kernel", moved)
        if not taken and not bool(moved.any()):
            raise _zeros()
        bend = (way * moved).sum(dim=0)
        going = going & (bend > 0)
        step = torch.where(going, size / bend.clamp(min=tiny), torch.zeros_like(size))
        found, rest = found + step * way, rest - step * moved
        after = rest.square().sum(dim=0)
        way, size = rest + after / size.clamp(min=tiny) * way, after
        best, least = torch.where(after < least, found, best), torch.minimum(after, least)
        going, taken = going & (size > goal), taken + 1
    whole = float(targets.norm())
    residual = float(least.sum().sqrt()) / whole if whole > 0 else 0.0
    return Solution(coefficients=best, residual=residual, floor=0.0, method="gradients", products=taken)


def _check_finite(what: str, values: torch.Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise InputError(
            f"{what} of a kernel regression",
            found="NaN or infinity",
            expected="finite numbers",
            remedy="look for rows or weights that are not finite",
        )


def _zeros() -> InputError:
    return InputError(
        "kernel",
        found="a matrix of zeros",
        expected="some row that is not zero",
        remedy="leave out the rows that are zero",
    )


def function_space(
    kernel: torch.Tensor, targets: torch.Tensor, start: torch.Tensor, *, rate: float, steps: int
) -> torch.Tensor:
    """The outputs (n, c) after `steps` of full-batch gradient descent on (1/2n) |f - Y|^2 in a network whose kernel
    stays: f_T = Y + U (1 - rate L / n)^T U^T (f_0 - Y), K = U L U^T (summed, not averaged, over what shares weights).

    `start` f_0 (n, c). Exact for the linear model. See `function_space_elsewhere` for rows that are not trained on.
    Source: Jacot, Gabriel and Hongler 2018, in discrete steps.
    """
    values, vectors = torch.linalg.eigh(kernel)
    shrink = (1 - rate * values / len(kernel)) ** steps
    return targets + vectors @ (shrink[:, None] * (vectors.T @ (start - targets)))


def function_space_elsewhere(
    kernel: torch.Tensor,
    cross: torch.Tensor,
    targets: torch.Tensor,
    start: torch.Tensor,
    start_elsewhere: torch.Tensor,
    *,
    rate: float,
    steps: int,
) -> torch.Tensor:
    """The same on other rows: f_0* - K* U [(1 - (1 - rate L / n)^T) / L] U^T (f_0 - Y), `cross` K* (m, n).

    Exact as `function_space`. Source: Jacot, Gabriel and Hongler 2018, in discrete steps.
    """
    values, vectors = torch.linalg.eigh(kernel)
    pace = rate * values / len(kernel)
    small = values.abs() <= FLOOR * values.abs().max()
    taken = torch.where(small, steps * rate / len(kernel) * torch.ones_like(values), values)
    taken = torch.where(small, taken, (1 - (1 - pace) ** steps) / values.where(~small, torch.ones_like(values)))
    return start_elsewhere - cross @ (vectors @ (taken[:, None] * (vectors.T @ (start - targets))))
