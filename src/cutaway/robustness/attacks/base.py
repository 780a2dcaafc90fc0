"""The base of all attacks: it hands a subclass what it needs and re-checks every claim that comes back.

A point counts as adversarial only after it was classified again by the network and its distance from the input and
from the data's range measured again.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from cutaway import seeds
from cutaway.errors import InputError
from cutaway.network import Network
from cutaway.robustness.attacks.aim import Aim
from cutaway.robustness.attacks.ball import Norm, PerturbationBall
from cutaway.robustness.attacks.goals import Goal, Label, TargetClass, mean_log_probabilities
from cutaway.robustness.attacks.oracle import Oracle
from cutaway.robustness.attacks.units import warn_of_units

if TYPE_CHECKING:
    from cutaway.data import Dataset

ROWS_ATTACKED = 32
"""Rows that an instrument attacks at once: starts are drawn batch by batch, so only too small a budget changes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversarial:
    """What an attack gave, row by row.

    `inputs` `(n, ...)` the attacked points, in the units of the data set's inputs; `predictions` `(n,)` what the
    network says of them; `success` `(n,)` whether that differs from the label (or equals the target), for other goals
    whether the value is above the limit, or above that of the input where there is no limit; `distance` `(n,)` the norm
    of the change in data units; `value` `(n,)` the goal's value there, for classes the margin.
    """

    inputs: torch.Tensor
    predictions: torch.Tensor
    success: torch.Tensor
    distance: torch.Tensor
    value: torch.Tensor


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
        network: Network | Sequence[Network],
        data: Dataset,
        *,
        seed: int = 0,
        targets: torch.Tensor | None = None,
        goal: Goal | None = None,
        batch_size: int = 256,
    ) -> Adversarial:
        """Attack every row of `data` with a goal (see `goals`): by default any class but the label; `targets` `(n,)` is
        short for `TargetClass(classes=targets)`.

        `network`: one, or several that answer together by the mean of their probabilities. A falsification is a fact; a
        failure to find one proves nothing. Warns (`CutawayWarning`) of a radius that the data's range makes
        implausible. Raises `InputError` for data without labels (where the goal needs them), inputs that are no real
        numbers, targets outside the classes, a goal that the attack or the networks cannot serve, or a radius that is
        not a finite number >= 0, `ClaimError` if the method left the ball or the data's range.
        The share of rows that stand is an upper bound of robust accuracy. Cost: the attack's passes for every row, told
        in `Adversarial`. Source: that of the attack; the check of every claim is ours.
        """
        networks = (network,) if isinstance(network, Network) else tuple(network)
        if goal is None:
            goal = Label() if targets is None else TargetClass(classes=targets)
        elif targets is not None:
            raise InputError(
                f"attack {self.name!r}",
                found="a goal and targets",
                expected="one of them",
                remedy="leave one of the two out",
            )
        aimed = goal.of_rows(len(data)) if isinstance(goal, TargetClass) else None
        self._check(networks, data, goal, aimed)
        found: list[tuple[torch.Tensor, ...]] = []
        for start in range(0, len(data.inputs), batch_size):
            rows = slice(start, start + batch_size)
            inputs = networks[0].place(data.inputs[rows])
            ball = PerturbationBall.of(self.radius, self.norm, data, inputs)
            generator = seeds.generator(seed, "attack", self.name, start)
            noise = self.noise * ball.unit if self.noise else None
            oracle = Oracle(
                network=networks[0], draws=self.draws, noise=noise, generator=generator, others=networks[1:]
            )
            labels, towards = (None if v is None else v[rows].to(inputs.device) for v in (data.labels, aimed))
            aim = Aim(goal=goal, oracle=oracle, labels=labels, targets=towards)
            point = self._attacked(aim, inputs, ball, generator)
            found.append((point.cpu(), *_judged(aim, inputs, point), ball.checked_distance(point, self.name)))
        inputs, said, success, value, distance = (torch.cat(parts) for parts in zip(*found))
        return Adversarial(inputs=inputs, predictions=said, success=success, distance=distance, value=value)

    def _attacked(
        self, aim: Aim, inputs: torch.Tensor, ball: PerturbationBall, generator: torch.Generator
    ) -> torch.Tensor:
        """`_attack` on the rows that are not won as they stand (on all without `stop_early`)."""
        if not (self.searches and self.stop_early):
            return self._attack(aim, inputs, ball, generator).detach()
        rows = (~aim.won(inputs)).nonzero().squeeze(1)
        point = inputs.clone()
        if len(rows):
            point[rows] = self._attack(aim.select(rows), inputs[rows], ball.select(rows), generator).detach()
        return point

    def _check(self, networks: Sequence[Network], data: Dataset, goal: Goal, targets: torch.Tensor | None) -> None:
        what = f"attack {self.name!r}"
        if not networks or len({n.output_shape for n in networks}) > 1:
            shapes = ", ".join(str(n.output_shape) for n in networks) or "no network"
            raise InputError(
                what,
                found=f"outputs {shapes}",
                expected="networks with the same classes",
                remedy="attack networks of the same task together",
            )
        if goal.needs_labels and data.labels is None:
            raise InputError(
                what, found=f"data {data.name!r} without labels", expected="labels", remedy="give labelled data"
            )
        if not data.inputs.is_floating_point():
            raise InputError(
                what,
                found=f"data {data.name!r} of tokens",
                expected="inputs that are real numbers",
                remedy="attack a network that reads numbers, or its embedding",
            )
        if not math.isfinite(self.radius) or self.radius < 0:
            raise InputError(
                "attack radius",
                found=str(self.radius),
                expected="a finite number >= 0",
                remedy="give a number in this range",
            )
        if self.norm not in self.norms:
            raise InputError(
                what, found=f"norm {self.norm!r}", expected=f"one of {self.norms}", remedy="give one of these norms"
            )
        if self.draws < 1 or not (math.isfinite(self.noise) and self.noise >= 0):
            raise InputError(
                what,
                found=f"draws {self.draws}, noise {self.noise}",
                expected="at least one draw and noise >= 0",
                remedy="give such numbers",
            )
        if self.minimal and goal.threshold is None:
            raise InputError(
                f"goal {goal.name!r} of {what}",
                found="no limit",
                expected="one: this attack looks for the smallest change that reaches the goal",
                remedy="give limit=..., or take an attack of a fixed size such as pgd",
            )
        if len(networks) * self.draws < goal.members:
            raise InputError(
                f"goal {goal.name!r} of {what}",
                found="one network, asked once",
                expected=f"{goal.members} members, since one cannot disagree with itself",
                remedy="give a list of networks, or draws of a random one",
            )
        if targets is not None:
            _check_targets(what, targets, data)
        if not self.minimal:
            warn_of_units(what, self.radius, self.norm, data)

    @abstractmethod
    def _attack(
        self, aim: Aim, inputs: torch.Tensor, ball: PerturbationBall, generator: torch.Generator
    ) -> torch.Tensor:
        """Points within `ball` that serve `aim`; use `ball.project`, outside of what is differentiated. Ask the
        networks through `aim` only."""


def _judged(aim: Aim, inputs: torch.Tensor, point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What is said of the points, where the goal is reached, and its value."""
    answers = aim.answers(point)
    value = aim.value_of(answers)
    said = (answers if aim.of_classes else mean_log_probabilities(answers)).argmax(dim=1)
    success = value > aim.value(inputs) if aim.goal.threshold is None else aim.won_of(answers)
    return said.cpu(), success.cpu(), value.cpu()


def _check_targets(what: str, targets: torch.Tensor, data: Dataset) -> None:
    if tuple(targets.shape) != (len(data),):
        raise InputError(
            f"targets of {what}",
            found=f"shape {tuple(targets.shape)}",
            expected=f"({len(data)},), one a row",
            remedy="give one target a row",
        )
    classes = data.num_classes or 0
    bad = (targets < 0) | (targets >= classes)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise InputError(
            f"targets of {what}, row {row}",
            found=str(int(targets[row])),
            expected=f"0 to {classes - 1}",
            remedy="give class numbers of this network",
        )
