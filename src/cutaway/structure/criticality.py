"""Criticality: does a signal keep its size from layer to layer, and does a small change of the input keep its own?

For a wide layer z' = W f(z) + b, weights of variance C_W / fan-in and biases of variance C_b, the variance K of the
pre-activations and a small difference between two inputs follow

    K' = C_b + C_W E[f(z)^2],   chi_par = C_W E[f(z)^2 (z^2 - K)] / (2 K^2),   chi_perp = C_W E[f'(z)^2],   z ~ N(0, K)

(Roberts, Yaida and Hanin, The Principles of Deep Learning Theory, 2022, chapter 5). A network is critical where both
chi are 1; below, differences die out with depth, above, they explode. `critical_point` solves for a function given as
a black box; `growth_by_layer` measures the same on a network, by one forward-mode derivative.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd import forward_ad

from cutaway.errors import InputError
from cutaway.network import Network, Site
from cutaway.network.capture import record
from cutaway.network.gradient import differentiable_forward

Function = Callable[[torch.Tensor], torch.Tensor]
Universality = Literal["scale-invariant", "K* = 0", "half-stable", "none"]

_SPAN, _NODES = 12.0, 24_000
"""Gaussian integrals by the midpoint rule on [-12, 12] standard deviations, 0 between two cells: a kink there costs no
accuracy, one elsewhere about 1e-4 of its jump."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticalPoint:
    """Where chi_par = chi_perp = 1. `universality`: `scale-invariant` (critical for every K), `K* = 0` (K falls like a
    power of depth), `half-stable` (at one `variance` K* > 0) or `none`; `weight_variance` C_W, `bias_variance` C_b. NaN
    where there is none, `variance` also where it is free."""

    universality: Universality
    variance: float
    weight_variance: float
    bias_variance: float


def gaussian_moments(function: Function, variance: float) -> dict[str, float]:
    """`square` E[f^2], `slope` E[f'^2] and `bend` E[f^2 (z^2 - K)] / (2 K^2) for z ~ N(0, variance), float64.

    f acts on each number by itself; its derivative is taken by autograd. Estimate to about 1e-9 for smooth functions
    and for kinks at 0; NaN where f grows so fast that its tails count beyond 12 standard deviations. Raises
    `InputError` for a variance that is not positive, or a function that is not elementwise.
    """
    if not (variance > 0 and math.isfinite(variance)):
        raise InputError("variance", found=f"{variance}", expected="a positive number", remedy="give the layer's own")
    nodes = (torch.arange(_NODES, dtype=torch.float64) + 0.5) * (2 * _SPAN / _NODES) - _SPAN
    weight = torch.exp(-(nodes**2) / 2)
    weight /= weight.sum()
    z = (math.sqrt(variance) * nodes).requires_grad_()
    with torch.enable_grad():
        value = function(z)
        if value.shape != z.shape:
            found = f"shape {tuple(value.shape)} from {tuple(z.shape)}"
            raise InputError(
                "function", found=found, expected="the same shape", remedy="give one that acts elementwise"
            )
        (slope,) = torch.autograd.grad(value.sum(), z)
    z, value = z.detach(), value.detach()
    each = weight * value**2
    if not bool(each[[0, -1]].max() <= 1e-9 * each.max()):  # f grows too fast for its Gaussian mean to be known
        return {"square": math.nan, "slope": math.nan, "bend": math.nan}
    return {
        "square": float(weight @ value**2),
        "slope": float(weight @ slope**2),
        "bend": float(weight @ (value**2 * (z**2 - variance))) / (2 * variance**2),
    }


