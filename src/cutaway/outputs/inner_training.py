"""A training that can itself be differentiated: steps of Adam and of plain descent as functions of weights and rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from cutaway.network.gradient import trainable
from cutaway.network.outputs import first_tensor

Weights = dict[str, torch.Tensor]
Make = Callable[[int], nn.Module]
"""A network anew from a seed."""

BETAS, TINY = (0.9, 0.999), 1e-8


def leaf_weights(model: nn.Module, *, dtype: torch.dtype | None = None) -> Weights:
    """Copies of the weights that `model` trains, each a leaf that asks for gradients."""
    named = {name: p.detach().to(dtype or p.dtype).clone() for name, p in model.named_parameters() if p.requires_grad}
    return {name: p.requires_grad_() for name, p in named.items()}


def loss_with(model: nn.Module, weights: Weights, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of `model` with these weights, its own buffers and in training mode where it is in it."""
    return trainable(functional.cross_entropy(first_tensor(functional_call(model, weights, (inputs,))), labels))


@dataclass(slots=True)
class InnerAdam:
    """Adam with bias correction, whose step is differentiable: p - rate m / sqrt(v + eps), eps inside the root, so that
    a gradient of exactly 0 has a derivative. `cut` forgets where its state came from and keeps its values."""

    rate: float
    steps: int = 0
    first: Weights = field(default_factory=dict)
    second: Weights = field(default_factory=dict)

    def step(self, weights: Weights, gradients: tuple[torch.Tensor, ...]) -> Weights:
        self.steps += 1
        moved = {}
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
            first, second = self.first.get(name, 0.0 * gradient), self.second.get(name, 0.0 * gradient)
            first = BETAS[0] * first + (1 - BETAS[0]) * gradient
            second = BETAS[1] * second + (1 - BETAS[1]) * gradient.square()
            self.first[name], self.second[name] = first, second
            mean, square = first / (1 - BETAS[0] ** self.steps), second / (1 - BETAS[1] ** self.steps)
            moved[name] = weight - self.rate * mean / (square + TINY**2).sqrt()
        return moved

    def cut(self) -> None:
        for kept in (self.first, self.second):
            kept.update({name: value.detach() for name, value in kept.items()})


def inner_step(
    model: nn.Module, weights: Weights, inputs: torch.Tensor, labels: torch.Tensor, adam: InnerAdam, *, graph: bool
) -> Weights:
    """One step of Adam on all these rows; with `graph`, weights that know how they hang on `inputs` and the weights
    before. Exact up to rounding. Cost: a forward and a backward pass of the rows."""
    gradients = torch.autograd.grad(
        loss_with(model, weights, inputs, labels), list(weights.values()), create_graph=graph
    )
    moved = adam.step(weights, gradients)
    return moved if graph else {name: weight.detach().requires_grad_() for name, weight in moved.items()}
