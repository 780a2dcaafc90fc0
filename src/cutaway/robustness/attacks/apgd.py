"""Auto-PGD (Croce and Hein, arXiv 2003.01690): momentum and step sizes that set themselves; see `ascent`."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch

from cutaway.errors import InputError
from cutaway.robustness.attacks.aim import Aim
from cutaway.robustness.attacks.ascent import climb
from cutaway.robustness.attacks.ball import PerturbationBall
from cutaway.robustness.attacks.base import Attack
from cutaway.robustness.attacks.losses import ATTACK_LOSSES, Loss, margin_loss
from cutaway.robustness.attacks.oracle import of_rows
from cutaway.robustness.attacks.pgd import loss_named

TARGETED = "targeted-dlr"
BOTH = "both"


@dataclass(frozen=True, kw_only=True)
class APGD(Attack):
    """`steps` steps of Auto-PGD from a random start, first step size 2 radius, `restarts` starts.

    `loss`: "cross-entropy", "dlr", "margin"; "both" (default): cross-entropy for the first half of the steps, then dlr
    from a new random start for the rest, since each fails where the other works (dlr is weaker on many plainly trained
    networks, cross-entropy where large scores make its gradients vanish); or "targeted-dlr": the targeted ratio
    towards each of the `num_targets` wrong classes with the highest scores in turn, for attacks without targets of
    their own. A goal that is no class is ascended as it is, in all steps. Every start begins with the rows that are not
    won. A won point is kept before any that is not, then the one of larger loss (of larger margin for "both"). We
    differ from the paper: its loss is one of the first two, and
    gradients of DLR with fewer classes than it needs are the margin's. Cost: restarts x (steps + 1) forward and
    backward passes a row, for "both" restarts x (steps + 2) and 2 more forward passes, times `num_targets` for
    "targeted-dlr".
    """

    steps: int = 50
    restarts: int = 1
    loss: str = BOTH
    num_targets: int = 9

    name: ClassVar[str] = "apgd"

    def _attack(self, aim, inputs, ball, generator):
        if self.steps < 1 or self.restarts < 1:
            raise InputError(
                "attack 'apgd'",
                found=f"steps {self.steps}, restarts {self.restarts}",
                expected=">= 1",
                remedy="give whole numbers of at least 1",
            )
        best = inputs.clone()
        value = torch.full((len(inputs),), -torch.inf, dtype=inputs.dtype, device=inputs.device)
        is_won = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
        ways, parts = self._ways(aim, inputs), self._parts(aim)
        for _ in range(self.restarts):
            for way, (loss, steps) in itertools.product(ways, parts):
                start = ball.random(generator)
                rows = (~is_won).nonzero().squeeze(1) if self.stop_early else torch.arange(len(inputs))
                if len(rows) == 0:
                    return best
                here = aim.select(rows)
                ground = _Slope(aim=here, ball=ball.select(rows), loss=loss, steer=of_rows(way, rows))
                found = climb(ground, start[rows], size=2 * self.radius, steps=steps, stop_early=self.stop_early)
                new = found.values.to(value)
                if self.loss == BOTH and aim.of_classes:  # values of two losses do not compare
                    new = here.value(found.points).to(value)
                better = ~is_won[rows] & found.won | (found.won == is_won[rows]) & (new > value[rows])
                where = rows[better]
                best[where], value[where], is_won[where] = found.points[better], new[better], found.won[better]
        return best

    def _parts(self, aim: Aim) -> list[tuple[Loss, int]]:
        """Losses with their steps, one after another; a goal that is no class reads none."""
        if not aim.of_classes:
            return [(margin_loss, self.steps)]
        if self.loss != BOTH:
            return [(ATTACK_LOSSES["dlr"] if self.loss == TARGETED else loss_named(self.loss), self.steps)]
        first = (self.steps + 1) // 2
        halves = [(ATTACK_LOSSES["cross-entropy"], first), (ATTACK_LOSSES["dlr"], self.steps - first)]
        return [(loss, steps) for loss, steps in halves if steps]

    def _ways(self, aim: Aim, inputs) -> list[torch.Tensor | None]:
        """Which classes to steer towards, one after another: the goal's targets, none, or the best wrong classes."""
        if aim.targets is not None or not aim.of_classes or self.loss != TARGETED:
            return [aim.targets]
        assert aim.labels is not None
        scores = aim.answers(inputs).scatter(1, aim.labels[:, None], -torch.inf)
        order = scores.argsort(dim=1, descending=True)[:, : min(self.num_targets, scores.shape[1] - 1)]
        return list(order.T)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Slope:
    """The ground that APGD climbs: a goal's value over a ball, for class goals by a loss towards `steer` classes."""

    aim: Aim
    ball: PerturbationBall
    loss: Loss
    steer: torch.Tensor | None

    def evaluate(self, points, rows):
        return self.aim.select(rows).ascend(points, self.loss, of_rows(self.steer, rows))

    def step(self, points, gradient, size, rows):
        ball = self.ball.select(rows)
        return ball.project(points + ball.step(gradient, size))

    def project(self, points, rows):
        return self.ball.select(rows).project(points)
