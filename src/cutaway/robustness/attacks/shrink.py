"""Pulling an adversarial point back towards its input, and starts for attacks that begin far away."""

from __future__ import annotations

import torch

from cutaway.robustness.attacks.aim import Aim
from cutaway.robustness.attacks.ball import PerturbationBall, rows_like


def halve_changes(aim: Aim, ball: PerturbationBall, points: torch.Tensor, *, bisections: int) -> torch.Tensor:
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
        over = aim.won(trial)
        best = torch.where(rows_like(over, points), trial, best)
        inside, outside = torch.where(over, inside, middle), torch.where(over, middle, outside)
    return best


def far_starts(
    aim: Aim, ball: PerturbationBall, generator: torch.Generator, *, tries: int = 25
) -> tuple[torch.Tensor, torch.Tensor]:
    """Won points anywhere in the data's range, `(n, ...)`, and for which rows one was found `(n,)`.

    First the nearest other row of the batch that is won itself (for classes: that is given a fitting one), then uniform
    noise in the range (in twice the span of the batch where there is no range).
    """
    center = ball.center
    found, have = _nearest_other(aim, ball)
    low = ball.low if ball.low is not None else center.amin(0, keepdim=True) * 2 - center.amax(0, keepdim=True)
    high = ball.high if ball.high is not None else center.amax(0, keepdim=True) * 2 - center.amin(0, keepdim=True)
    for _ in range(tries):
        rows = (~have).nonzero().squeeze(1)
        if len(rows) == 0:
            break
        unit = torch.rand(center.shape, generator=generator, dtype=torch.float32)[rows.cpu()].to(center)
        trial = (low + unit * (high - low)).expand_as(center[rows])
        over = aim.select(rows).won(trial)
        found[rows[over]], have[rows[over]] = trial[over], True
    return found, have


def _nearest_other(aim: Aim, ball: PerturbationBall) -> tuple[torch.Tensor, torch.Tensor]:
    center = ball.center
    fits = _fitting(aim, center)
    flat = (center / ball.unit).flatten(1).double()
    distance = torch.cdist(flat, flat).masked_fill(~fits, torch.inf)
    near = distance.argmin(dim=1)
    found, have = center[near].clone(), fits.any(dim=1)
    return found, have if aim.of_classes else have & aim.won(found)  # a loss may read the row's own label


def _fitting(aim: Aim, center: torch.Tensor) -> torch.Tensor:
    """Which rows (columns) are won for which (rows), `(n, n)`."""
    if not aim.of_classes:
        return aim.won(center)[None, :].expand(len(center), -1)
    said = aim.answers(center).argmax(dim=1)
    assert aim.labels is not None
    return said[None, :] != aim.labels[:, None] if aim.targets is None else said[None, :] == aim.targets[:, None]
