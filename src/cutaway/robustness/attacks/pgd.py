"""Projected gradient descent (Madry et al., arXiv 1706.06083), the fast gradient sign method (Goodfellow et al., arXiv
1412.6572), and their control, random noise of the same radius."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from cutaway.errors import InputError
from cutaway.robustness.attacks.base import Attack
from cutaway.robustness.attacks.losses import ATTACK_LOSSES, Loss


@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """`steps` ascent steps x <- P(x + s(grad v(x))) on the goal's value v from a random start, P the projection to ball
    and range, s the steepest step; for the label v is the margin max_{k != y} f_k - f_y.

    `step_size` is in data units; by default 2.5 radius / steps. The best point over all steps is kept (the paper
    keeps the last), so more steps never hurt. With targets, f_target - max_{k != target} f_k is ascended. `restarts`
    random starts are tried. By default the search goes on in rows that are won (`stop_early` is off), so that the
    points are as wrong as the steps allow. Cost: `restarts x steps` forward and backward passes a sample.
    """

    stop_early: bool = False
    steps: int = 20
    step_size: float | None = None
    restarts: int = 1

    name: ClassVar[str] = "pgd"

    def _attack(self, aim, inputs, ball, generator):
        best, best_value = inputs.clone(), aim.value(inputs)
        for _ in range(self.restarts):
            start = ball.random(generator)
            rows = (~aim.reached(best_value)).nonzero().squeeze(1) if self.stop_early else torch.arange(len(inputs))
            if len(rows) == 0:
                break
            self._climb(aim, start, rows.to(inputs.device), ball, best, best_value)
        return best

    def _climb(self, aim, start, rows, ball, best, best_value) -> None:
        """One restart on some rows; writes what is better into `best` and `best_value`."""
        size = self.step_size if self.step_size is not None else 2.5 * self.radius / max(self.steps, 1)
        point = start[rows]
        for step in range(self.steps + 1):
            some, here = ball.select(rows), aim.select(rows)
            if step == self.steps:
                value, gradient = here.value(point), None
            else:
                value, gradient, _ = here.ascend(point)
            better = value > best_value[rows]
            best[rows[better]], best_value[rows[better]] = point[better], value[better]
            if gradient is None:
                break
            point = some.project(point + some.step(gradient, size))
            if self.stop_early:
                open_ = ~aim.reached(best_value[rows])
                rows, point = rows[open_], point[open_]
                if len(rows) == 0:
                    break


@dataclass(frozen=True, kw_only=True)
class FGSM(Attack):
    """One step of the whole radius along the gradient: x + radius sign(grad L) for linf, x + radius grad L / |grad L|
    for l2, cut to the range.

    L is the cross-entropy, as published; `loss` may be "margin" or "dlr" as well; a goal that is no class has L of its
    own. Cost: two forward and one backward
    pass a sample.
    """

    loss: str = "cross-entropy"

    name: ClassVar[str] = "fgsm"

    def _attack(self, aim, inputs, ball, generator):
        _, gradient, _ = aim.ascend(inputs, loss_named(self.loss))
        return ball.project(inputs + ball.step(gradient, self.radius))


@dataclass(frozen=True, kw_only=True)
class Noise(Attack):
    """Random changes of exactly the radius (signs for linf, directions for l2): what an attack must beat to be one.

    What the data's range cuts off an l2 change is made up for in its other coordinates; only a row whose drawn
    direction ends in a corner of the range before the radius stays nearer (so does a linf one with every sign cut).
    One draw a sample, not searched, so its success is the error rate under noise.
    """

    name: ClassVar[str] = "noise"
    searches: ClassVar[bool] = False

    def _attack(self, aim, inputs, ball, generator):
        return ball.random_at_radius(generator)


def loss_named(name: str) -> Loss:
    """A loss by name; raises `InputError`."""
    if name not in ATTACK_LOSSES:
        raise InputError(
            "loss of an attack",
            found=repr(name),
            expected=" or ".join(map(repr, ATTACK_LOSSES)),
            remedy="give one of these",
        )
    return ATTACK_LOSSES[name]
