"""Adversarial training: batch transformers `adversary(model, inputs, labels, generator) -> inputs`, and TRADES' term.

Points stay in the ball of `radius` round the inputs and in [low, high], in the units of the inputs. The model is
attacked in evaluation mode and left as it was (flags, buffers, gradients, global random state).

- `Ascent`: projected gradient ascent (Madry et al., arXiv 1706.06083). `steps` 1 with `step_size` 1.25 radius is the
  fast method (`fast`; Wong, Rice, Kolter, arXiv 2001.03994).
- `Free`: free training (Shafahi et al., arXiv 1904.12843): the gradient of the weights' own backward pass moves the
  perturbation, every batch is taken `repeats` times in a row.
- `Mixed`: an adversary on a share of the batch only (half, in Croce et al.'s MMR + adversarial training).
- `Trades`: a loss term (Zhang et al., arXiv 1901.08573).

Beware of catastrophic overfitting: with one-step methods robust accuracy on the training set can jump up while that
under many steps falls to 0 within an epoch. Watch PGD accuracy on held-out data, and lower the step size or use more
steps when it happens. `torch.compile` of the model in the inner loop was measured on one core and is slower (dense
20 -> 25 ms, convolutional 55 -> 83 ms a batch), so it is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.network.preserve import evaluated
from cutaway.robustness.attacks.ball import PerturbationBall
from cutaway.robustness.attacks.losses import cross_entropy_loss, margin_loss
from cutaway.training.regularisers import loss_of_rows
from cutaway.training.terms import check_inputs, check_labels, positive, scores_of

ASCENT_LOSSES = ("cross-entropy", "mse", "margin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ascent:
    """`steps` steps of size `step_size` up the loss, projected to the ball after each; the last point is returned.

    `norm` "inf" (steps along the sign) or "2" (along the gradient). `step_size` None: 2.5 radius / steps. `start`
    "random": uniform in the ball, else "input". `best`: give the point of the highest loss seen instead of the last
    (with loss "margin" this is the search of `cutaway.robustness.attacks.PGD` without its checks; one more forward
    pass). Cost: `steps` forward and backward passes. Raises InputError for bad settings, labels and NaN.
    """

    radius: float
    norm: str = "inf"
    steps: int = 10
    step_size: float | None = None
    loss: str = "cross-entropy"
    start: str = "random"
    best: bool = False
    low: float | None = 0.0
    high: float | None = 1.0

    def __post_init__(self) -> None:
        positive("radius", self.radius)
        if self.step_size is not None:
            positive("step_size", self.step_size)
        for name, allowed in {"norm": ("inf", "2"), "loss": ASCENT_LOSSES, "start": ("random", "input")}.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    name,
                    found=repr(getattr(self, name)),
                    expected=" or ".join(map(repr, allowed)),
                    remedy="give one of these",
                )
        if self.steps < 1:
            raise InputError(
                "steps", found=str(self.steps), expected="at least 1", remedy="give a whole number of at least 1"
            )
        if (self.low is None) != (self.high is None):
            raise InputError(
                "low and high",
                found="one of them",
                expected="both or none",
                remedy="give the other one too, or neither",
            )

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        check_inputs(inputs)
        with evaluated(model), torch.enable_grad():
            return ascend(self, inputs, lambda point: self._losses(model, point, labels), generator)

    def _losses(self, model: nn.Module, point: Tensor, labels: Tensor) -> Tensor:
        scores = scores_of(model, point)
        labels = check_labels(labels, len(scores), scores.shape[1])
        if self.loss == "margin":
            return margin_loss(scores, labels)
        return cross_entropy_loss(scores, labels) if self.loss != "mse" else loss_of_rows(scores, labels, "mse")


def ascend(settings: Ascent, inputs: Tensor, losses, generator: torch.Generator) -> Tensor:
    """The ascent of `losses(point) -> (n,)` under `settings`; a detached tensor like `inputs`."""
    ball = ball_of(settings, inputs)
    size = settings.step_size if settings.step_size is not None else 2.5 * settings.radius / settings.steps
    point = ball.random(generator) if settings.start == "random" else inputs.detach().clone()
    found, highest = inputs.detach().clone(), None
    if settings.best:
        with torch.no_grad():
            highest = losses(found)
    for _ in range(settings.steps):
        point = point.detach().requires_grad_(True)
        values = losses(point)
        if highest is not None:
            found, highest = _higher(found, highest, point, values)
        (gradient,) = torch.autograd.grad(values.sum(), point)
        point = ball.project(point.detach() + ball.step(gradient, size))
    if highest is None:
        return point.detach()
    with torch.no_grad():
        return _higher(found, highest, point, losses(point))[0]


def _higher(found: Tensor, highest: Tensor, point: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    better = values.detach() > highest
    pick = better.view(-1, *[1] * (point.dim() - 1))
    return torch.where(pick, point.detach(), found), torch.where(better, values.detach(), highest)


def ball_of(settings: Ascent | Free, inputs: Tensor) -> PerturbationBall:
    """The allowed set round a batch."""
    low, high = (None if v is None else torch.as_tensor(v).to(inputs) for v in (settings.low, settings.high))
    unit = torch.ones((), dtype=inputs.dtype, device=inputs.device)
    norm: Any = settings.norm
    return PerturbationBall(
        center=inputs.detach(),
        radius=settings.radius * unit,
        low=low,
        high=high,
        norm=norm,
        data_radius=settings.radius,
        unit=unit,
    )


def fast(radius: float, *, norm: str = "inf", low: float | None = 0.0, high: float | None = 1.0) -> Ascent:
    """One step of 1.25 radius from a random point (Wong et al. 2020), at about twice the cost of plain training.

    Prone to catastrophic overfitting; see the module's text.
    """
    return Ascent(radius=radius, norm=norm, steps=1, step_size=1.25 * radius, low=low, high=high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """`adversary` on the first round(share n) rows of a batch, the rest as they are. Batches must be shuffled.

    Raises `InputError` for a share outside (0, 1].
    """

    adversary: Any
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(
                "share", found=str(self.share), expected="a share in (0, 1]", remedy="give a share such as 0.5"
            )

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        count = max(1, round(self.share * len(inputs)))
        return torch.cat([self.adversary(model, inputs[:count], labels[:count], generator), inputs[count:]])


class Free:
    """Free training: perturbations live on from step to step and move along the sign of the weights' own backward pass.

    As an adversary: `free(model, inputs, labels, generator)` gives inputs + perturbation with `requires_grad`; call
    `free.update()` after `loss.backward()` (the loop of `cutaway.training` does both and repeats every batch
    `repeats` times). The step is the radius, as in the source, so 1 / `repeats` of the epochs give equal cost. A
    batch larger than any before starts new perturbations at 0. `state()` and `restore()` are for checkpoints.
    Raises `InputError` for repeats below 1.
    """

    def __init__(
        self, *, radius: float, repeats: int = 4, norm: str = "inf", low: float | None = 0.0, high: float | None = 1.0
    ) -> None:
        Ascent(radius=radius, norm=norm, low=low, high=high)  # the same checks
        if repeats < 1:
            raise InputError(
                "repeats", found=str(repeats), expected="at least 1", remedy="give a whole number of at least 1"
            )
        self.radius, self.repeats, self.norm, self.low, self.high = radius, repeats, norm, low, high
        self.change: Tensor | None = None
        self._point: Tensor | None = None
        self._ball: PerturbationBall | None = None

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        check_inputs(inputs)
        if self.change is None or len(self.change) < len(inputs) or self.change.shape[1:] != inputs.shape[1:]:
            self.change = torch.zeros_like(inputs)
        self._ball = ball_of(self, inputs)
        point = self._ball.project(inputs.detach() + self.change[: len(inputs)].to(inputs))
        self._point = point.detach().requires_grad_(True)
        return self._point

    def update(self, model: nn.Module | None = None) -> None:
        """Move the perturbation along the gradient that `loss.backward()` left at the inputs.

        Raises `InputError` where no gradient is there.
        """
        if self._point is None or self._ball is None or self._point.grad is None or self.change is None:
            raise InputError(
                "free adversarial training",
                found="no gradient at the inputs",
                expected="one",
                remedy="train on the inputs it returned and call update() after loss.backward()",
            )
        moved = self._ball.project(self._point.detach() + self._ball.step(self._point.grad, self.radius))
        self.change[: len(moved)] = moved - self._ball.center
        self._point = None

    def state(self) -> dict[str, Any]:
        return {} if self.change is None else {"change": self.change.clone()}

    def restore(self, state: dict[str, Any]) -> None:
        self.change = state["change"].clone() if "change" in state else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trades:
    """mean over x of KL(p(x) || p(x')), x' the ascent of that same divergence from a random start in the ball.

    TRADES is cross-entropy on clean inputs plus beta times this (the source's 1/lambda; 6 there). `inner` says how
    x' is searched (its `loss` is not used). In nat, >= 0; the maximisation is a search, a lower estimate of the worst
    case. Both arguments carry gradients. Cost: inner.steps + 3 forward and inner.steps + 1 backward passes. Raises
    InputError for NaN and outputs that are not `(n, classes)`.
    """

    inner: Ascent

    def __call__(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        check_inputs(inputs)
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        with evaluated(model):
            with torch.no_grad():
                clean = scores_of(model, inputs).log_softmax(dim=1)
            with torch.enable_grad():
                point = ascend(self.inner, inputs, lambda x: _divergence(clean, scores_of(model, x)), generator)
            return _divergence(scores_of(model, inputs).log_softmax(dim=1), scores_of(model, point)).mean()


def _divergence(clean: Tensor, scores: Tensor) -> Tensor:
    return F.kl_div(scores.log_softmax(dim=1), clean, reduction="none", log_target=True).sum(dim=1)
