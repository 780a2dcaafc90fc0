"""Steepest descent in four norms, as optimisers.

A step goes from theta to theta + rate |g|_* u with u = argmax over |v| <= 1 of <v, -g>, g the gradient and |.|_* the
dual norm (Tsilivis, Vardi and Kempe, arXiv 2410.22069):

    l2        rate g                                              gradient descent
    linf      rate |g|_1 sign(g)                                  sign descent
    l1        rate of the largest entry alone, over all weights   coordinate descent
    spectral  rate (sum of all nuclear norms) U V^T a matrix      what Shampoo and Muon do without memory

The scale makes steps die out with the gradient; at constant size sign steps lose the margin that they won. Matrices are
out x rest, vectors one row. `normalised` leaves |g|_* out, so that the rate is the step's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from cutaway.errors import InputError

DESCENT_NORMS = ("l2", "linf", "l1", "spectral")


class SteepestDescent(torch.optim.Optimizer):
    """One step is steepest descent over all parameters together. `weight_decay` is added to the gradient. Cost: one
    pass over the parameters; spectral: a singular value decomposition of each matrix. Raises `InputError` for an
    unknown norm or a negative rate."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        *,
        norm: str = "l2",
        weight_decay: float = 0.0,
        normalised: bool = False,
    ) -> None:
        if norm not in DESCENT_NORMS:
            raise InputError(
                "norm of steepest descent",
                found=repr(norm),
                expected=", ".join(DESCENT_NORMS),
                remedy="give one of these",
            )
        if not lr >= 0:
            raise InputError(
                "rate of steepest descent", found=str(lr), expected="at least 0", remedy="give a number of at least 0"
            )
        super().__init__(params, {"lr": lr, "norm": norm, "weight_decay": weight_decay, "normalised": normalised})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            held = [p for p in group["params"] if p.grad is not None]
            slopes = [p.grad + group["weight_decay"] * p if group["weight_decay"] else p.grad for p in held]
            if not held:
                continue
            directions, size = _DESCENTS[group["norm"]](slopes)
            scale = 1.0 if group["normalised"] else size
            for parameter, direction in zip(held, directions, strict=True):
                parameter.add_(direction, alpha=-group["lr"] * float(scale))
        return loss


def _l2(slopes: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    size = torch.stack([g.norm() for g in slopes]).norm()
    return [g / size.clamp(min=torch.finfo(g.dtype).tiny) for g in slopes], size


def _linf(slopes: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    return [g.sign() for g in slopes], torch.stack([g.abs().sum() for g in slopes]).sum()


def _l1(slopes: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Of equal largest entries the first one moves."""
    tops = torch.stack([g.abs().max() for g in slopes])
    chosen = int(tops.argmax())
    directions = [torch.zeros_like(g) for g in slopes]
    place = int(slopes[chosen].abs().argmax())
    directions[chosen].view(-1)[place] = slopes[chosen].reshape(-1)[place].sign()
    return directions, tops[chosen]


def _spectral(slopes: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    directions, sizes = [], []
    for slope in slopes:
        flat = slope.reshape(len(slope), -1) if slope.dim() > 1 else slope.reshape(1, -1)
        u, s, v = torch.linalg.svd(flat, full_matrices=False)
        seen = (s > s[0] * max(flat.shape) * torch.finfo(s.dtype).eps).to(s)
        directions.append(((u * seen) @ v).reshape(slope.shape))
        sizes.append(s.sum())
    return directions, torch.stack(sizes).sum()


_DESCENTS: dict[str, Callable[[list[Tensor]], tuple[list[Tensor], Tensor]]] = {
    "l2": _l2,
    "linf": _linf,
    "l1": _l1,
    "spectral": _spectral,
}

STEEPEST = {
    "gradient-descent": "l2",
    "sign-descent": "linf",
    "coordinate-descent": "l1",
    "spectral-descent": "spectral",
}
"""Name in a recipe -> norm."""
