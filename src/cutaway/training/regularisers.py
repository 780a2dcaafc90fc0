"""Loss terms that bring robustness forward: `term(model, inputs, labels) -> scalar`, for any training loop.

Each is a frozen object of settings that is called with the model, inputs `(n, ...)` and labels `(n,)`, gives the mean
over the batch with gradients to the weights, and leaves the model as it was: evaluation mode inside (see `terms`), no
buffer, `.grad` or global random state touched. Random ones take the keyword `generator`; without it they draw the
same directions in every call, so that they are functions.

    loss = cross_entropy(model(x), y) + 0.1 * JacobianNorm()(model, x, y, generator=generator)

- `MaximumMargin` (MMR, in `margins`): distances to region and decision boundaries.
- `BoundaryDensity`: local complexity, smooth in the weights.
- `JacobianNorm`: |df/dx|_F^2.  `InputGradient`: |d loss/dx|.
- `LinearMargin`: linearised distance to the decision boundary, also for smooth networks.

All but the first two differentiate through a gradient, which `torch.compile` cannot do (its backward graphs have no
second derivative), so none is compiled.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.geometry.density import boundary_density
from cutaway.network import Network
from cutaway.network.preserve import evaluated
from cutaway.training.margins import (
    MaximumMargin,
    boundary_share_at,
    certified_radius,
    decision_distances,
    over_training,
    ramp,
)
from cutaway.training.slopes import other_classes
from cutaway.training.terms import check_inputs, check_labels, dual_order, positive, scores_of

__all__ = [
    "BoundaryDensity",
    "InputGradient",
    "JacobianNorm",
    "LinearMargin",
    "MaximumMargin",
    "boundary_share_at",
    "certified_radius",
    "decision_distances",
    "over_training",
    "ramp",
]

GRADIENT_LOSSES = ("cross-entropy", "mse")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundaryDensity:
    """mean over x of sum_i |grad z_i(x)| phi_sigma(z_i(x)): region boundaries per unit of input length, blurred.

    `cutaway.geometry.density.boundary_density` (arXiv 2412.18283) as a term; unbiased over `num_directions` Gaussian
    directions, relative error at most about 0.75 / sqrt(num_directions). `sigma`: blur in units of the
    pre-activations. Cost: num_directions forward-mode passes, with gradients about six forward passes each. Raises
    InputError for sigma <= 0, NaN inputs, and models without ReLU-like sites.
    """

    sigma: float = 0.1
    num_directions: int = 2

    def __post_init__(self) -> None:
        positive("sigma", self.sigma)
        _at_least_one("num_directions", self.num_directions)

    def __call__(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        check_inputs(inputs)
        with evaluated(model):
            network = Network(model, inputs[:2].detach(), probe=False)
            values = boundary_density(
                network, inputs, sigma=self.sigma, num_directions=self.num_directions, generator=_drawn(generator)
            )
        return values.mean()


@dataclass(frozen=True, slots=True, kw_only=True)
class JacobianNorm:
    """mean over x of |J(x)|_F^2, J = df/dx `(classes, D)`; unit: (scores / inputs) squared.

    `num_directions` None: exact, one backward pass a class. A number: C/m sum_j |v_j^T J|^2 for m random unit vectors
    v_j in score space, unbiased, relative error below sqrt(2/m) (Hoffman, Roberts, Yaida, arXiv 1908.02729, whose
    1/2 we leave out). Cost: one forward and m backward passes, twice that with gradients. Raises InputError for NaN
    and outputs that are not `(n, classes)`.
    """

    num_directions: int | None = 1

    def __post_init__(self) -> None:
        if self.num_directions is not None:
            _at_least_one("num_directions", self.num_directions)

    def __call__(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        check_inputs(inputs)
        keep = torch.is_grad_enabled()
        with evaluated(model), torch.enable_grad():
            point = inputs.detach().clone().requires_grad_(True)
            scores = scores_of(model, point)
            classes = scores.shape[1]
            if self.num_directions is None:
                probes, scale = torch.eye(classes).to(scores)[:, None, :].expand(-1, len(scores), -1), 1.0
            else:
                noise = torch.randn(
                    self.num_directions, *scores.shape, generator=_drawn(generator), dtype=torch.float64
                )
                probes = F.normalize(noise, dim=-1).to(scores)
                scale = classes / self.num_directions
            total = scores.new_zeros(())
            for probe in probes:
                total = total + _gradient(scores, point, probe, keep=keep).square().sum()
        return scale * total / len(inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputGradient:
    """mean over x of |grad_x loss(f(x), y)|: how fast the loss can rise with the input.

    `norm` of the inputs; the gradient is measured in the dual one: "2" gives the squared l2 norm (double
    backpropagation, Drucker and LeCun 1992; Ross and Doshi-Velez, arXiv 1711.09404), "inf" the l1 norm, to first order
    the rise of the loss in a unit l-infinity ball (Simon-Gabriel et al., arXiv 1802.01421), "1" the largest entry.
    `loss`: "cross-entropy" (nat) or "mse" (mean over classes, one-hot targets). Exact. Cost: one forward and one
    backward pass, twice that with gradients. Raises InputError for unknown names, missing or bad labels, and NaN.
    """

    norm: str
    loss: str = "cross-entropy"

    def __post_init__(self) -> None:
        dual_order(self.norm)
        if self.loss not in GRADIENT_LOSSES:
            raise InputError(
                "loss",
                found=repr(self.loss),
                expected=" or ".join(map(repr, GRADIENT_LOSSES)),
                remedy="give one of these",
            )

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        check_inputs(inputs)
        keep = torch.is_grad_enabled()
        with evaluated(model), torch.enable_grad():
            point = inputs.detach().clone().requires_grad_(True)
            scores = scores_of(model, point)
            labels = check_labels(labels, len(inputs), scores.shape[1])
            slopes = _gradient(loss_of_rows(scores, labels, self.loss), point, None, keep=keep).flatten(1)
            if self.norm == "2":
                return slopes.square().sum(dim=1).mean()
            return torch.linalg.vector_norm(slopes, ord=dual_order(self.norm), dim=1).mean()


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearMargin:
    """mean over x and s of max(0, 1 - d(x; s) / gamma), d = (f_c - f_s) / |grad f_c - grad f_s|_q, s among the rivals.

    To first order d is the distance to the decision boundary with class s in the l_p `norm` (Elsayed et al., arXiv
    1803.05598, eq. 7, with the sum over classes replaced by the mean over the `rivals` highest-scoring others; in
    piecewise-affine networks the same as d_D of MMR). For networks of any activation. `gamma` in the inputs' units.
    A linearisation: no bound. Cost: one forward pass and `rivals` backward passes, twice that with gradients. Raises
    InputError for unknown norms, gamma <= 0, missing or bad labels, and NaN.
    """

    norm: str
    gamma: float
    rivals: int = 1
    floor: float = 1e-5

    def __post_init__(self) -> None:
        dual_order(self.norm)
        positive("gamma", self.gamma)
        _at_least_one("rivals", self.rivals)

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        check_inputs(inputs)
        keep = torch.is_grad_enabled()
        with evaluated(model), torch.enable_grad():
            point = inputs.detach().clone().requires_grad_(True)
            scores = scores_of(model, point)
            labels = check_labels(labels, len(inputs), scores.shape[1])
            gaps = scores.gather(1, labels[:, None]) - scores.gather(1, other_classes(labels, scores.shape[1]))
            near = gaps.detach().topk(min(self.rivals, gaps.shape[1]), dim=1, largest=False).indices
            total = scores.new_zeros(())
            for column in near.T:
                gap = gaps.gather(1, column[:, None]).squeeze(1)
                slopes = _gradient(gap, point, None, keep=keep).flatten(1)
                size = torch.linalg.vector_norm(slopes, ord=dual_order(self.norm), dim=1).clamp_min(self.floor)
                total = total + (1 - gap / size / self.gamma).clamp_min(0).mean()
        return total / near.shape[1]


def loss_of_rows(scores: Tensor, labels: Tensor, loss: str) -> Tensor:
    """Loss of every row `(n,)`: cross-entropy (nat), or the squared error to one-hot targets averaged over classes."""
    if loss == "mse":
        return (scores - F.one_hot(labels, scores.shape[1]).to(scores)).square().mean(dim=1)
    return F.cross_entropy(scores, labels, reduction="none")


def _gradient(values: Tensor, point: Tensor, probe: Tensor | None, *, keep: bool) -> Tensor:
    outputs = values.sum() if probe is None else (values * probe).sum()
    (slopes,) = torch.autograd.grad(outputs, point, create_graph=keep, retain_graph=True, materialize_grads=True)
    return slopes


def _drawn(generator: torch.Generator | None) -> torch.Generator:
    return torch.Generator().manual_seed(0) if generator is None else generator


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise InputError(name, found=str(value), expected="at least 1", remedy="give a whole number of at least 1")
