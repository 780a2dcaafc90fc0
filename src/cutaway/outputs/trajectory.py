"""Rows that stand for many, by having a network that trains on them go where networks go that train on the data
(trajectory matching, Cazenavette et al., arXiv 2203.11932), and decide by themselves how far along to look (Galaxy,
arXiv 2311.17967).

With w*_0 ... w*_E an expert's weights after each epoch of the data and w_N those of a student that starts at w*_t and
takes N steps of descent on the rows S,

    L_t(S) = |w_N - w*_(t+1)|^2 / |w*_t - w*_(t+1)|^2,

and S descends L_t for t drawn from 0 to e. L_(e+1), on which S is not trained, is watched: where it falls, what is
learned carries over and e rises by one; where it tells nothing for long, the rate of S is lowered, and at last it ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from cutaway import seeds
from cutaway.errors import InputError
from cutaway.evidence.trend import trend_stop
from cutaway.kernels.distilled import Distilled, into_range, moved_to, real_rows
from cutaway.outputs.inner_training import Make, Weights, leaf_weights, loss_with

if TYPE_CHECKING:
    from cutaway.data import Dataset

LOWER, LOWERINGS = 0.8, 3
"""Factor on the rate where the watched loss tells nothing, and how often before it ends."""
LOOK = 60
"""Steps between two looks at the watched loss, and its values that one looks at."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matched(Distilled):
    """What trajectory matching made: as `Distilled`, with `epochs` (steps,) the epoch e up to which each step drew and
    `student_rate` the learned rate of the student."""

    epochs: tuple[int, ...]
    student_rate: float


def distil_trajectory(
    make: Make,
    learn: Dataset,
    *,
    per_class: int = 1,
    steps: int = 600,
    rate: float = 0.04,
    student_steps: int = 10,
    experts: int = 5,
    epochs: int = 5,
    expert_rate: float = 0.1,
    batch_size: int = 64,
    seed: int = 0,
) -> Matched:
    """`per_class` rows for each class of `learn`, from random real rows by up to `steps` steps of Adam on L_t.

    rate : of Adam on the rows, in units of the inputs' standard deviation.
    student_steps : N; the student's rate is learned with the rows.
    experts, epochs : networks `make(seed)` trained on the data by descent at `expert_rate` with batches of
    `batch_size`, and for how long.

    An estimate: one descent, another seed ends elsewhere. Rows stay in the data's range. Cost: `experts * epochs`
    passes over the data; `student_steps` passes of the rows with second derivatives, and as many without, a step.
    Raises `InputError` for data without labels, a class with too few rows, numbers out of range. Source: arXiv
    2203.11932 for L_t; arXiv 2311.17967 for the watch on the epoch not yet trained, with our `trend_stop` for its test
    and a look every 60 steps.
    """
    _check(per_class, steps, rate, student_steps, experts, epochs, expert_rate, batch_size)
    generator = seeds.generator(seed, "distil", "trajectory")
    start = real_rows(learn, per_class, generator)
    starts = [seeds.number(seed, "expert", k) for k in range(experts)]
    paths = [_expert(make, learn, epochs, expert_rate, batch_size, generator, start) for start in starts]
    model = make(seed).train()
    point = start.inputs.to(next(model.parameters())).clone().requires_grad_()
    pace = torch.tensor(expert_rate).log().to(point).requires_grad_()
    assert start.labels is not None
    labels, own = start.labels.to(point.device), rate * float(learn.inputs.double().std())
    optimiser = torch.optim.Adam([{"params": [point], "lr": own}, {"params": [pace], "lr": 0.02}])

    def missed(epoch: int, graph: bool) -> torch.Tensor:
        path = paths[int(torch.randint(experts, (1,), generator=generator))]
        weights = {name: w.detach().requires_grad_() for name, w in path[epoch].items()}
        for _ in range(student_steps):
            gradients = torch.autograd.grad(
                loss_with(model, weights, point, labels), list(weights.values()), create_graph=graph
            )
            moved = zip(weights.items(), gradients, strict=True)
            weights = {name: w - pace.exp() * g for (name, w), g in moved}
            if not graph:
                weights = {name: w.detach().requires_grad_() for name, w in weights.items()}
        return _square(weights, path[epoch + 1]) / _square(path[epoch], path[epoch + 1])

    reached, lowered, losses, watched, drawn = 0, 0, [], [], []
    for _ in range(steps):
        loss = missed(int(torch.randint(reached + 1, (1,), generator=generator)), True)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        into_range(point, learn)
        losses.append(float(loss.detach()))
        drawn.append(reached)
        watched.append(float(missed(reached + 1, False).detach()))
        if len(watched) < LOOK:
            continue
        if trend_stop(watched, share=0.5, least=LOOK // 2) == "falling" and reached + 2 < epochs:
            reached += 1
        else:
            lowered += 1
            optimiser.param_groups[0]["lr"] *= LOWER
        if lowered > LOWERINGS:
            break
        watched = []
    return Matched(
        data=moved_to(start, point),
        start=start,
        losses=tuple(losses),
        epochs=tuple(drawn),
        student_rate=float(pace.detach().exp()),
    )


def _expert(
    make: Make,
    learn: Dataset,
    epochs: int,
    rate: float,
    batch_size: int,
    generator: torch.Generator,
    seed: int,
) -> list[Weights]:
    """Weights at the start and after every epoch of descent on the data."""
    assert learn.labels is not None
    model = make(seeds.number(seed, "distil", "expert") % 2**31).train()
    weights = leaf_weights(model)
    first = next(iter(weights.values()))
    inputs, labels = learn.inputs.to(first), learn.labels.to(first.device)
    path = [weights]
    for _ in range(epochs):
        for rows in torch.randperm(len(learn), generator=generator).split(batch_size):
            loss = loss_with(model, weights, inputs[rows], labels[rows])
            gradients = torch.autograd.grad(loss, list(weights.values()))
            moved = zip(weights.items(), gradients, strict=True)
            weights = {name: (w - rate * g).detach().requires_grad_() for (name, w), g in moved}
        path.append(weights)
    return path


def _square(one: Weights, other: Weights) -> torch.Tensor:
    return torch.stack([(w - other[name].detach()).square().sum() for name, w in one.items()]).sum()


def _check(
    per_class: int,
    steps: int,
    rate: float,
    student_steps: int,
    experts: int,
    epochs: int,
    expert_rate: float,
    batch_size: int,
) -> None:
    fits = per_class >= 1 and steps >= 0 and student_steps >= 1 and experts >= 1 and epochs >= 2 and batch_size >= 1
    if not fits or not rate > 0 or not expert_rate > 0:
        raise InputError(
            "trajectory matching",
            found=f"per_class {per_class}, steps {steps}, rate {rate:g}, student_steps {student_steps}, experts "
            f"{experts}, epochs {epochs}, expert_rate {expert_rate:g}, batch_size {batch_size}",
            expected="a row or more a class and a batch, steps of at least 0, an expert and a step of the student or "
            "more, two epochs or more, rates above 0",
            remedy="give such numbers",
        )
