"""Rows moved by an attack or by noise, for measurements of features: the same whatever the size of a batch."""

from __future__ import annotations

import torch

from cutaway import seeds
from cutaway.data import Dataset
from cutaway.network import Network
from cutaway.robustness.attacks.aim import Aim
from cutaway.robustness.attacks.ball import PerturbationBall
from cutaway.robustness.attacks.goals import Label, TargetClass
from cutaway.robustness.attacks.losses import cross_entropy_loss
from cutaway.robustness.attacks.oracle import Oracle
from cutaway.robustness.attacks.units import warn_of_units


def attacked_rows(
    network: Network,
    data: Dataset,
    *,
    radius: float,
    steps: int,
    seed: int,
    batch_size: int,
    targets: torch.Tensor | None = None,
) -> torch.Tensor:
    """The last point of projected gradient ascent on the cross-entropy (with `targets` (n,): descent on theirs).

    linf, `radius` in data units, random starts (drawn for all rows before the first batch), step 2.5 radius / steps.
    (n, *input shape); a search, so an estimate. Cost: `steps` forward and backward passes a row. Source: Madry et al.,
    arXiv 1706.06083; unlike `PGD`, which keeps the point of the largest margin.
    """
    warn_of_units("attack on the features", radius, "inf", data)
    ball = PerturbationBall.of(radius, "inf", data, data.inputs)
    starts, found = ball.random(seeds.generator(seed, "features", "attack")), []
    for rows in torch.arange(len(data.inputs)).split(batch_size):
        place = network.place(data.inputs[rows])
        some = PerturbationBall.of(radius, "inf", data, place)
        labels, towards = (None if v is None else v[rows].to(place.device) for v in (data.labels, targets))
        goal = Label() if targets is None else TargetClass(classes=targets[rows])
        oracle = Oracle(network=network, draws=1, noise=None, generator=seeds.generator(seed), others=())
        aim, point = Aim(goal=goal, oracle=oracle, labels=labels, targets=towards), starts[rows].to(place)
        for _ in range(steps):
            _, gradient, _ = aim.ascend(point, cross_entropy_loss)
            point = some.project(point + some.step(gradient, 2.5 * radius / steps))
        some.checked_distance(point, "on the features")
        found.append(point.detach().cpu())
    return torch.cat(found)


def noised_rows(data: Dataset, *, radius: float, seed: int) -> torch.Tensor:
    """Every row with random signs times `radius` (data units) added, cut to the data's range; (n, *input shape)."""
    ball = PerturbationBall.of(radius, "inf", data, data.inputs)
    return ball.random_at_radius(seeds.generator(seed, "features", "noise"))
