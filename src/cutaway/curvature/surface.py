"""A loss as a function of the parameters, with its Hessian H and Gauss-Newton part G as operators on blocks of vectors.

Everything in this room reads one of these. H is the Hessian almost everywhere: what curvature sits in the kinks of a
ReLU is missing. The mean is over the rows given and over no others, so that |H|_F of few rows is not that of many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from cutaway.arrays import Array
from cutaway.engines.budget import chunk_size
from cutaway.errors import InputError
from cutaway.network import Network
from cutaway.network.calculus import (
    Loss,
    Parameters,
    cross_entropy,
    gauss_newton_products,
    gradient,
    hessian_products,
    squared_error,
)
from cutaway.network.network import DEFAULT_BUDGET

LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy, "squared-error": squared_error}
"""Losses by name, as instrument and command line take them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """L(theta) = (1/n) sum_i loss(f(x_i; theta), y_i) around `parameters.theta`, in the parameters' type.

    inputs : (n, ...), rows of the mean.
    labels : what `loss` compares the outputs with: class numbers (n,) or targets (n, c).
    loss : row by row, (n,).
    budget : bytes that the work may take.
    """

    parameters: Parameters
    inputs: torch.Tensor
    labels: torch.Tensor
    loss: Loss = cross_entropy
    budget: int | None = None

    @classmethod
    def of(
        cls,
        network: Network,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        *,
        loss: str = "cross-entropy",
        budget: int | None = None,
    ) -> Surface:
        """The surface of a classifier in float64 (a tiny curvature is rounding in float32).

        labels : (n,) class numbers; squared error is against their one-hot rows. A single output is the logit of class
            1 against class 0, and its squared error is against the class number.
        Raises `InputError` for an unknown loss or a class beyond the outputs, `BudgetError` before anything large is
        made where a product with the Hessian would not fit. Source: definition.
        """
        if loss not in LOSSES:
            raise InputError("loss", found=repr(loss), expected=" or ".join(LOSSES), remedy="give one of these")
        chunk_size(2 * 6 * 8 * network.num_parameters, budget or DEFAULT_BUDGET)
        parameters = Parameters(network, double=True)
        labels = labels.to(parameters.theta.device)
        outputs = parameters.network.output_shape[0]
        if int(labels.max()) >= max(2, outputs):
            raise InputError(
                "labels",
                found=f"class {int(labels.max())}",
                expected=f"0 to {max(1, outputs - 1)}, the network's outputs",
                remedy="use the data set that the network was trained for",
            )
        if loss == "squared-error":
            rows = labels[:, None] if outputs == 1 else torch.nn.functional.one_hot(labels, outputs)
            labels = rows.to(parameters.theta)
        return cls(parameters=parameters, inputs=inputs, labels=labels, loss=LOSSES[loss], budget=budget)

    def __len__(self) -> int:
        return len(self.parameters)

    def at(self, theta: torch.Tensor) -> Surface:
        """The same loss around other parameters (P,). Exact. Source: definition."""
        return Surface(
            parameters=self.parameters.at(theta),
            inputs=self.inputs,
            labels=self.labels,
            loss=self.loss,
            budget=self.budget,
        )

    def outputs(self) -> torch.Tensor:
        """f(x_i; theta) of all rows, (n, c), without gradients."""
        found = []
        with torch.no_grad():
            for _, part in self.parameters.rows(self.inputs, self.budget):
                found.append(self.parameters.outputs(self.parameters.theta, part))
        return torch.cat(found)

    def value(self) -> float:
        """L(theta)."""
        return float(self.loss(self.outputs(), self.labels).mean())

    def gradient(self) -> torch.Tensor:
        """dL/dtheta, (P,)."""
        return gradient(self.parameters, self.inputs, self.labels, loss=self.loss, budget=self.budget)

    def hessian(self, vectors: torch.Tensor) -> torch.Tensor:
        """H v for each row v of `vectors` (k, P). Exact up to rounding; cost as `calculus.hessian_products`.

        Source: Pearlmutter 1994.
        """
        return hessian_products(self.parameters, self.inputs, self.labels, vectors, loss=self.loss, budget=self.budget)

    def gauss_newton(self, vectors: torch.Tensor) -> torch.Tensor:
        """G v for each row v of `vectors` (k, P). Exact up to rounding; cost as `calculus.gauss_newton_products`.

        Source: Schraudolph 2002.
        """
        return gauss_newton_products(
            self.parameters, self.inputs, self.labels, vectors, loss=self.loss, budget=self.budget
        )

    def columns(self, product: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Array], Array]:
        """One of the two products for NumPy's columns (P, b), as Lanczos takes them.

        Exact as the product. Source: definition.
        """
        theta = self.parameters.theta

        def moved(vectors: Array) -> Array:
            block = torch.from_numpy(np.ascontiguousarray(vectors.T)).to(theta)
            return product(block).double().cpu().numpy().T

        return moved

    def vectors_in(self, share: float = 0.5) -> int:
        """How many vectors of length P fit in `share` of the budget, in float64; `BudgetError` where none does."""
        return chunk_size(8 * len(self), int(share * (self.budget or DEFAULT_BUDGET)))
