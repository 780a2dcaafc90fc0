"""Rows that stand for many, by differentiating a training on them: a window of steps at a random place of it (RaT-BPTT,
Feng, Vedantam and Kempe, arXiv 2311.07025).

A network is begun anew, trained on the rows S for k steps of Adam without a graph and for M more with it; the loss of
the weights so reached on a batch of the data, as a function of S, is what S descends. k is drawn from 0 to T - M at
every step, so that S serves the whole of a training of T steps while only M are held in memory.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch

from cutaway import seeds
from cutaway.errors import InputError
from cutaway.kernels.distilled import Distilled, into_range, moved_to, real_rows
from cutaway.outputs.inner_training import InnerAdam, Make, inner_step, leaf_weights, loss_with

if TYPE_CHECKING:
    from cutaway.data import Dataset

Place = Literal["random", "last"]

MEMORY = 0.9
"""Of the running mean of gradient norms, twice which no step may exceed."""


def distil_unrolled(
    make: Make,
    learn: Dataset,
    *,
    per_class: int = 1,
    steps: int = 250,
    rate: float = 0.04,
    inner_steps: int = 20,
    window: int = 6,
    place: Place = "random",
    inner_rate: float = 0.01,
    batch_size: int = 500,
    seed: int = 0,
) -> Distilled:
    """`per_class` rows for each class of `learn`, from random real rows by `steps` steps of Adam through trainings of
    the networks `make(seed)`.

    rate : of Adam on the rows, in units of the inputs' standard deviation.
    inner_steps, window : T and M; a window of T is backpropagation through the whole training.
    place : where the window lies: `random`, or always the `last` M steps.
    inner_rate : of Adam on the networks. batch_size : rows of `learn` whose loss is descended.

    An estimate: one descent, another seed ends elsewhere. A gradient longer than twice the running mean of lengths is
    shortened to it. Rows stay in the data's range. Cost: `inner_steps` forward and backward passes of the rows and,
    over the window, their second derivatives, a step. Raises `InputError` for data without labels, a class with too few
    rows, numbers out of range, gradients that are not finite. Source: arXiv 2311.07025, algorithm 1 (k drawn anew at
    every step, as there; their released code draws it once an epoch).
    """
    _check(per_class, steps, inner_steps, window, rate, inner_rate, batch_size)
    generator = seeds.generator(seed, "distil", "unrolled")
    start = real_rows(learn, per_class, generator)
    model = make(seed).train()
    point = start.inputs.to(next(model.parameters())).clone().requires_grad_()
    assert start.labels is not None and learn.labels is not None
    labels, usual, losses = start.labels.to(point.device), math.nan, []
    optimiser = torch.optim.Adam([point], lr=rate * float(learn.inputs.double().std()))
    for step in range(steps):
        before = inner_steps - window
        if place == "random":
            before = int(torch.randint(before + 1, (1,), generator=generator))
        rows = torch.randint(len(learn), (min(batch_size, len(learn)),), generator=generator)
        model = make(seeds.number(seed, "distil", "network", step) % 2**31).train()
        weights, adam = leaf_weights(model), InnerAdam(inner_rate)
        for _ in range(before):
            weights = inner_step(model, weights, point.detach(), labels, adam, graph=False)
        adam.cut()
        for _ in range(window):
            weights = inner_step(model, weights, point, labels, adam, graph=True)
        loss = loss_with(model, weights, learn.inputs[rows].to(point), learn.labels[rows].to(point.device))
        (gradient,) = torch.autograd.grad(loss, point)
        length = float(gradient.norm())
        if not math.isfinite(length):
            raise InputError(
                "distillation through a training",
                found=f"a gradient of length {length} at step {step}",
                expected="finite gradients",
                remedy="lower inner_rate or the window",
            )
        usual = length if math.isnan(usual) else MEMORY * usual + (1 - MEMORY) * length
        point.grad = gradient * min(1.0, 2 * usual / max(length, 1e-30))
        optimiser.step()
        into_range(point, learn)
        losses.append(float(loss.detach()))
    return Distilled(data=moved_to(start, point), start=start, losses=tuple(losses))


def _check(
    per_class: int, steps: int, inner_steps: int, window: int, rate: float, inner_rate: float, batch_size: int
) -> None:
    fits = per_class >= 1 and steps >= 0 and batch_size >= 1 and 1 <= window <= inner_steps
    if not fits or not rate > 0 or not inner_rate > 0:
        raise InputError(
            "distillation through a training",
            found=f"per_class {per_class}, steps {steps}, inner_steps {inner_steps}, window {window}, rate {rate:g}, "
            f"inner_rate {inner_rate:g}, batch_size {batch_size}",
            expected="a row or more a class and a batch, a window of 1 to inner_steps, rates above 0",
            remedy="give such numbers",
        )
