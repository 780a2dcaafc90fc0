"""A kernel predictor as a module, and the attack that needs no trained network: search against the predictor."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.kernels.infinite import InfiniteNetwork
from cutaway.kernels.regression import solve
from cutaway.network import Network
from cutaway.robustness.attacks.aim import Aim
from cutaway.robustness.attacks.base import Attack
from cutaway.robustness.attacks.oracle import Oracle
from cutaway.robustness.attacks.pgd import PGD


class KernelPredictor(nn.Module):
    """x -> K(x, X) a + mean with the tangent kernel K of an infinitely wide network; differentiable in x.

    `infinite` says which network; `rows` X (n, ...); `coefficients` a (n, c); `mean` (c,), zeros where None. `floor` is
    what eigenvalues of K were raised to when a was found (0: none were; duplicated rows make it more).
    """

    def __init__(
        self,
        infinite: InfiniteNetwork,
        rows: torch.Tensor,
        coefficients: torch.Tensor,
        mean: torch.Tensor | None = None,
        *,
        floor: float = 0.0,
    ) -> None:
        super().__init__()
        self.infinite, self.floor = infinite, floor
        self.rows: torch.Tensor
        self.coefficients: torch.Tensor
        self.mean: torch.Tensor
        self.register_buffer("rows", rows.double())
        self.register_buffer("coefficients", coefficients.double())
        self.register_buffer("mean", torch.zeros(coefficients.shape[1]).double() if mean is None else mean.double())

    @classmethod
    def fit(
        cls, infinite: InfiniteNetwork, learn: Dataset, *, ridge: float = 1e-4, budget: int | None = None
    ) -> KernelPredictor:
        """The regression of the one-hot labels of `learn`, the mean taken off. `ridge` is added to K's diagonal as that
        share of its mean; `budget` as in `solve`. Cost: a kernel of `learn` with itself and its factorisation. Raises
        `InputError` for data without labels. Exact up to rounding. Source: definition."""
        if learn.labels is None:
            raise InputError(
                f"data {learn.name!r}",
                found="no labels",
                expected="labels to learn from",
                remedy="give labelled data",
            )
        classes = learn.num_classes or int(learn.labels.max()) + 1
        targets = torch.nn.functional.one_hot(learn.labels, classes).double()
        mean = targets.mean(dim=0)
        kernel = infinite.kernels(learn.inputs.double(), budget=budget)[1]
        found = solve(kernel, targets - mean, ridge=ridge * float(kernel.diagonal().mean()), budget=budget)
        return cls(infinite, learn.inputs, found.coefficients, mean, floor=found.floor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (m, ...) gives (m, c). Exact up to rounding. Source: definition."""
        return self.infinite.kernels(x.to(self.rows), self.rows)[1] @ self.coefficients + self.mean


@dataclass(frozen=True, kw_only=True)
class KernelAttack(Attack):
    """PGD against the kernel predictor of `learn` instead of the network: its points are then judged by the network
    (Tsilivis and Kempe 2022, section 3). No trained weights, no query of the network is used in the search.

    `infinite` : whose tangent kernel. `ridge` : as in `KernelPredictor.fit`. `steps` : 1 is the source's single step.
    Goals are classes. Cost: a kernel regression once, then `steps` kernels between the attacked rows and `learn` and
    their gradients, and a forward pass a row to judge. Its control is `Noise`.
    """

    learn: Dataset
    infinite: InfiniteNetwork = field(default_factory=InfiniteNetwork)
    ridge: float = 1e-4
    steps: int = 10
    stop_early: bool = False

    name: ClassVar[str] = "kernel"

    @cached_property
    def predictor(self) -> Network:
        """The predictor attacked, as a network."""
        model = KernelPredictor.fit(self.infinite, self.learn, ridge=self.ridge).eval()
        return Network(model, self.learn.inputs[:2], name="kernel predictor", probe=False)

    def _attack(self, aim, inputs, ball, generator):
        if not aim.of_classes:
            raise InputError(
                "attack 'kernel'",
                found=f"goal {aim.goal.name!r}",
                expected="a goal of classes: label or target",
                remedy="leave the goal out, or take pgd",
            )
        network = self.predictor
        instead = Aim(
            goal=aim.goal,
            oracle=Oracle(network=network, draws=1, noise=None, generator=generator),
            labels=aim.labels,
            targets=aim.targets,
        )
        search = PGD(radius=self.radius, norm=self.norm, steps=self.steps)
        return search._attack(instead, inputs, ball, generator)
