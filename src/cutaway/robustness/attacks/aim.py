"""A goal for some rows, asked of networks: what the attacks call."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cutaway.robustness.attacks.goals import Goal
from cutaway.robustness.attacks.losses import Loss, margin_loss
from cutaway.robustness.attacks.oracle import Oracle, of_rows, won


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Aim:
    """`goal` through `oracle` for rows with `labels` `(n,)` (or None), `targets` `(n,)` those of a target goal.

    `answers` are what is read of points: scores `(n, classes)` for class goals, members' scores `(K, n, classes)` for
    others. All values are `(n,)`, larger where the goal is nearer.
    """

    goal: Goal
    oracle: Oracle
    labels: Tensor | None
    targets: Tensor | None = None

    @property
    def of_classes(self) -> bool:
        return self.goal.of_classes

    def select(self, rows: Tensor) -> Aim:
        """The same for some of the rows."""
        return replace(self, labels=of_rows(self.labels, rows), targets=of_rows(self.targets, rows))

    def answers(self, points: Tensor) -> Tensor:
        """Without gradients. Cost: a forward pass a row and member."""
        return self.oracle.scores(points) if self.of_classes else self.oracle.members(points)

    def value_of(self, answers: Tensor, loss: Loss = margin_loss, steer: Tensor | None = None) -> Tensor:
        """What is ascended; for class goals `loss` towards `steer` (by default the targets)."""
        if not self.of_classes:
            return self.goal.value(answers, self.labels)
        assert self.labels is not None
        return loss(answers, self.labels, self.targets if steer is None else steer)

    def won_of(self, answers: Tensor) -> Tensor:
        """Where the goal is reached, bool."""
        if self.of_classes:
            assert self.labels is not None
            return won(answers, self.labels, self.targets)
        return self.reached(self.goal.value(answers, self.labels))

    def reached(self, values: Tensor) -> Tensor:
        """Where values (of the margin, for class goals) are above the goal's threshold."""
        threshold = self.goal.threshold
        return torch.zeros_like(values, dtype=torch.bool) if threshold is None else values > threshold

    def value(self, points: Tensor) -> Tensor:
        return self.value_of(self.answers(points))

    def won(self, points: Tensor) -> Tensor:
        return self.won_of(self.answers(points))

    def ascend(
        self, points: Tensor, loss: Loss = margin_loss, steer: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Values, their gradients like `points`, and where the goal is reached.

        Points are differentiated as they stand: no clamp lies between them and the network, since one would stop the
        gradient of every coordinate that it cuts. Cost: a forward and a backward pass a row and member.
        """
        ask = self.oracle.gradient if self.of_classes else self.oracle.gradient_of_members
        answers, gradient = ask(points, lambda found: self.value_of(found, loss, steer))
        return self.value_of(answers, loss, steer), gradient, self.won_of(answers)
