"""Training until labels are learned, whatever they are: what a network of this shape can do by memory alone."""

from __future__ import annotations

import math

import torch

from cutaway.errors import InputError
from cutaway.network import Network
from cutaway.network.calculus import Parameters, cross_entropy, gradient
from cutaway.network.gradient import derivatives

STEPS = 6000  # at most
PACE = 0.04  # of the weights' root mean square at the start: a step of Adam
LEAST = 1e-8  # losses below it are rounding of float32
_LOOK = 10  # steps between two looks at the loss
_MEANS, _EPSILON = (0.9, 0.999), 1e-12


def fit_of(parameters: Parameters, inputs: torch.Tensor, labels: torch.Tensor, budget: int | None) -> tuple[float, int]:
    """Mean cross-entropy and the number of rows that are not classified rightly.

    `inputs` (n, ...), `labels` (n,) class numbers; a single output is the logit of class 1. Exact up to rounding. Cost:
    a forward pass a row. Raises `BudgetError` where a row does not fit. Source: definition.
    """
    total, wrong = 0.0, 0
    with torch.no_grad():
        for rows, part in parameters.rows(inputs, budget):
            outputs, wanted = parameters.outputs(parameters.theta, part), labels[rows].to(part.device)
            said = outputs.argmax(dim=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).long()
            total += float(cross_entropy(outputs, wanted).sum())
            wrong += int((said != wanted).sum())
    return total / len(inputs), wrong


def memorise(
    network: Network,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    *,
    goal: float,
    all_right: bool = True,
    steps: int = STEPS,
    budget: int | None = None,
) -> tuple[float, int]:
    """Train `network` in place on all rows at once until its mean cross-entropy is `goal` or less, with `all_right`
    also every row right, or `steps` are over; returns loss and rows not right at the end.

    `inputs` (n, ...), `labels` (n,) class numbers. Adam, with gradients of length 1 (so that steps do not die with the
    loss) and steps of `PACE` times the root mean square of the weights at the start. In the network's type, evaluation
    mode and `budget` bytes; nothing random. Cost: one forward and one backward pass a row and step. Raises `InputError`
    for a loss that is not finite, `BudgetError` where a row does not fit. Source: Kingma and Ba 2015 for Adam.
    """
    parameters = Parameters(network)
    first = second = torch.zeros_like(parameters.theta)
    pace = PACE * float(parameters.theta.square().mean().sqrt())
    loss, wrong = fit_of(parameters, inputs, labels, budget)
    for step in range(1, steps + 1):
        slope = gradient(parameters, inputs, labels, budget=budget)
        slope = slope / slope.norm().clamp(min=torch.finfo(slope.dtype).tiny)
        first = _MEANS[0] * first + (1 - _MEANS[0]) * slope
        second = _MEANS[1] * second + (1 - _MEANS[1]) * slope.square()
        move = first / (1 - _MEANS[0] ** step) / ((second / (1 - _MEANS[1] ** step)).sqrt() + _EPSILON)
        parameters = parameters.at(parameters.theta - pace * move)
        if step % _LOOK and step < steps:
            continue
        loss, wrong = fit_of(parameters, inputs, labels, budget)
        if not math.isfinite(loss):
            raise _no_loss(network, loss)
        if loss <= max(goal, LEAST) and not (all_right and wrong):
            break
    with derivatives(), torch.no_grad():
        for name, value in parameters.split(parameters.theta).items():
            network.model.get_parameter(name).copy_(value)
    return loss, wrong


def _no_loss(network: Network, loss: float) -> InputError:
    return InputError(
        f"network {network.name!r} trained on labels in random order",
        found=f"a loss of {loss}",
        expected="a finite one",
        remedy="look for inputs that are very large or not finite",
    )
