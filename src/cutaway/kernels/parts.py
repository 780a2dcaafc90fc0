"""Eigen-features of a kernel: the parts that a kernel predictor is the sum of (Tsilivis and Kempe 2022, section 4).

With K(X, X) = sum_i l_i v_i v_i^T the predictor K(x, X) K(X, X)^-1 (Y - mean Y) is sum_i g_i(x) u_i, where
g_i(x) = K(x, X) v_i / l_i is a number and u_i = v_i^T (Y - mean Y) a direction among the classes. Feature i puts the
classes on two sides: class c is on side s_i(c) = sign <e_c - mean Y, u_i>. It is *useful* as far as sign g_i(x) =
s_i(class of x) on rows not learned from, and *robust* as far as that holds after a search within a radius for a point
where it does not. For two classes this is the source's definition. The source's notebook numbers features of the
inverse kernel; here the first has the largest eigenvalue of K.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from cutaway.engines.budget import chunk_size
from cutaway.errors import InputError
from cutaway.kernels.regression import FLOOR
from cutaway.network.calculus import Parameters, parameter_tangents
from cutaway.network.gradient import derivatives
from cutaway.network.network import DEFAULT_BUDGET


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EigenFeatures:
    """The `values` l (k,), `vectors` v (n, k), class directions `weights` u (k, c) and `sides` s (k, c), +1 or -1, of
    the k largest eigenvalues; `mean` of the targets (c,)."""

    values: torch.Tensor
    vectors: torch.Tensor
    weights: torch.Tensor
    sides: torch.Tensor
    mean: torch.Tensor

    def scores(self, cross: torch.Tensor) -> torch.Tensor:
        """g (m, k) of rows with kernels `cross` K(x, X) (m, n).

        Exact up to rounding. Source: Tsilivis and Kempe 2022, section 4.
        """
        return cross @ self.vectors / self.values

    def agreement(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Whether each feature is on the side of each row's class, (m, k) bool, from g `scores` (m, k).

        Exact. Source: Tsilivis and Kempe 2022, section 4, its sides for more than two classes ours.
        """
        return (scores > 0) == (self.sides[:, labels].T > 0)

    def predicted(self, scores: torch.Tensor, count: int) -> torch.Tensor:
        """The classes (m,) that the first `count` features together say, from g `scores` (m, k).

        Exact. Source: definition.
        """
        return (scores[:, :count] @ self.weights[:count] + self.mean).argmax(dim=1)


def eigen_features(kernel: torch.Tensor, targets: torch.Tensor, count: int) -> EigenFeatures:
    """The first `count` features (fewer where the kernel has fewer directions) of `kernel` (n, n) and `targets` (n, c).

    Directions of eigenvalues below n 1e-12 of the largest are rounding and left out, so duplicated rows do no harm.
    Exact up to rounding. Cost: an eigendecomposition. Raises `InputError` for shapes that do not fit or a kernel of
    zeros. Source: Tsilivis and Kempe 2022, section 4.
    """
    size = len(targets)
    if targets.dim() != 2 or kernel.shape != (size, size) or count < 1:
        raise InputError(
            "eigen-features",
            found=f"kernel {tuple(kernel.shape)}, targets {tuple(targets.shape)}, count {count}",
            expected="a kernel (n, n), targets (n, c), a count of 1 or more",
            remedy="one row of targets for each row of the kernel",
        )
    values, vectors = torch.linalg.eigh(kernel)
    values, vectors = values.flip(0), vectors.flip(1)
    if not float(values[0]) > 0:
        raise InputError(
            "kernel",
            found="no positive eigenvalue",
            expected="some row that is not zero",
            remedy="leave out the rows that are zero",
        )
    kept = min(count, int((values > size * FLOOR * values[0]).sum()))
    values, vectors = values[:kept], vectors[:, :kept]
    mean = targets.to(kernel).mean(dim=0)
    weights = vectors.T @ (targets.to(kernel) - mean)
    classes = torch.eye(targets.shape[1]).to(kernel) - mean
    sides = torch.where(weights @ classes.T > 0, 1.0, -1.0).to(kernel)
    return EigenFeatures(values=values, vectors=vectors, weights=weights, sides=sides, mean=mean)


class TangentFeature(nn.Module):
    """x -> (-g(x), g(x)) with g(x) = K(x, X) v for the tangent kernel K of a network (mean over outputs): a derivative
    of the network along c directions of its parameters, so that no kernel is formed and g has a gradient in x.

    `directions` (c, P) are sum_j v_j df_c(x_j)/dtheta / c, see `feature_directions`.
    """

    def __init__(self, parameters: Parameters, directions: torch.Tensor) -> None:
        super().__init__()
        self.model = parameters.network.model
        self.map, self.directions = parameters, directions

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (m, ...) gives (m, 2). Exact up to rounding. Source: definition."""
        moved = parameter_tangents(self.map, x, self.directions)
        value = moved.diagonal(dim1=0, dim2=2).sum(dim=1)
        return torch.stack([-value, value], dim=1)


def feature_directions(
    parameters: Parameters, inputs: torch.Tensor, vector: torch.Tensor, *, budget: int | None = None
) -> torch.Tensor:
    """sum_j v_j df_c(x_j)/dtheta / c for `inputs` (n, ...) and `vector` v (n,): (c, P).

    Exact. Cost: one forward and c backward passes a row, c P numbers. Raises `BudgetError` where these do not fit.
    Source: definition.
    """
    outputs = parameters.network.output_shape[0]
    chunk_size(4 * outputs * parameters.theta.nbytes, (budget or DEFAULT_BUDGET) // 2)
    found = parameters.theta.new_zeros(outputs, len(parameters))
    with derivatives():
        for rows, part in parameters.rows(inputs, budget, passes=2, backward=outputs):
            point = parameters.theta.detach().clone().requires_grad_()
            weighted = vector[rows].to(point) @ parameters.outputs(point, part)
            for column in range(outputs):
                found[column] += torch.autograd.grad(weighted[column], point, retain_graph=column + 1 < outputs)[0]
    return found / outputs