def critical_point(function: Function) -> CriticalPoint:
    """The critical initialisation of an elementwise activation.

    chi_par = chi_perp asks for a K with E[f^2 (z^2 - K)] / (2 K^2) = E[f'^2]; C_W and C_b follow. Searched on 10^-4 to
    10^4; of several the smallest with C_b >= 0. For GELU K* = (3 + sqrt 17) / 2. Source: Roberts, Yaida and Hanin 2022,
    sections 5.1 to 5.3. Raises `InputError` as `gaussian_moments`.
    """
    from scipy.optimize import root_scalar

    def gap(log_variance: float) -> float:
        found = gaussian_moments(function, math.exp(log_variance))
        return found["bend"] / found["slope"] - 1 if found["slope"] > 0 and math.isfinite(found["bend"]) else math.nan

    grid = np.linspace(math.log(1e-4), math.log(1e4), 49)
    gaps = np.array([gap(x) for x in grid])
    if not np.isfinite(gaps).any():
        return _nowhere()
    if np.nanmax(np.abs(gaps)) < 1e-6:
        slope = gaussian_moments(function, 1.0)["slope"]
        return CriticalPoint(
            universality="scale-invariant", variance=math.nan, weight_variance=1 / slope, bias_variance=0.0
        )
    signs = np.where(np.abs(gaps) > 1e-9, np.sign(gaps), 0.0)  # 0 also where f is a pair of lines as far as K reaches
    for k in np.flatnonzero(signs[:-1] * signs[1:] < 0):
        variance = math.exp(float(root_scalar(gap, bracket=(grid[k], grid[k + 1]), xtol=1e-13).root))
        found = gaussian_moments(function, variance)
        weight = 1 / found["slope"]
        bias = variance - weight * found["square"]
        if bias >= -1e-9:
            return CriticalPoint(
                universality="half-stable", variance=variance, weight_variance=weight, bias_variance=max(bias, 0.0)
            )
    origin = float(function(torch.zeros(1, dtype=torch.float64)).detach())
    slope = gaussian_moments(function, 1e-10)["slope"]
    weight = 1 / slope if slope > 0 else math.nan
    falls = weight * gaussian_moments(function, 1.0)["square"] < 1  # else K grows away from 0
    if abs(origin) < 1e-12 and falls and abs(gaps[0]) < 1e-2:
        return CriticalPoint(universality="K* = 0", variance=0.0, weight_variance=weight, bias_variance=0.0)
    return _nowhere()


def _nowhere() -> CriticalPoint:
    return CriticalPoint(universality="none", variance=math.nan, weight_variance=math.nan, bias_variance=math.nan)


def kernel_by_depth(function: Function, variance: float, weight: float, bias: float, depth: int) -> NDArray[np.float64]:
    """(depth + 1,): K of every layer from `variance` on, K' = C_b + C_W E[f^2]; exact for infinite width, computed to
    about 1e-9. Source: Roberts, Yaida and Hanin 2022, equation 4.118."""
    found = [variance]
    for _ in range(depth):
        found.append(bias + weight * gaussian_moments(function, found[-1])["square"])
    return np.array(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What was measured on n rows at L sites. `signal` (n, L): mean square of the pre-activations. `change` (n, L):
    mean square of their derivative along one random direction of the input. `slope` (n, L): mean square of f',
    weighted by the change it passes on, where the site keeps the shape (f' of a site that acts elementwise; of another,
    such as a softmax, the growth of the change alone); NaN elsewhere."""

    signal: NDArray[np.float64]
    change: NDArray[np.float64]
    slope: NDArray[np.float64]


def growth_by_layer(
    network: Network, inputs: torch.Tensor, sites: Sequence[Site], *, generator: torch.Generator, batch_size: int = 64
) -> Growth:
    """Signals and small changes at every site: one forward pass with a forward-mode derivative a row, in batches.

    inputs (n, ...) floating point; one Gaussian direction a row, drawn in order of the rows, so that `batch_size`
    changes nothing. Estimate: one direction a row.
    """
    signal, change, slope = (np.full((len(inputs), len(sites)), np.nan) for _ in range(3))
    for start in range(0, len(inputs), batch_size):
        part = network.place(inputs[start : start + batch_size])
        drawn = torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part)
        here = slice(start, start + len(part))
        network.passes.count(len(part))  # the derivative, beside the pass that `forward` counts
        with torch.no_grad(), differentiable_forward(), forward_ad.dual_level():
            _, pre, post = record(network.forward, forward_ad.make_dual(part, drawn), sites, post=True)
            for k, site in enumerate(sites):
                value, moved = forward_ad.unpack_dual(pre[site.name])
                signal[here, k] = _mean_square(value)
                change[here, k] = _mean_square(moved) if moved is not None else 0.0
                passed = forward_ad.unpack_dual(post[site.name]).tangent
                if passed is not None and moved is not None and passed.shape == moved.shape:
                    slope[here, k] = _mean_square(passed) / np.where(change[here, k] > 0, change[here, k], np.nan)
    return Growth(signal=signal, change=change, slope=slope)


def _mean_square(value: torch.Tensor) -> Any:
    return (value.flatten(1).double() ** 2).mean(dim=1).cpu().numpy()
