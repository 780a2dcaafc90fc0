"""DeepFool (Moosavi-Dezfooli, Fawzi and Frossard, arXiv 1511.04599): the nearest boundary of the linearised network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from cutaway.robustness.attacks.aim import Aim
from cutaway.robustness.attacks.ball import Norm, PerturbationBall
from cutaway.robustness.attacks.base import Attack
from cutaway.robustness.attacks.shrink import halve_changes


@dataclass(frozen=True, kw_only=True)
class DeepFool(Attack):
    """A small change that crosses the decision boundary; `radius` is only a cap on its size.

    With c the class the network says, f_k its scores, g_k = grad(f_k - f_c) and the dual norm q, the step goes to the
    nearest of the linearised boundaries, l = argmin_k |f_k - f_c| / ||g_k||_q: by (f_c - f_l) g_l / ||g_l||_2^2 for
    l2, by (f_c - f_l) sign(g_l) / ||g_l||_1 for linf, until the row is won or `steps` are done; l runs over the
    `candidates` classes with the highest scores besides c, with targets over the target alone; a goal v that is no
    class has the one boundary v = limit, with gap limit - v and slope grad v. On a network that is
    linear without a range the first step is the exact smallest change. We differ: coordinates that stand at the end of
    the data's range and would leave it are left out of the step; `overshoot` (relative) is added to every step; the
    point is pulled back towards the input by `bisections` halvings at the end, so that the overshoot does not count;
    a row's smallest change is what is reported, cut to the ball when it is larger than the radius (then usually no
    success). Cost: `steps` forward and candidates + 1 times as many backward passes, and `bisections` forward passes.
    """

    norm: Norm = "2"
    steps: int = 50
    candidates: int = 9
    overshoot: float = 0.02
    bisections: int = 12

    name: ClassVar[str] = "deepfool"
    minimal: ClassVar[bool] = True

    def _attack(self, aim, inputs, ball, generator):
        point, rows = inputs.clone(), torch.arange(len(inputs), device=inputs.device)
        reached = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
        for _ in range(self.steps):
            here = aim.select(rows)
            answers = here.answers(point[rows])
            over = here.won_of(answers)
            reached[rows[over]] = True
            rows = rows[~over]
            if len(rows) == 0:
                break
            gaps, slopes = self._boundaries(aim.select(rows), point[rows], answers[..., ~over, :])
            point[rows] = self._step(point[rows], gaps, slopes, ball.select(rows))
        else:
            reached[rows] = aim.select(rows).won(point[rows])
        done = reached.nonzero().squeeze(1)
        if len(done):
            point[done] = halve_changes(aim.select(done), ball.select(done), point[done], bisections=self.bisections)
        return ball.project(point)

    def _boundaries(self, aim: Aim, point, answers):
        """How far off `(n, k)` the boundaries are in value, and the slopes `(n, k, ...)` towards them."""
        if not aim.of_classes:
            value, gradient, _ = aim.ascend(point)
            assert aim.goal.threshold is not None
            return (aim.goal.threshold - value)[:, None], gradient.unsqueeze(1)
        said = answers.argmax(dim=1)
        rivals = self._rivals(answers, aim.targets)
        scores, gradients = aim.oracle.jacobian(point, torch.cat([said[:, None], rivals], dim=1))
        return scores.gather(1, said[:, None]) - scores.gather(1, rivals), gradients[:, 1:] - gradients[:, :1]

    def _rivals(self, scores, targets):
        if targets is not None:
            return targets[:, None]
        count = min(self.candidates + 1, scores.shape[1])
        return scores.topk(count, dim=1).indices[:, 1:]

    def _step(self, point, gaps, slopes, ball: PerturbationBall):
        slopes = slopes * ball.unit
        free = _free(point.unsqueeze(1), slopes, ball)
        slopes = (slopes * free).flatten(2)
        dual = slopes.norm(p=1 if self.norm == "inf" else 2, dim=2).clamp_min(1e-30)
        nearest = (gaps / dual).argmin(dim=1)
        index = torch.arange(len(point), device=point.device)
        slope, size = slopes[index, nearest], (gaps / dual)[index, nearest]
        size = (1 + self.overshoot) * size.clamp(min=1e-6 * max(self.radius, 1e-12), max=10 * max(self.radius, 1e-12))
        direction = slope.sign() if self.norm == "inf" else slope / dual[index, nearest][:, None]
        change = (size[:, None] * direction).reshape(point.shape)
        return ball.clip(point + change * ball.unit)


def _free(point, slopes, ball: PerturbationBall):
    """1 where a step along `slopes` `(n, k, ...)` stays in the data's range, else 0."""
    if ball.low is None or ball.high is None:
        return torch.ones_like(slopes)
    stuck = ((point >= ball.high) & (slopes > 0)) | ((point <= ball.low) & (slopes < 0))
    return (~stuck).to(slopes)
