"""The base of all attacks: it hands a subclass what it needs and re-checks every claim that comes back.

A point counts as adversarial only after it was classified again by the network and its distance from the input
measured again.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from cutaway.errors import ClaimError, InputError
from cutaway.network import Network

if TYPE_CHECKING:
    from cutaway.data import Dataset

Norm = Literal["inf", "2", "1"]
_SLACK = 1e-4  # relative; float32 rounding of a point that lies on the sphere


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversarial:
    """What an attack gave, row by row.

    `inputs` `(n, ...)` the attacked points, in the units of the data set's inputs; `predictions` `(n,)` what the
    network says of them; `success` `(n,)` whether that differs from the label (or equals the target); `distance`
    `(n,)` the norm of the change in data units.
    """

    inputs: torch.Tensor
    predictions: torch.Tensor
    success: torch.Tensor
    distance: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """A search for inputs within `radius` (in the data's units, see `Dataset.units`) that the network gets wrong."""

    radius: float
    norm: Norm = "inf"

    name: ClassVar[str]
    norms: ClassVar[tuple[str, ...]] = ("inf", "2")

    def attack(
        self,
        network: Network,
        data: Dataset,
        *,
        seed: int = 0,
        targets: torch.Tensor | None = None,
        batch: int = 256,
    ) -> Adversarial:
        """Attack every row of `data`; with `targets` `(n,)`, success means reaching the target.

        A falsification is a fact; a failure to find one proves nothing. Raises `InputError` for data without labels
        or a radius that is not a positive number, `ClaimError` if the method left the ball or the data's range.
        """
        if data.labels is None:
            raise InputError(f"attack {self.name!r}", found=f"data {data.name!r} without labels", expected="labels")
        if not math.isfinite(self.radius) or self.radius < 0:
            raise InputError("attack radius", found=str(self.radius), expected="a finite number >= 0")
        if self.norm not in self.norms:
            raise InputError(f"attack {self.name!r}", found=f"norm {self.norm!r}", expected=f"one of {self.norms}")
        found, predictions, distances = [], [], []
        for start in range(0, len(data.inputs), batch):
            rows = slice(start, start + batch)
            inputs = network.place(data.inputs[rows])
            labels = data.labels[rows].to(inputs.device)
            goal = None if targets is None else targets[rows].to(inputs.device)
            ball = Ball.of(self, data, inputs)
            generator = torch.Generator().manual_seed(seed * 1_000_003 + start)
            point = self._attack(network, inputs, labels, goal, ball, generator).detach()
            distances.append(ball.checked_distance(point, self.name))
            with torch.no_grad():
                predictions.append(network.forward(point).argmax(dim=1).cpu())
            found.append(point.cpu())
        predicted = torch.cat(predictions)
        wanted = data.labels.cpu() if targets is None else targets.cpu()
        success = predicted != wanted if targets is None else predicted == wanted
        return Adversarial(
            inputs=torch.cat(found), predictions=predicted, success=success, distance=torch.cat(distances)
        )

    @abstractmethod
    def _attack(
        self,
        network: Network,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        targets: torch.Tensor | None,
        ball: Ball,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Points within `ball`; use `ball.project`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ball:
    """The allowed set of a batch: the ball of a radius round the inputs, cut with the data's range, in the inputs'
    units."""

    center: torch.Tensor
    radius: torch.Tensor
    low: torch.Tensor | None
    high: torch.Tensor | None
    norm: Norm
    data_radius: float

    @classmethod
    def of(cls, attack: Attack, data: Dataset, inputs: torch.Tensor) -> Ball:
        bounds = data.bounds()
        low, high = (None, None) if bounds is None else (b.to(inputs) for b in bounds)
        radius = data.radius_in_inputs(attack.radius).to(inputs)
        return cls(center=inputs, radius=radius, low=low, high=high, norm=attack.norm, data_radius=attack.radius)

    def project(self, point: torch.Tensor) -> torch.Tensor:
        """The nearest allowed point (for l2: scaled into the ball, then cut to the range, which never leaves the
        ball)."""
        change = point - self.center
        if self.norm == "inf":
            change = torch.clamp(change, -self.radius, self.radius)
        else:
            size = rows_norm(change / self._unit(), self.norm)
            change = change * _rows_like((self.data_radius / size.clamp_min(1e-30)).clamp_max(1.0), change)
        return self.clip(self.center + change)

    def clip(self, point: torch.Tensor) -> torch.Tensor:
        """Cut to the data's range (the inputs themselves are allowed to stand outside it)."""
        if self.low is None or self.high is None:
            return point
        return torch.maximum(
            torch.minimum(point, torch.maximum(self.high, self.center)), torch.minimum(self.low, self.center)
        )

    def step(self, direction: torch.Tensor, size: float) -> torch.Tensor:
        """A step of `size` (data units) along the steepest ascent direction of the norm for a gradient `direction`."""
        if self.norm == "inf":
            return size * self._unit() * direction.sign()
        scaled = direction * self._unit()
        return size * self._unit() * scaled / _rows_like(rows_norm(scaled, "2").clamp_min(1e-30), scaled)

    def random(self, generator: torch.Generator) -> torch.Tensor:
        """A random point: uniform in the cube for linf, uniform in the ball otherwise, cut to the range."""
        if self.norm == "inf":
            change = torch.rand(self.center.shape, generator=generator) * 2 - 1
            return self.clip(self.center + change.to(self.center) * self.radius)
        change = self.sphere(generator)
        dims = self.center[0].numel()
        shrink = torch.rand(len(self.center), generator=generator) ** (1.0 / dims)
        return self.clip(self.center + change * _rows_like(shrink.to(self.center), change))

    def sphere(self, generator: torch.Generator) -> torch.Tensor:
        """A random change of exactly the radius: signs for linf, a uniform direction for l2 (before any cut)."""
        noise = torch.randn(self.center.shape, generator=generator).to(self.center)
        if self.norm == "inf":
            return noise.sign() * self.radius
        return self.data_radius * self._unit() * noise / _rows_like(rows_norm(noise, "2"), noise)

    def distance(self, point: torch.Tensor) -> torch.Tensor:
        """The norm of the change of every row, in data units."""
        return rows_norm((point - self.center) / self._unit(), self.norm)

    def checked_distance(self, point: torch.Tensor, name: str) -> torch.Tensor:
        distance = self.distance(point)
        scale = max(float(self.center.abs().max()), self.data_radius, 1e-12)
        if not bool(torch.isfinite(point).all()) or float(distance.max()) > self.data_radius + _SLACK * scale:
            raise ClaimError(
                f"attack {name!r}",
                found=f"a point at distance {float(distance.max()):.6g}",
                expected=f"at most {self.data_radius:g}",
            )
        return distance.detach().cpu()

    def _unit(self) -> torch.Tensor | float:
        """How much one data unit is in the inputs' units, per channel."""
        return self.radius / self.data_radius if self.data_radius else 1.0


def rows_norm(change: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Norm of every row of `(n, ...)`, shape `(n,)`."""
    order = {"inf": float("inf"), "2": 2.0, "1": 1.0}[norm]
    return torch.linalg.vector_norm(change.flatten(1), ord=order, dim=1)


def _rows_like(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return values.reshape(-1, *([1] * (like.dim() - 1)))
