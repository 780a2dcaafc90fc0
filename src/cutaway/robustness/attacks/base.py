"""The base of all attacks: it hands a subclass what it needs and re-checks every claim that comes back.

A point counts as adversarial only after it was classified again by the network and its distance from the input and
from the data's range measured again.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from cutaway import seeds
from cutaway.errors import InputError
from cutaway.network import Network
from cutaway.robustness.attacks.ball import Norm, PerturbationBall
from cutaway.robustness.attacks.oracle import Oracle, of_rows, won
from cutaway.robustness.attacks.units import warn_of_units

if TYPE_CHECKING:
    from cutaway.data import Dataset


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
    """A search for inputs within `radius` (in the data's units, see `Dataset.units`) that the network gets wrong.

    `stop_early`: a row is left alone once it is won, which costs no successes; without it the search goes on for
    points that are lost by more. `draws` and `noise`: the network is taken as the mean of its scores over `draws`
    evaluations at x + N(0, noise^2) (`noise` in data units, 0 for a network that is random itself), gradients
    averaged likewise and the result judged likewise; see `oracle`.
    """

    radius: float
    norm: Norm = "inf"
    stop_early: bool = True
    draws: int = 1
    noise: float = 0.0

    name: ClassVar[str]
    norms: ClassVar[tuple[str, ...]] = ("inf", "2")
    searches: ClassVar[bool] = True
    minimal: ClassVar[bool] = False  # looks for the smallest change; the radius is only a cap

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

        A falsification is a fact; a failure to find one proves nothing. Warns (`CutawayWarning`) of a radius that the
        data's range makes implausible. Raises `InputError` for data without labels, inputs that are no real numbers,
        targets outside the classes or a radius that is not a finite number >= 0, `ClaimError` if the method left the
        ball or the data's range.
        """
        self._check(data, targets)
        found, predictions, distances = [], [], []
        for start in range(0, len(data.inputs), batch):
            rows = slice(start, start + batch)
            inputs = network.place(data.inputs[rows])
            assert data.labels is not None
            labels = data.labels[rows].to(inputs.device)
            goal = None if targets is None else targets[rows].to(inputs.device)
            ball = PerturbationBall.of(self.radius, self.norm, data, inputs)
            generator = seeds.generator(seed, "attack", self.name, start)
            noise = self.noise * ball.unit if self.noise else None
            oracle = Oracle(network=network, draws=self.draws, noise=noise, generator=generator)
            point = self._attacked(oracle, inputs, labels, goal, ball, generator)
            distances.append(ball.checked_distance(point, self.name))
            predictions.append(oracle.scores(point).argmax(dim=1).cpu())
            found.append(point.cpu())
        predicted = torch.cat(predictions)
        assert data.labels is not None
        success = predicted != data.labels.cpu() if targets is None else predicted == targets.cpu()
        return Adversarial(
            inputs=torch.cat(found), predictions=predicted, success=success, distance=torch.cat(distances)
        )

    def _attacked(self, oracle, inputs, labels, targets, ball, generator) -> torch.Tensor:
        """`_attack` on the rows that are not won as they stand (on all without `stop_early`)."""
        if not (self.searches and self.stop_early):
            return self._attack(oracle, inputs, labels, targets, ball, generator).detach()
        rows = (~won(oracle.scores(inputs), labels, targets)).nonzero().squeeze(1)
        point = inputs.clone()
        if len(rows):
            goal = of_rows(targets, rows)
            point[rows] = self._attack(oracle, inputs[rows], labels[rows], goal, ball.select(rows), generator).detach()
        return point

    def _check(self, data: Dataset, targets: torch.Tensor | None) -> None:
        what = f"attack {self.name!r}"
        if data.labels is None:
            raise InputError(what, found=f"data {data.name!r} without labels", expected="labels")
        if not data.inputs.is_floating_point():
            raise InputError(what, found=f"data {data.name!r} of tokens", expected="inputs that are real numbers")
        if not math.isfinite(self.radius) or self.radius < 0:
            raise InputError("attack radius", found=str(self.radius), expected="a finite number >= 0")
        if self.norm not in self.norms:
            raise InputError(what, found=f"norm {self.norm!r}", expected=f"one of {self.norms}")
        if self.draws < 1 or not (math.isfinite(self.noise) and self.noise >= 0):
            raise InputError(
                what, found=f"draws {self.draws}, noise {self.noise}", expected="at least one draw and noise >= 0"
            )
        if targets is not None:
            _check_targets(what, targets, data)
        if not self.minimal:
            warn_of_units(what, self.radius, self.norm, data)

    @abstractmethod
    def _attack(
        self,
        oracle: Oracle,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        targets: torch.Tensor | None,
        ball: PerturbationBall,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Points within `ball`; use `ball.project`. Ask the network through `oracle` only."""


def _check_targets(what: str, targets: torch.Tensor, data: Dataset) -> None:
    if tuple(targets.shape) != (len(data),):
        raise InputError(
            f"targets of {what}", found=f"shape {tuple(targets.shape)}", expected=f"({len(data)},), one a row"
        )
    classes = data.num_classes or 0
    bad = (targets < 0) | (targets >= classes)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise InputError(f"targets of {what}, row {row}", found=str(int(targets[row])), expected=f"0 to {classes - 1}")
