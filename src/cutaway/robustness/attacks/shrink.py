"""Pulling an adversarial point back towards its input, and starts for attacks that begin far away."""

from __future__ import annotations

import torch

from cutaway.robustness.attacks.ball import PerturbationBall, rows_like
from cutaway.robustness.attacks.oracle import Oracle, of_rows, won


def shrink(
    oracle: Oracle,
    ball: PerturbationBall,
    points: torch.Tensor,
    labels: torch.Tensor,
    targets: torch.Tensor | None,
    *,
    bisections: int,
) -> torch.Tensor:
    """The smallest change found by halving between input and point, `points` `(n, ...)` all won.

    For l2 points on the segment, for linf the point's change cut to a cube of smaller size; each halving asks for the
    scores once. The result is won whenever the point is.
    """
    inside = torch.zeros(len(points), dtype=points.dtype, device=points.device)
    outside, best = torch.ones_like(inside), points
    size = ball.distance(points)
    for _ in range(bisections):
        middle = (inside + outside) / 2
        change = points - ball.center
        if ball.norm == "inf":
            most = rows_like(middle * size, points) * ball.unit
            change = torch.clamp(change, -most, most)
        else:
            change = change * rows_like(middle, points)
        trial = ball.center + change
        over = won(oracle.scores(trial), labels, targets)
        best = torch.where(rows_like(over, points), trial, best)
        inside, outside = torch.where(over, inside, middle), torch.where(over, middle, outside)
    return best


def far_starts(
    oracle: Oracle,
    ball: PerturbationBall,
    labels: torch.Tensor,
    targets: torch.Tensor | None,
    generator: torch.Generator,
    *,
    tries: int = 25,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Won points anywhere in the data's range, `(n, ...)`, and for which rows one was found `(n,)`.

    First the nearest other row of the batch that the network gives a fitting class, then uniform noise in the range
    (in twice the span of the batch where there is no range).
    """
    center = ball.center
    found, have = _nearest_other(oracle, ball, labels, targets)
    low = ball.low if ball.low is not None else center.amin(0, keepdim=True) * 2 - center.amax(0, keepdim=True)
    high = ball.high if ball.high is not None else center.amax(0, keepdim=True) * 2 - center.amin(0, keepdim=True)
    for _ in range(tries):
        rows = (~have).nonzero().squeeze(1)
        if len(rows) == 0:
            break
        unit = torch.rand(center.shape, generator=generator)[rows.cpu()].to(center)
        trial = (low + unit * (high - low)).expand_as(center[rows])
        over = won(oracle.scores(trial), labels[rows], of_rows(targets, rows))
        found[rows[over]], have[rows[over]] = trial[over], True
    return found, have


def _nearest_other(oracle, ball: PerturbationBall, labels, targets) -> tuple[torch.Tensor, torch.Tensor]:
    center = ball.center
    said = oracle.scores(center).argmax(dim=1)
    fits = said[None, :] != labels[:, None] if targets is None else said[None, :] == targets[:, None]
    flat = (center / ball.unit).flatten(1).double()
    distance = torch.cdist(flat, flat).masked_fill(~fits, torch.inf)
    near = distance.argmin(dim=1)
    return center[near].clone(), fits.any(dim=1)
