"""What a few distilled rows are worth: networks trained on them, on as many real rows, on class means, on all rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway import seeds as streams
from cutaway.kernels.distilled import moved_to, real_rows
from cutaway.network import Network
from cutaway.outputs.pruning_study import Trainer, rows_right
from cutaway.robustness.attacks.pgd import PGD

if TYPE_CHECKING:
    from torch import nn

    from cutaway.data import Dataset

DISTILLED, REAL, MEANS, EVERY = "distilled rows", "random real rows", "class means", "all rows"

Judge = Callable[["nn.Module", int], tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Taught:
    """Networks trained on rows of one kind: `right` (trainings,) the share of test rows right, `robust` (trainings,)
    the share right under attack, NaN where there was none."""

    kind: str
    right: NDArray[np.float64]
    robust: NDArray[np.float64]


def class_mean_rows(learn: Dataset, per_class: int, generator: torch.Generator) -> Dataset:
    """`per_class` rows for every class, each the mean of a random part of it; parts differ in size by one at most.

    Exact in the generator. Cost: one pass over the rows. Raises `InputError` as `real_rows`. Source: definition.
    """
    start = real_rows(learn, per_class, generator)
    assert learn.labels is not None and start.labels is not None
    rows = []
    for label in start.labels.unique():
        own = torch.nonzero(learn.labels == label).flatten()
        own = own[torch.randperm(len(own), generator=generator)]
        rows += [learn.inputs[part].double().mean(dim=0) for part in own.tensor_split(per_class)]
    return moved_to(start, torch.stack(rows))


def study_distilled(
    trainer: Trainer,
    made: Dataset,
    learn: Dataset,
    test: Dataset,
    *,
    draws: int = 20,
    num_seeds: int = 3,
    attack: PGD | None = None,
    seed: int = 0,
) -> dict[str, Taught]:
    """By kind of rows, networks that `trainer` makes of them, judged on `test`.

    `made`, the means of parts of each class, and all rows of `learn` are trained on from `num_seeds` starts, the same
    for each; `draws` sets of random real rows, as many of each class as `made` has, once each. With an `attack`, also
    judged under it. Estimates. Cost: `3 num_seeds + draws` trainings, and the attack on each. Raises `InputError` as
    `real_rows`. Source: the comparison with class means is ours; random real rows as in arXiv 2311.07025.
    """
    assert made.labels is not None
    per_class = int(made.labels.bincount().max())
    judge = _judge(test, attack, seed)
    starts = [streams.number(seed, "distilled", number) % 2**31 for number in range(num_seeds)]
    generator = streams.generator(seed, "class means")
    sets = {DISTILLED: made, MEANS: class_mean_rows(learn, per_class, generator), EVERY: learn}
    found = {kind: [judge(trainer(rows, s, False)[0], s) for s in starts] for kind, rows in sets.items()}
    chance = []
    for number in range(draws):
        drawn = streams.number(seed, "distilled", "draw", number) % 2**31
        rows = real_rows(learn, per_class, streams.generator(seed, "real rows", number))
        chance.append(judge(trainer(rows, drawn, False)[0], drawn))
    found[REAL] = chance
    return {kind: Taught(kind=kind, right=a[:, 0], robust=a[:, 1]) for kind, a in _arrays(found)}


def _arrays(found: dict[str, list[tuple[float, float]]]) -> list[tuple[str, NDArray[np.float64]]]:
    return [(kind, np.array(found[kind])) for kind in (DISTILLED, MEANS, REAL, EVERY)]


def _judge(test: Dataset, attack: PGD | None, seed: int) -> Judge:
    few = test if attack is None else test.take(min(len(test), 200), seed)

    def judged(model: nn.Module, number: int) -> tuple[float, float]:
        right = float(rows_right(model, test).double().mean())
        if attack is None:
            return right, float("nan")
        points = attack.attack(Network(model.eval(), few.inputs[:2], probe=False), few, seed=number)
        return right, 1.0 - float(points.success.double().mean())

    return judged
