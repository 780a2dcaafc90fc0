"""The affine map that a piecewise-affine network is, in the region of a point.

Inside the region of x0 the network is f(x) = A x + b exactly; A is the Jacobian at x0 and b = f(x0) - A x0, both
computed in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


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

    def check(self, *, step: float = 1e-9, directions: int = 8, seed: int = 0) -> float:
        """Largest relative error of the map against the network at the point and at `directions` points a relative
        `step` away.

        A value above 1e-9 says that the network is not affine here (or that the step left the region).
        """
        generator = torch.Generator().manual_seed(seed)
        scale = step * max(1.0, float(self.point.abs().max()))
        noise = torch.randn((directions, *self.point.shape), generator=generator, dtype=torch.float64) * scale
        points = torch.cat([self.point[None], self.point[None] + noise.to(self.point)])
        with torch.no_grad():
            truth = self.forward(points).flatten(1)
        error = (self(points) - truth).abs().max(dim=1).values
        return float((error / truth.abs().max(dim=1).values.clamp_min(1e-30)).max())


def affine_map(forward: Callable[[torch.Tensor], torch.Tensor], point: torch.Tensor) -> AffineMap:
    """The map at `point` (one input, no batch dimension) of a float64 `forward`; one backward pass per output."""
    point = point.detach().to(torch.float64)

    def single(x: torch.Tensor) -> torch.Tensor:
        return forward(x[None])[0].flatten()

    value = single(point).detach()
    x = point.clone().requires_grad_(True)
    out = single(x)
    rows = [torch.autograd.grad(out[k], x, retain_graph=k + 1 < len(out))[0].flatten() for k in range(len(out))]
    slope = torch.stack(rows)
    return AffineMap(point=point, slope=slope, offset=value - slope @ point.flatten(), forward=forward)
