"""Numbers that say what a kernel matrix looks like, none of which depends on its scale."""

from __future__ import annotations

import torch

from cutaway.errors import InputError


def kernel_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """1 - <K, K'> / (|K| |K'|) of two (n, n): 0 for the same up to a positive factor; NaN where one is zero. Exact up
    to rounding. Source: definition.

    >>> round(kernel_distance(torch.eye(3), 5 * torch.eye(3)), 6)
    0.0
    """
    if one.shape != other.shape:
        raise InputError(
            "two kernels",
            found=f"shapes {tuple(one.shape)} and {tuple(other.shape)}",
            expected="the same rows on both sides",
            remedy="make both kernels on the same inputs",
        )
    size = float(one.norm()) * float(other.norm())
    return max(0.0, 1 - float((one * other).sum()) / size) if size > 0 else float("nan")


def target_alignment(kernel: torch.Tensor, targets: torch.Tensor, *, centred: bool = True) -> float:
    """<K, Y Y^T> / (|K| |Y Y^T|) of `kernel` (n, n) and `targets` (n, c); `centred`: both with rows and columns of mean
    0 (Cortes, Mohri and Rostamizadeh 2012). NaN for a kernel or targets without variation beyond rounding. Exact up to
    rounding."""
    targets = targets.to(kernel)
    least = 1e-12 * float(kernel.norm()), 1e-12 * _gram_norm(targets)
    if centred:
        kernel, targets = centre(kernel), targets - targets.mean(dim=0)
    sizes = float(kernel.norm()), _gram_norm(targets)
    varies = all(size > low for size, low in zip(sizes, least, strict=True))
    return float((targets * (kernel @ targets)).sum()) / (sizes[0] * sizes[1]) if varies else float("nan")


def _gram_norm(targets: torch.Tensor) -> float:
    """|Y Y^T|, which is |Y^T Y|: (c, c) instead of (n, n)."""
    return float((targets.T @ targets).norm())


def centre(kernel: torch.Tensor) -> torch.Tensor:
    """`kernel` with the means of rows and columns taken off.

    Exact; (n, n). Source: Cortes, Mohri and Rostamizadeh 2012.
    """
    off = kernel - kernel.mean(dim=0, keepdim=True)  # the one matrix beside it
    return off.sub_(kernel.mean(dim=1, keepdim=True)).add_(kernel.mean())


def effective_rank(values: torch.Tensor) -> float:
    """(sum l)^2 / sum l^2 of the eigenvalues `values`: 1 for one, n for n equal ones; NaN for a kernel of zeros.

    Exact; a number. Source: definition (participation ratio).
    """
    total = float(values.square().sum())
    return float(values.sum()) ** 2 / total if total > 0 else float("nan")


def top_mass(values: torch.Tensor, count: int = 20) -> float:
    """Share of sum l^2 in the `count` largest eigenvalues. Exact; a number. Source: definition."""
    squares = values.square().sort(descending=True).values
    total = float(squares.sum())
    return float(squares[:count].sum()) / total if total > 0 else float("nan")
