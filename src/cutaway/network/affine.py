"""The affine map that a piecewise-affine network is, in the region of a point.

Inside the region of x0 the network is f(x) = A x + b exactly; A is the Jacobian at x0 and b = f(x0) - A x0, both
computed in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from cutaway._compat import own_device
from cutaway.errors import ModelError, NoGradient

STEPS = tuple(10.0**-k for k in range(8, 0, -1))
LEAP = 300  # curvature grows by 100 a step, crossing a boundary by far more


@dataclass(frozen=True, slots=True, kw_only=True)
class AffineMap:
    """`f(x) = slope @ x.flatten() + offset` in the region of `point`.

    `slope` has shape `(outputs, inputs)`, `offset` `(outputs,)`, both float64; exact up to rounding. At a point that
    lies on a boundary (a pre-activation exactly 0) the map is the one of the inactive side, as torch's derivative says.
    """

    point: torch.Tensor
    slope: torch.Tensor
    offset: torch.Tensor
    forward: Callable[[torch.Tensor], torch.Tensor]

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """The map applied to a batch `(n, *input_shape)`: shape `(n, outputs)`."""
        return inputs.to(self.slope).flatten(1) @ self.slope.T + self.offset

    @own_device()
    def errors(self, *, directions: int = 8, seed: int = 0) -> torch.Tensor:
        """By random direction, how far the map is from the network, as a share of the network's change on the way.

        Steps of 0.1, 0.01, ... 1e-8 (times the point's largest entry, at least 1) are walked. Inside a region the error
        is rounding, and where a longer step leaves it, it leaps: then 0 is returned. Curvature is told from that by its
        slow growth out of the rounding (100 times a step); then, and where even the shortest step shows an error, the
        share at the first step that shows one. Shape `(directions,)`. Cost: 8 forward passes a direction.
        """
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn((directions, *self.point.shape), generator=generator, dtype=torch.float64)
        unit = noise / noise.flatten(1).norm(dim=1).reshape(-1, *[1] * self.point.ndim)
        lengths = torch.tensor(STEPS, dtype=torch.float64) * max(1.0, float(self.point.abs().max()))
        moves = (unit.unsqueeze(1) * lengths.reshape(-1, *[1] * self.point.ndim)).flatten(0, 1).to(self.point)
        with torch.no_grad():
            truth = self.forward(torch.cat([self.point[None], self.point + moves])).flatten(1)
        error = (self(self.point + moves) - truth[1:]).abs().amax(dim=1).reshape(directions, -1)
        change = (truth[1:] - truth[0]).abs().amax(dim=1).reshape(directions, -1)
        size = truth.abs().amax() + self.slope.abs().sum(dim=1).amax() * self.point.abs().amax()
        return _shares(error, change, float(256 * torch.finfo(truth.dtype).eps * size))

    def is_wrong(self) -> bool:
        """Whether it misses the network in every direction."""
        return bool((self.errors() > 1e-7).all())

    def check(self, *, directions: int = 8, seed: int = 0) -> float:
        """The largest of `errors`. A value above 1e-7 says that the network is not affine here, or that the point lies
        on a boundary, or within 1e-8 of one.
        """
        return float(self.errors(directions=directions, seed=seed).max())


def checked_map(forward: Callable[[torch.Tensor], torch.Tensor], point: torch.Tensor) -> AffineMap:
    """`affine_map`, refused (ModelError) where torch's derivative is not the function's: behind detach, no_grad, or an
    autograd function with a backward of its own. That shows where the map is wrong in every direction, at the point
    and, since the point may lie on many boundaries, at a random one near it."""
    found = affine_map(forward, point)
    if found.is_wrong():
        noise = torch.randn(point.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        near = found.point + 1e-4 * max(1.0, float(found.point.abs().max())) * noise.to(found.point) / noise.norm()
        if affine_map(forward, near).is_wrong():
            raise ModelError(
                "the network's affine map",
                found="a derivative, by torch, that is not the slope of the function",
                expected="operations whose gradient is their own",
                remedy="take out detach(), torch.no_grad() and autograd functions with a backward of their own",
            )
    return found


def affine_map(forward: Callable[[torch.Tensor], torch.Tensor], point: torch.Tensor) -> AffineMap:
    """The map at `point` (one input, no batch dimension) of a float64 `forward`; one backward pass per output."""
    point = point.detach().to(torch.float64)

    def single(x: torch.Tensor) -> torch.Tensor:
        return forward(x[None])[0].flatten()

    value = single(point).detach()
    x = point.clone().requires_grad_(True)
    slope = _jacobian(single, x)
    return AffineMap(point=point, slope=slope, offset=value - slope @ point.flatten(), forward=forward)


def _jacobian(single: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """(outputs, inputs); outputs that are piecewise constant have rows of zeros."""
    try:
        out = single(x)
        rows = [
            torch.autograd.grad(o, x, retain_graph=True, allow_unused=True)[0] if o.requires_grad else None for o in out
        ]
    except RuntimeError as error:
        raise NoGradient(
            "the network's affine map",
            found=str(error).splitlines()[0],
            expected="operations that torch can differentiate",
            remedy="write that operation with torch.where or another one that has a derivative",
        ) from error
    return torch.stack([torch.zeros_like(x).flatten() if row is None else row.flatten() for row in rows])


def _shares(error: torch.Tensor, change: torch.Tensor, rounding: float) -> torch.Tensor:
    """(directions,) from errors and changes (directions, steps), short steps first."""
    shown = error > rounding
    first = shown.to(torch.int64).argmax(dim=1, keepdim=True)  # 0 also where nothing is shown
    share = (error / change.clamp_min(rounding)).gather(1, first).squeeze(1)
    leaps = (error.gather(1, first) > LEAP * rounding).squeeze(1) & (first.squeeze(1) > 0)
    return torch.where(shown.any(dim=1) & ~leaps, share, 0.0)
