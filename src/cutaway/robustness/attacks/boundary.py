"""The boundary attack (Brendel, Rauber and Bethge, arXiv 1712.04248): a random walk along the decision boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from cutaway.robustness.attacks.aim import Aim
from cutaway.robustness.attacks.ball import Norm, PerturbationBall, rows_like, rows_norm
from cutaway.robustness.attacks.base import Attack
from cutaway.robustness.attacks.shrink import far_starts, halve_changes


@dataclass(frozen=True, kw_only=True)
class Boundary(Attack):
    """A small l2 change found from decisions alone, whether the goal is reached (for classes: which one is said);
    `radius` is only a cap.

    Start: a won point far away (see `far_starts`), pulled to the boundary by bisection. With d the distance to the
    input, every step draws a Gaussian direction orthogonal to the way to the input, moves by `spherical` d along it,
    back onto the sphere of radius d, then by `forward` d towards the input; the step is taken if the point is still
    won and nearer. Both sizes follow their success: every 10 steps the spherical one grows by 1.5 where more than half
    of its trials (asked every fifth step) were won and shrinks by it where less than a fifth were, the other likewise
    by its own share. `stop_early` leaves a row once it is within the radius. We differ in the batch of one direction
    a row and step, in the start and in the final bisection. A row without a won start fails. Cost: about 1.2 steps +
    50 forward passes a row.
    """

    norm: Norm = "2"
    steps: int = 1000
    spherical: float = 0.05
    forward: float = 0.05
    stop_early: bool = False

    name: ClassVar[str] = "boundary"
    norms: ClassVar[tuple[str, ...]] = ("2",)
    minimal: ClassVar[bool] = True

    def _attack(self, aim, inputs, ball, generator):
        point, have = far_starts(aim, ball, generator)
        rows = have.nonzero().squeeze(1)
        if len(rows) == 0:
            return inputs.clone()
        point[~have] = inputs[~have]
        here = aim.select(rows)
        point[rows] = halve_changes(here, ball.select(rows), point[rows], bisections=16)
        walk = _Walk(self, aim, ball, point, rows)
        for step in range(1, self.steps + 1):
            walk.move(generator, ask_sphere=step % 5 == 0)
            if step % 10 == 0:
                walk.resize()
                if self.stop_early:
                    walk.leave(self.radius)
            if len(walk.rows) == 0:
                break
        point[rows] = halve_changes(here, ball.select(rows), point[rows], bisections=8)
        return ball.project(point)


class _Walk:
    """The walk of the rows that are still going; `point` is written in place."""

    def __init__(self, settings: Boundary, aim: Aim, ball: PerturbationBall, point, rows) -> None:
        self.aim, self.ball, self.point, self.rows = aim, ball, point, rows
        self.sizes = {
            "spherical": torch.full((len(point),), settings.spherical, dtype=point.dtype, device=point.device),
            "forward": torch.full((len(point),), settings.forward, dtype=point.dtype, device=point.device),
        }
        self.won = {k: torch.zeros_like(v) for k, v in self.sizes.items()}
        self.asked = {k: torch.zeros_like(v) for k, v in self.sizes.items()}

    def move(self, generator: torch.Generator, *, ask_sphere: bool) -> None:
        rows, ball = self.rows, self.ball.select(self.rows)
        here = self.point[rows]
        change = (here - ball.center) / ball.unit
        distance = rows_norm(change, "2").clamp_min(1e-30)
        noise = torch.randn(self.point.shape, generator=generator, dtype=torch.float32)[rows.cpu()].to(here)
        along = (noise * change).flatten(1).sum(1) / distance**2
        noise = noise - rows_like(along, here) * change
        length = self.sizes["spherical"][rows] * distance / rows_norm(noise, "2").clamp_min(1e-30)
        moved = change + rows_like(length, here) * noise
        moved = moved * rows_like(distance / rows_norm(moved, "2").clamp_min(1e-30), here)
        if ask_sphere:
            self._count("spherical", self._is_won(ball.clip(ball.center + moved * ball.unit)))
        trial = ball.clip(ball.center + moved * rows_like(1 - self.sizes["forward"][rows], here) * ball.unit)
        over = self._is_won(trial)
        self._count("forward", over)
        take = over & (ball.distance(trial) < distance)
        self.point[rows[take]] = trial[take]

    def resize(self) -> None:
        """Grow what succeeds too often, shrink what fails too often."""
        for name, most in (("spherical", 0.5), ("forward", 0.25)):
            share = self.won[name] / self.asked[name].clamp_min(1)
            grow, less = share > most, share < most / 2.5
            size = torch.where(
                grow, self.sizes[name] * 1.5, torch.where(less, self.sizes[name] / 1.5, self.sizes[name])
            )
            self.sizes[name] = size.clamp(1e-6, 0.5)
            self.won[name].zero_()
            self.asked[name].zero_()

    def leave(self, radius: float) -> None:
        """Leave the rows that are within the radius."""
        self.rows = self.rows[self.ball.select(self.rows).distance(self.point[self.rows]) > radius]

    def _is_won(self, points):
        return self.aim.select(self.rows).won(points)

    def _count(self, name: str, over) -> None:
        self.won[name][self.rows] += over.to(self.won[name])
        self.asked[name][self.rows] += 1
