"""Projected gradient descent (Madry et al., arXiv 1706.06083) and its control, random noise of the same radius."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from cutaway.robustness.attacks.base import Attack


@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """`steps` ascent steps on the margin loss max_{k != y} f_k - f_y from a random start, projected to the ball after
    each.

    `step_size` is in data units; by default 2.5 radius / steps. The best point over all steps is kept (the paper
    keeps the last), so more steps never hurt. With targets, f_target - max_{k != target} f_k is ascended. `restarts`
    random starts are tried. Cost: `restarts x steps` forward and backward passes a sample.
    """

    steps: int = 20
    step_size: float | None = None
    restarts: int = 1

    name: ClassVar[str] = "pgd"

    def _attack(self, network, inputs, labels, targets, ball, generator):
        size = self.step_size if self.step_size is not None else 2.5 * self.radius / max(self.steps, 1)
        best, best_loss = inputs.clone(), margin_loss(network.forward(inputs), labels, targets).detach()
        for _ in range(self.restarts):
            point = ball.random(generator)
            for step in range(self.steps + 1):
                point = point.detach().requires_grad_(True)
                with torch.enable_grad():
                    loss = margin_loss(network.forward(point), labels, targets)
                    better = loss.detach() > best_loss
                    best[better], best_loss[better] = point.detach()[better], loss.detach()[better]
                    if step == self.steps:
                        break
                    (gradient,) = torch.autograd.grad(loss.sum(), point)
                network.backward_passes += len(point)
                point = ball.project(point.detach() + ball.step(gradient, size))
        return best


@dataclass(frozen=True, kw_only=True)
class Noise(Attack):
    """Random changes of exactly the radius (signs for linf, directions for l2): what an attack must beat to be one.

    One draw a sample, not searched, so its success is the error rate under noise.
    """

    name: ClassVar[str] = "noise"

    def _attack(self, network, inputs, labels, targets, ball, generator):
        return ball.clip(inputs + ball.sphere(generator))


def margin_loss(scores: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
    """Largest wrong score minus the right one, per row; above 0 exactly where the row is misclassified.

    With targets: the target's score minus the largest other.
    """
    wanted = labels if targets is None else targets
    own = scores.gather(1, wanted[:, None]).squeeze(1)
    others = scores.scatter(1, wanted[:, None], float("-inf")).amax(dim=1)
    return others - own if targets is None else own - others
