"""The set an attack may use: a ball round every input, cut with the data's range, and the geometry on it.

Two units occur: data units (those of `Dataset.value_range`, in which radii are given) and inputs' units (what the
network sees after normalisation); `unit` is how much one data unit is in the inputs' units, per channel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch

from cutaway.errors import ClaimError

if TYPE_CHECKING:
    from cutaway.data import Dataset

Norm = Literal["inf", "2", "1"]
_SLACK = 1e-4  # relative; float32 rounding of a point that lies on the sphere


@dataclass(frozen=True, kw_only=True, eq=False)
class PerturbationBall:
    """`center` `(n, ...)` the inputs; `radius` in the inputs' units (broadcasts over them), `data_radius` the same in
    data units; `low`, `high` the range in the inputs' units, None where there is none.
    """

    center: torch.Tensor
    radius: torch.Tensor
    low: torch.Tensor | None
    high: torch.Tensor | None
    norm: Norm
    data_radius: float
    unit: torch.Tensor

    @classmethod
    def of(cls, radius: float, norm: Norm, data: Dataset, inputs: torch.Tensor) -> PerturbationBall:
        """The ball of `radius` (data units) about every one of `inputs` (n, *input shape), cut to the data's range;
        exact. No pass. Source: definition."""
        bounds = data.bounds()
        low, high = (None, None) if bounds is None else (b.to(inputs) for b in bounds)
        unit = data.radius_in_inputs(1.0).to(inputs)
        return cls(center=inputs, radius=radius * unit, low=low, high=high, norm=norm, data_radius=radius, unit=unit)

    def select(self, rows: torch.Tensor) -> PerturbationBall:
        """The balls of some rows. `rows` (k,) numbers or (n,) booleans. Exact. Source: definition."""
        return replace(self, center=self.center[rows])

    def project(self, point: torch.Tensor) -> torch.Tensor:
        """The nearest allowed point (for l2: scaled into the ball, then cut to the range, which never leaves the
        ball).

        `point` and result (n, *input shape). Exact up to rounding for linf and for l2 without a range, an allowed point
        otherwise. Source: definition.
        """
        change = point - self.center
        if self.norm == "inf":
            change = torch.clamp(change, -self.radius, self.radius)
        else:
            size = rows_norm(change / self.unit, self.norm)
            change = change * rows_like((self.data_radius / size.clamp_min(1e-30)).clamp_max(1.0), change)
        return self.clip(self.center + change)

    def clip(self, point: torch.Tensor) -> torch.Tensor:
        """Cut to the data's range (the inputs themselves are allowed to stand outside it). (n, *input shape). Exact.

        Source: definition.
        """
        if self.low is None or self.high is None:
            return point
        return torch.maximum(
            torch.minimum(point, torch.maximum(self.high, self.center)), torch.minimum(self.low, self.center)
        )

    def step(self, direction: torch.Tensor, size: float | torch.Tensor) -> torch.Tensor:
        """A step of `size` (data units; a number or one a row) along the steepest ascent direction of the norm for a
        gradient `direction`.

        Exact up to rounding. Source: definition of steepest ascent (Madry et al. 2018).
        """
        if isinstance(size, torch.Tensor):
            size = rows_like(size.to(direction), direction)
        if self.norm == "inf":
            return size * self.unit * direction.sign()
        scaled = direction * self.unit
        return size * self.unit * scaled / rows_like(rows_norm(scaled, "2").clamp_min(1e-30), scaled)

    def random(self, generator: torch.Generator) -> torch.Tensor:
        """A random point: uniform in the cube for linf, uniform in the ball otherwise, cut to the range.

        (n, *input shape).
        """
        if self.norm == "inf":
            change = torch.rand(self.center.shape, generator=generator, dtype=torch.float32) * 2 - 1
            return self.clip(self.center + change.to(self.center) * self.radius)
        change = self.sphere(generator)
        dims = self.center[0].numel()
        shrink = torch.rand(len(self.center), generator=generator, dtype=torch.float32) ** (1.0 / dims)
        return self.clip(self.center + change * rows_like(shrink.to(self.center), change))

    def sphere(self, generator: torch.Generator) -> torch.Tensor:
        """A random change of exactly the radius: signs for linf, a uniform direction for l2 (before any cut).

        (n, *input shape).
        """
        noise = torch.randn(self.center.shape, generator=generator, dtype=torch.float32).to(self.center)
        if self.norm == "inf":
            return noise.sign() * self.radius
        return self.data_radius * self.unit * noise / rows_like(rows_norm(noise, "2"), noise)

    def random_at_radius(self, generator: torch.Generator) -> torch.Tensor:
        """A random point of the range at exactly the radius, as far as the range allows.

        linf: signs times the radius, cut. l2: for a random direction d the point cut(center + t d) with the t at which
        its distance is the radius; every round solves t^2 |free d|^2 + |cut part|^2 = radius^2 for the coordinates
        that are not cut yet, so t only grows and ends after finitely many rounds. Where all coordinates are cut first,
        the point stands in the corner of the range, nearer than the radius.
        (n, *input shape).
        """
        change = self.sphere(generator)
        if self.norm == "inf" or self.low is None or self.high is None:
            return self.clip(self.center + change)
        above = torch.maximum(self.high, self.center) - self.center
        below = torch.minimum(self.low, self.center) - self.center
        scale = torch.ones_like(rows_norm(change, "2"))
        for _ in range(change[0].numel()):
            moved = rows_like(scale, change) * change
            cut = (moved > above) | (moved < below)
            free = rows_norm(torch.where(cut, 0.0, change) / self.unit, "2")
            fixed = rows_norm(torch.where(cut, moved.clamp(below, above), 0.0) / self.unit, "2")
            wanted = (self.data_radius**2 - fixed.square()).clamp_min(0).sqrt() / free.clamp_min(1e-30)
            grows = (free > 0) & (wanted > scale * (1 + 1e-6))
            if not bool(grows.any()):
                break
            scale = torch.where(grows, wanted, scale)
        return self.clip(self.center + rows_like(scale, change) * change)

    def distance(self, point: torch.Tensor) -> torch.Tensor:
        """The norm of the change of every row, in data units.

        `point` (n, *input shape), result (n,). Exact up to rounding. Source: definition.
        """
        return rows_norm((point - self.center) / self.unit, self.norm)

    def checked_distance(self, point: torch.Tensor, name: str) -> torch.Tensor:
        """`distance`; raises `ClaimError` for a point outside the ball or the data's range, or one that is not
        finite.

        `point` (n, *input shape), result (n,). Exact up to rounding. Source: definition.
        """
        distance = self.distance(point)
        scale = max(float((self.center / self.unit).abs().max()), self.data_radius, 1e-12)
        if not bool(torch.isfinite(point).all()) or float(distance.max()) > self.data_radius + _SLACK * scale:
            raise ClaimError(
                f"attack {name!r}",
                found=f"a point at distance {float(distance.max()):.6g}",
                expected=f"at most {self.data_radius:g}",
                remedy="report this with the attack's settings: its point must stay within the radius",
            )
        outside = float(((point - self.clip(point)) / self.unit).abs().max())
        if outside > _SLACK * scale:
            raise ClaimError(
                f"attack {name!r}",
                found=f"a point {outside:.6g} outside the data's range",
                expected="points within the range",
                remedy="report this with the attack's settings: its point must stay within the range",
            )
        return distance.detach().cpu()


def rows_norm(change: torch.Tensor, norm: str) -> torch.Tensor:
    """Norm of every row of `(n, ...)`, shape `(n,)`."""
    order = {"inf": float("inf"), "2": 2.0, "1": 1.0}[norm]
    return torch.linalg.vector_norm(change.flatten(1), ord=order, dim=1)


def rows_like(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`(n,)` reshaped to broadcast over the rows of `like`."""
    return values.reshape(-1, *([1] * (like.dim() - 1)))
