"""What an attack may ask of a network: scores, gradients, Jacobian rows, averaged over random draws if there are any.

Expectation over transformation (Athalye et al., arXiv 1802.00420): a network that answers at random, or one shown noisy
inputs, is attacked through the mean of its scores over `draws` evaluations, and gradients are means over the draws.
Several networks are seen as one predictor, the mean of their probabilities; its scores are the logarithm of that mean.
Every answer counts its passes on the network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from cutaway.network import Network
from cutaway.network.gradient import gradient_of
from cutaway.robustness.attacks.goals import mean_log_probabilities


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Oracle:
    """`network` seen through the mean over `draws` evaluations at x + noise N(0, 1), `noise` in the inputs' units
    (a tensor that broadcasts over them, or None). `others`: more networks of the same predictor.
    """

    network: Network
    draws: int
    noise: torch.Tensor | None
    generator: torch.Generator
    others: tuple[Network, ...] = ()

    def scores(self, points: torch.Tensor) -> torch.Tensor:
        """Mean scores `(n, classes)` without gradients; of several networks log mean probabilities. Cost: `draws`
        forward passes a row and network."""
        if self.others:
            return mean_log_probabilities(self.members(points))
        with torch.no_grad():
            total = self.network.forward(self._shown(points))
            for _ in range(self.draws - 1):
                total = total + self.network.forward(self._shown(points))
            return total / self.draws

    def gradient(
        self, points: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean scores `(n, classes)` and the mean over draws of d loss(scores) / d points, `loss` giving `(n,)`.

        Several networks: of the log mean probabilities, all at once. Cost: `draws` forward and backward passes a row
        and network.
        """
        if self.others:
            members, gradient = self.gradient_of_members(points, lambda found: loss(mean_log_probabilities(found)))
            return mean_log_probabilities(members), gradient
        total, gradient = None, torch.zeros_like(points)
        for _ in range(self.draws):
            point = points.detach().requires_grad_(True)
            with torch.enable_grad():
                scores = self.network.forward(self._shown(point))
                part = gradient_of(loss(scores).sum(), point)
            self._count(len(points))
            gradient += part
            total = scores.detach() if total is None else total + scores.detach()
        assert total is not None
        return total / self.draws, gradient / self.draws

    def jacobian(self, points: torch.Tensor, classes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean scores `(n, c)` and gradients `(n, k, ...)` of the scores of `classes` `(n, k)`.

        Cost: `draws` forward and `k draws` backward passes a row and network.
        """
        if self.others:
            return self._joint_jacobian(points, classes)
        total, gradients = None, torch.zeros((len(points), classes.shape[1], *points.shape[1:])).to(points)
        for _ in range(self.draws):
            point = points.detach().requires_grad_(True)
            with torch.enable_grad():
                scores = self.network.forward(self._shown(point))
                chosen = scores.gather(1, classes).sum(dim=0)
            for k in range(classes.shape[1]):
                part = gradient_of(chosen[k], point, again=k + 1 < classes.shape[1])
                gradients[:, k] += part
            self._count(len(points) * classes.shape[1])
            total = scores.detach() if total is None else total + scores.detach()
        assert total is not None
        return total / self.draws, gradients / self.draws

    def members(self, points: torch.Tensor) -> torch.Tensor:
        """Scores `(networks x draws, n, classes)` without gradients."""
        with torch.no_grad():
            return self._members(points)

    def gradient_of_members(
        self, points: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores `(K, n, classes)` and d loss(scores) / d points, `loss` giving `(n,)` of all members together.

        Memory: the graphs of all members. Cost: K forward and backward passes a row.
        """
        point = points.detach().requires_grad_(True)
        with torch.enable_grad():
            members = self._members(point)
            gradient = gradient_of(loss(members).sum(), point)
        self._count(len(points) * self.draws)
        return members.detach(), gradient

    def _joint_jacobian(self, points: torch.Tensor, classes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        point = points.detach().requires_grad_(True)
        with torch.enable_grad():
            scores = mean_log_probabilities(self._members(point))
            chosen = scores.gather(1, classes).sum(dim=0)
        last = classes.shape[1] - 1
        gradients = [gradient_of(chosen[k], point, again=k < last) for k in range(last + 1)]
        self._count(len(points) * self.draws * classes.shape[1])
        return scores.detach(), torch.stack(gradients, dim=1)

    def _members(self, points: torch.Tensor) -> torch.Tensor:
        networks = (self.network, *self.others)
        return torch.stack([n.forward(self._shown(points)) for n in networks for _ in range(self.draws)])

    def _count(self, backward: int) -> None:
        for network in (self.network, *self.others):
            network.passes.count(backward=backward)

    def _shown(self, points: torch.Tensor) -> torch.Tensor:
        if self.noise is None:
            return points
        draw = torch.randn(points.shape, generator=self.generator, dtype=torch.float64).to(points)
        return points + draw * self.noise


def won(scores: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor | None) -> torch.Tensor:
    """Where the scores say something else than the label (or say the target), `(n,)` bool."""
    said = scores.argmax(dim=1)
    return said != labels if targets is None else said == targets


def of_rows(targets: torch.Tensor | None, rows: torch.Tensor) -> torch.Tensor | None:
    """The targets of some rows, where there are any."""
    return None if targets is None else targets[rows]
