"""Regions made from linear maps and points: ellipsoids, rotated boxes, hulls, and intersections of any regions.

See `cutaway.robustness.regions` for what a region answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Ellipsoid:
    """{center + root u: ||u||_2 <= radius}; `center` (B, n), `root` (B, n, k) or (n, k) (a covariance's square
    root)."""

    center: Tensor
    root: Tensor
    radius: Tensor

    @property
    def _reach(self) -> Tensor:
        return self.radius.unsqueeze(1) * self.root.norm(dim=-1).expand_as(self.center)

    @property
    def lower(self) -> Tensor:
        return self.center - self._reach

    @property
    def upper(self) -> Tensor:
        return self.center + self._reach

    @property
    def magnitude(self) -> Tensor:
        return self.center.abs() + self.radius.unsqueeze(1) * self.root.abs().sum(-1)

    @property
    def is_box(self) -> bool:
        return False

    def minimum(self, functionals: Tensor) -> Tensor:
        near = (functionals @ self.center.unsqueeze(-1)).squeeze(-1)
        return near - self.radius.unsqueeze(1) * (functionals @ self.root).norm(dim=-1)

    def minimiser(self, functionals: Tensor) -> Tensor:
        seen = functionals @ self.root
        unit = seen / seen.norm(dim=-1, keepdim=True).clamp(min=1e-300)
        return self.center.unsqueeze(1) - self.radius.reshape(-1, 1, 1) * (unit @ self.root.mT)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Uniform in the preimage ball, shape (B, count, n)."""
        batch, rank = len(self.center), self.root.shape[-1]
        unit = torch.randn(batch, count, rank, generator=generator, dtype=self.center.dtype)
        length = torch.rand(batch, count, 1, generator=generator, dtype=self.center.dtype) ** (1 / rank)
        unit = unit / unit.norm(dim=-1, keepdim=True).clamp(min=1e-300) * length
        return self.center.unsqueeze(1) + self.radius.reshape(-1, 1, 1) * (unit @ self.root.mT)

    def select(self, index: Tensor) -> Ellipsoid:
        root = self.root[index] if self.root.ndim == 3 else self.root
        return Ellipsoid(center=self.center[index], root=root, radius=self.radius[index])

    def to(self, dtype: torch.dtype) -> Ellipsoid:
        return Ellipsoid(center=self.center.to(dtype), root=self.root.to(dtype), radius=self.radius.to(dtype))


@dataclass(frozen=True, slots=True, kw_only=True)
class RotatedBox:
    """{basis y: low <= y <= high}; `basis` (n, k) (columns are the axes), `low`, `high` (B, k).

    Raises `InputError` for a lower limit above an upper one.
    """

    basis: Tensor
    low: Tensor
    high: Tensor

    def __post_init__(self) -> None:
        if not bool((self.low <= self.high).all()):
            raise InputError(
                "rotated box",
                found="lower above upper on some axis",
                expected="lower <= upper",
                remedy="exchange the two, or check the axes",
            )

    @property
    def lower(self) -> Tensor:
        return self._middle - self._reach

    @property
    def upper(self) -> Tensor:
        return self._middle + self._reach

    @property
    def _middle(self) -> Tensor:
        return (self.low + self.high) / 2 @ self.basis.mT

    @property
    def _reach(self) -> Tensor:
        return (self.high - self.low) / 2 @ self.basis.abs().mT

    @property
    def magnitude(self) -> Tensor:
        return torch.maximum(self.low.abs(), self.high.abs()) @ self.basis.abs().mT

    @property
    def is_box(self) -> bool:
        return False

    def minimum(self, functionals: Tensor) -> Tensor:
        seen = functionals @ self.basis
        center, radius = (self.low + self.high) / 2, (self.high - self.low) / 2
        return (seen @ center.unsqueeze(-1)).squeeze(-1) - (seen.abs() @ radius.unsqueeze(-1)).squeeze(-1)

    def minimiser(self, functionals: Tensor) -> Tensor:
        seen = functionals @ self.basis
        return torch.where(seen > 0, self.low.unsqueeze(1), self.high.unsqueeze(1)) @ self.basis.mT

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Uniform in the rotated coordinates, shape (B, count, n)."""
        shape = (len(self.low), count, self.low.shape[1])
        unit = torch.rand(shape, generator=generator, dtype=self.low.dtype)
        return (self.low.unsqueeze(1) + unit * (self.high - self.low).unsqueeze(1)) @ self.basis.mT

    def select(self, index: Tensor) -> RotatedBox:
        return RotatedBox(basis=self.basis, low=self.low[index], high=self.high[index])

    def to(self, dtype: torch.dtype) -> RotatedBox:
        return RotatedBox(basis=self.basis.to(dtype), low=self.low.to(dtype), high=self.high.to(dtype))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hull:
    """Convex hull of `points` (B, k, n). Raises `InputError` for points of another shape or not finite."""

    points: Tensor

    def __post_init__(self) -> None:
        if self.points.ndim != 3 or 0 in self.points.shape or not bool(torch.isfinite(self.points).all()):
            raise InputError(
                "hull",
                found=f"points of shape {tuple(self.points.shape)}",
                expected="finite (B, k, n)",
                remedy="give finite points, k for each of B hulls",
            )

    @property
    def lower(self) -> Tensor:
        return self.points.amin(1)

    @property
    def upper(self) -> Tensor:
        return self.points.amax(1)

    @property
    def magnitude(self) -> Tensor:
        return self.points.abs().amax(1)

    @property
    def is_box(self) -> bool:
        return False

    def minimum(self, functionals: Tensor) -> Tensor:
        return (functionals @ self.points.mT).amin(-1)

    def minimiser(self, functionals: Tensor) -> Tensor:
        best = (functionals @ self.points.mT).argmin(-1)
        return self.points.gather(1, best.unsqueeze(-1).expand(-1, -1, self.points.shape[-1]))

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Random mixtures of the points, shape (B, count, n)."""
        shape = (len(self.points), count, self.points.shape[1])
        weights = -torch.rand(shape, generator=generator, dtype=self.points.dtype).clamp(min=1e-300).log()
        return (weights / weights.sum(-1, keepdim=True)) @ self.points

    def select(self, index: Tensor) -> Hull:
        return Hull(points=self.points[index])

    def to(self, dtype: torch.dtype) -> Hull:
        return Hull(points=self.points.to(dtype))
