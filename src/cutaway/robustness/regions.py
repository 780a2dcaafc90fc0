"""Input sets that bounds, guardrails and pattern specifications share: boxes, balls, ellipsoids, hulls, intersections.

Every region is a batch of B sets in R^n and answers two questions about them:

- `minimum(A)`: for functionals A of shape (B, S, n) the minimum of a . x over the set, shape (B, S) (the support
  function of the set in direction -a). `Box`, `Ball`, `Ellipsoid`, `RotatedBox` and `Hull` give it exactly; an
  `Intersection` gives the largest of its members' minima, which is a lower bound.
- `lower`, `upper`: a box (B, n) around the set; for `Ball` in l-infinity and `Box` the set itself.

`magnitude` (B, n) bounds every |number| added up for one coordinate, so that rounding can be accounted for. Formulas:
support functions; over a ball the dual norm, a . c - radius |a|_dual (Hoelder), as in CROWN (Zhang et al., arXiv
1811.00866). Inputs of a network are flattened to n = number of entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from cutaway.errors import InputError


@runtime_checkable
class Region(Protocol):
    """A batch of closed bounded sets; see the module's text."""

    @property
    def lower(self) -> Tensor:
        """Lower limits of every coordinate (B, n), exact up to rounding; of an intersection a bound."""
        ...

    @property
    def upper(self) -> Tensor:
        """Upper limits of every coordinate (B, n), exact up to rounding; of an intersection a bound."""
        ...

    @property
    def magnitude(self) -> Tensor:
        """An upper bound of every coordinate's size (B, n), and of the numbers that `minimum` adds up to."""
        ...

    @property
    def is_box(self) -> bool:
        """Whether it is its own bounding box."""
        ...

    def minimum(self, functionals: Tensor) -> Tensor:
        """The smallest value (B, S) of functionals (B, S, n) on each set, exact up to rounding; for an intersection
        a lower bound. Source: definition (support function)."""
        ...

    def minimiser(self, functionals: Tensor) -> Tensor:
        """Points (B, S, n) at which the minimum is taken, exact up to rounding; for an intersection a point to start
        from. Source: definition."""
        ...

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` random points (B, count, n) of each set."""
        ...

    def select(self, index: Tensor) -> Region:
        """The sets with these numbers `index` (k,), exact. Source: definition."""
        ...

    def to(self, dtype: torch.dtype) -> Region:
        """The same sets with numbers of another dtype (limits are rounded)."""
        ...


def _flat(x: Tensor, name: str) -> Tensor:
    if x.ndim < 2:
        raise InputError(
            f"region's {name}",
            found=f"shape {tuple(x.shape)}",
            expected="(batch, *input shape)",
            remedy="give a batch, with one dimension before the inputs' own",
        )
    if not bool(torch.isfinite(x).all()):
        raise InputError(
            f"region's {name}",
            found="a value that is NaN or infinite",
            expected="finite numbers",
            remedy="remove or mend these values",
        )
    return x.flatten(1)


def box(lower: Tensor, upper: Tensor) -> Box:
    """All x with lower <= x <= upper, elementwise; shapes (B, *input shape), any dtype (kept).

    Exact. Raises `InputError` for other shapes, values that are not finite and a lower limit above an upper one.
    Source: definition.
    """
    lower, upper = _flat(lower, "lower limits"), _flat(upper, "upper limits")
    wrong = (lower > upper).nonzero()
    if len(wrong):
        b, i = (int(v) for v in wrong[0])
        raise InputError(
            f"region {b}, coordinate {i}",
            found=f"lower {float(lower[b, i])!r} above upper {float(upper[b, i])!r}",
            expected="lower <= upper",
            remedy="swap the limits, or drop the empty region",
        )
    return Box(low=lower, high=upper)


def ball(
    center: Tensor, radius: float | Tensor, norm: float, *, low: float | None = None, high: float | None = None
) -> Region:
    """All x with ||x - center||_norm <= radius, norm 1, 2 or inf, cut to [low, high] where given (an image range).

    For l-infinity the cut is exact; for l1 and l2 it makes an `Intersection`.
    `center` (B, *input shape), `radius` a number or (B,). Raises `InputError` for other shapes, values that are not
    finite, a radius below 0 and another norm. Source: definition.
    """
    points = _flat(center, "center")
    radii = torch.as_tensor(radius, dtype=points.dtype).expand(len(points)).clone()
    if not bool((radii >= 0).all()) or not bool(torch.isfinite(radii).all()):
        raise InputError(
            "radius", found=str(radius), expected="a finite number, 0 or larger", remedy="give a number in this range"
        )
    if norm not in (1, 2, float("inf")):
        raise InputError("norm", found=str(norm), expected="1, 2 or inf", remedy="give one of these")
    whole = Ball(center=points, radius=radii, norm=float(norm))
    if low is None and high is None:
        return box(whole.lower, whole.upper) if norm == float("inf") else whole
    cut_low = points.new_full(points.shape, -float("inf") if low is None else low)
    cut_high = points.new_full(points.shape, float("inf") if high is None else high)
    cut = box(torch.maximum(whole.lower, cut_low), torch.minimum(whole.upper, cut_high))
    if norm == float("inf"):
        return cut
    return Intersection(members=(whole, cut))


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Product of intervals; `low`, `high` (B, n)."""

    low: Tensor
    high: Tensor

    @property
    def lower(self) -> Tensor:
        return self.low

    @property
    def upper(self) -> Tensor:
        return self.high

    @property
    def magnitude(self) -> Tensor:
        return torch.maximum(self.low.abs(), self.high.abs())

    @property
    def is_box(self) -> bool:
        return True

    def minimum(self, functionals: Tensor) -> Tensor:
        center, radius = (self.low + self.high) / 2, (self.high - self.low) / 2
        near = (functionals @ center.unsqueeze(-1)).squeeze(-1)
        return near - (functionals.abs() @ radius.unsqueeze(-1)).squeeze(-1)

    def minimiser(self, functionals: Tensor) -> Tensor:
        return torch.where(functionals > 0, self.low.unsqueeze(1), self.high.unsqueeze(1))

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Uniform points, shape (B, count, n)."""
        shape = (len(self.low), count, self.low.shape[1])
        unit = torch.rand(shape, generator=generator, dtype=self.low.dtype)
        return self.low.unsqueeze(1) + unit * (self.high - self.low).unsqueeze(1)

    def select(self, index: Tensor) -> Box:
        return Box(low=self.low[index], high=self.high[index])

    def to(self, dtype: torch.dtype) -> Box:
        return Box(low=self.low.to(dtype), high=self.high.to(dtype))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ball:
    """||x - center||_norm <= radius; `center` (B, n), `radius` (B,)."""

    center: Tensor
    radius: Tensor
    norm: float

    @property
    def lower(self) -> Tensor:
        return self.center - self.radius.unsqueeze(1)

    @property
    def upper(self) -> Tensor:
        return self.center + self.radius.unsqueeze(1)

    @property
    def magnitude(self) -> Tensor:
        return self.center.abs() + self.radius.unsqueeze(1)

    @property
    def is_box(self) -> bool:
        return False

    @property
    def _dual(self) -> float:
        return {1.0: float("inf"), 2.0: 2.0}.get(self.norm, 1.0)

    def minimum(self, functionals: Tensor) -> Tensor:
        near = (functionals @ self.center.unsqueeze(-1)).squeeze(-1)
        return near - self.radius.unsqueeze(1) * functionals.norm(p=self._dual, dim=-1)

    def minimiser(self, functionals: Tensor) -> Tensor:
        if self.norm == float("inf"):
            step = functionals.sign()
        elif self.norm == 2:
            step = functionals / functionals.norm(dim=-1, keepdim=True).clamp(min=1e-300)
        else:
            top = functionals.abs().argmax(-1, keepdim=True)
            step = torch.zeros_like(functionals).scatter(-1, top, functionals.gather(-1, top).sign())
        return self.center.unsqueeze(1) - self.radius.reshape(-1, 1, 1) * step

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Points of the ball (uniform for l2), shape (B, count, n)."""
        batch, size = self.center.shape
        step = torch.randn(batch, count, size, generator=generator, dtype=self.center.dtype)
        length = torch.rand(batch, count, 1, generator=generator, dtype=self.center.dtype) ** (1 / size)
        step = step / step.norm(p=self.norm, dim=-1, keepdim=True).clamp(min=1e-300) * length
        return self.center.unsqueeze(1) + self.radius.reshape(-1, 1, 1) * step

    def select(self, index: Tensor) -> Ball:
        return Ball(center=self.center[index], radius=self.radius[index], norm=self.norm)

    def to(self, dtype: torch.dtype) -> Ball:
        return Ball(center=self.center.to(dtype), radius=self.radius.to(dtype), norm=self.norm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intersection:
    """Points that lie in every member. Minima are the largest of the members' (a lower bound on the true minimum)."""

    members: tuple[Region, ...]

    @property
    def lower(self) -> Tensor:
        return torch.stack([m.lower for m in self.members]).amax(0)

    @property
    def upper(self) -> Tensor:
        return torch.stack([m.upper for m in self.members]).amin(0)

    @property
    def magnitude(self) -> Tensor:
        return torch.stack([m.magnitude for m in self.members]).amax(0)

    @property
    def is_box(self) -> bool:
        return all(m.is_box for m in self.members)

    def minimum(self, functionals: Tensor) -> Tensor:
        return torch.stack([m.minimum(functionals) for m in self.members]).amax(0)

    def minimiser(self, functionals: Tensor) -> Tensor:
        """The first member's minimiser moved into the box around the intersection (a starting point, not exact).

        Source: ours.
        """
        point = self.members[0].minimiser(functionals)
        return torch.minimum(torch.maximum(point, self.lower.unsqueeze(1)), self.upper.unsqueeze(1))

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Points of the first member clipped to the common box, shape (B, count, n) (inside for balls cut by boxes)."""
        points = self.members[0].sample(count, generator)
        return torch.minimum(torch.maximum(points, self.lower.unsqueeze(1)), self.upper.unsqueeze(1))

    def select(self, index: Tensor) -> Intersection:
        return Intersection(members=tuple(m.select(index) for m in self.members))

    def to(self, dtype: torch.dtype) -> Intersection:
        return Intersection(members=tuple(m.to(dtype) for m in self.members))
