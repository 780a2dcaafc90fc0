"""Pre-activations as affine functions of the input inside the region of a point.

In the region of x every pre-activation is h_i(x + v) = h_i(x) + V_i v exactly. Three ways to V, all exact for what
they return: `tangents` gives V u for one direction by forward-mode differentiation, `gradient_norms` gives every
|V_i|_2 (one forward-mode pass for each input dimension), `sketched_norms` estimates them from a few random
directions, and `gradient_norms_of` gives chosen |V_i| by backward passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd import forward_ad

from cutaway.network import Network, Site
from cutaway.network.capture import record
from cutaway.network.gradient import differentiable_forward


def boundary_sites(network: Network) -> tuple[Site, ...]:
    """Sites whose region boundary is where the pre-activation is 0."""
    return tuple(s for s in network.sites if s.bends_at_zero and s.piecewise_affine)


def tangents(
    network: Network, inputs: torch.Tensor, directions: torch.Tensor, sites: Sequence[Site]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Pre-activations h and their derivatives V u along `directions` (same shape as `inputs`), per site `(n, units)`.

    One forward-mode pass, about two forward passes a row.
    """
    values, slopes = {}, {}
    with torch.no_grad(), differentiable_forward(), forward_ad.dual_level():
        dual = forward_ad.make_dual(inputs, directions)
        _, pre, _ = record(network.forward, dual, sites)
        for name, value in pre.items():
            primal, tangent = forward_ad.unpack_dual(value)
            values[name] = primal.flatten(1)
            slopes[name] = torch.zeros_like(primal).flatten(1) if tangent is None else tangent.flatten(1)
    return values, slopes


def shared_tangents(
    network: Network, inputs: torch.Tensor, directions: torch.Tensor, sites: Sequence[Site]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Pre-activations `(n, units)` and their derivatives `(R, n, units)` along R directions `(R, ...)` shared by all
    inputs, per site.

    One forward pass and R tangents a row (`torch.func.jvp` under `vmap`: the pass itself is not repeated); models that
    `vmap` cannot take go through direction by direction.
    """
    from torch.func import jvp, vmap

    def values(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        _, pre, _ = record(network.forward, x, sites)
        return tuple(pre[s.name].flatten(1) for s in sites)

    def along(direction: torch.Tensor) -> tuple[Any, Any]:
        primal, moved, *_ = jvp(values, (inputs,), (direction.expand_as(inputs),))
        return primal, moved

    names = [s.name for s in sites]
    try:
        with torch.no_grad(), differentiable_forward():
            primal, moved = vmap(along)(directions)
    except (RuntimeError, NotImplementedError):
        found = [tangents(network, inputs, d.expand_as(inputs).contiguous(), sites) for d in directions]
        return found[0][0], {name: torch.stack([slopes[name] for _, slopes in found]) for name in names}
    return {name: value[0] for name, value in zip(names, primal)}, dict(zip(names, moved))


def gradient_norms(
    network: Network, inputs: torch.Tensor, sites: Sequence[Site], *, batch_size: int = 64
) -> dict[str, torch.Tensor]:
    """|V_i|_2 of every unit, per site `(n, units)`; exact. Costs D forward-mode passes a row (D input dimensions).

    `batch_size` copies go through the network at once (one of each input at least); the memory is that many times the
    captured pre-activations.
    """
    dims = inputs[0].numel()
    squares = {s.name: inputs.new_zeros(len(inputs), s.width) for s in sites}
    per_input = max(1, batch_size // len(inputs))
    for start in range(0, dims, per_input):
        columns = torch.arange(start, min(start + per_input, dims), device=inputs.device)
        basis = torch.nn.functional.one_hot(columns, dims).to(inputs).reshape(len(columns), *inputs.shape[1:])
        many = inputs.repeat_interleave(len(columns), dim=0)
        _, slopes = tangents(network, many, basis.repeat(len(inputs), *([1] * (inputs.dim() - 1))), sites)
        for name, slope in slopes.items():
            squares[name] += slope.reshape(len(inputs), len(columns), -1).square().sum(dim=1)
    return {name: square.sqrt() for name, square in squares.items()}


def sketched_norms(
    network: Network, inputs: torch.Tensor, sites: Sequence[Site], *, noise: Sequence[torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Pre-activations, and |V_i| estimated as sqrt(mean over the Gaussian u of `noise` of (V_i u)^2), relative error
    1/sqrt(2 len(noise))."""
    values: dict[str, torch.Tensor] = {}
    squares: dict[str, torch.Tensor] = {}
    for direction in noise:
        values.clear()  # the last ones go before the next come
        values, slopes = tangents(network, inputs, direction, sites)
        for name in list(slopes):
            slope = slopes.pop(name)
            squares[name] = squares[name].addcmul_(slope, slope) if name in squares else slope.square()
    return values, {name: square.div_(len(noise)).sqrt_() for name, square in squares.items()}


def probes_for(inputs: torch.Tensor, probes: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Gaussian directions, each of the inputs' shape."""
    drawn = (torch.randn(inputs.shape, generator=generator, dtype=torch.float64) for _ in range(probes))
    return [noise.to(inputs) for noise in drawn]


def gradient_norms_of(
    network: Network,
    points: torch.Tensor,
    sites: Sequence[Site],
    site_index: torch.Tensor,
    unit: torch.Tensor,
    *,
    batch_size: int = 512,
) -> torch.Tensor:
    """|V_i|_2 of one chosen unit for every row of `points` `(m, ...)`, shape `(m,)`; exact.

    `site_index` and `unit` `(m,)` choose the units. One forward and one backward pass a row, `batch_size` at a time.
    """
    norms = []
    for start in range(0, len(points), batch_size):
        part = points[start : start + batch_size].detach().clone().requires_grad_(True)
        chosen, units = site_index[start : start + batch_size], unit[start : start + batch_size]
        with torch.enable_grad():
            _, pre, _ = record(network.forward, part, sites, grad=True)
            total = part.new_zeros(())
            for k, site in enumerate(sites):
                mine = (chosen == k).nonzero().flatten()
                if len(mine):
                    total = total + pre[site.name].flatten(1)[mine, units[mine]].sum()
            (gradient,) = torch.autograd.grad(total, part)
        network.passes.count(backward=len(part))
        norms.append(gradient.flatten(1).norm(dim=1))
    return torch.cat(norms)
