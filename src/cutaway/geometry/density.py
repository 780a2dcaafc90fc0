"""Density of region boundaries around samples, smooth in the weights: the form to train with.

For every gate z_i, E_x |grad z_i(x)| phi_sigma(z_i(x)) is, by the co-area formula, the density of its zero set under
inputs x when its threshold is blurred by Gaussian noise of width sigma (arXiv 2412.18283; the published text sums it
over the neurons and averages over data, and we do too). The norm is taken without a frame: for Gaussian directions u,
sqrt(pi / 2) E |grad z_i . u| = |grad z_i|, so one forward-mode pass a direction gives an unbiased estimate of the whole
sum.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from cutaway.errors import InputError
from cutaway.geometry.linearisation import boundary_sites
from cutaway.network import Network
from cutaway.network.capture import record
from cutaway.network.gradient import differentiable_forward


def boundary_density(
    network: Network | nn.Module,
    inputs: Tensor,
    *,
    sigma: float,
    num_directions: int = 4,
    generator: torch.Generator,
) -> Tensor:
    """sum_i |grad z_i| phi_sigma(z_i), one value a sample (n,), differentiable in the weights.

    Unit: boundaries per unit of input length. Estimate: unbiased over directions; relative error about
    0.75 / sqrt(num_directions) for a single gate, far less for the sum. `sigma`: width of the blur in units of the
    pre-activation. Cost: num_directions forward-mode passes, each about three forward passes when gradients are kept.
    Raises InputError for sigma <= 0, fewer directions than 1 and networks without ReLU-like sites. Source: arXiv
    2412.18283; the estimate by directions is ours.
    """
    if not sigma > 0:
        raise InputError("sigma", found=str(sigma), expected="a positive width", remedy="give a number above 0")
    if num_directions < 1:
        raise InputError(
            "num_directions",
            found=str(num_directions),
            expected="at least 1",
            remedy="give a whole number of at least 1",
        )
    if not isinstance(network, Network):
        network = Network(network, inputs[:2].detach(), probe=False)
    sites = boundary_sites(network.with_example(inputs[:2].detach()))
    if not sites:
        raise InputError(
            "boundary density",
            found="no ReLU-like site",
            expected="at least one",
            remedy="give a network with ReLU-like activations",
        )
    total = inputs.new_zeros(len(inputs))
    for _ in range(num_directions):
        noise = torch.randn(inputs.shape, generator=generator, dtype=torch.float64).to(inputs)
        with differentiable_forward(), forward_ad.dual_level():
            _, pre, _ = record(
                network.forward, forward_ad.make_dual(inputs, noise), sites, grad=torch.is_grad_enabled()
            )
            pairs = [forward_ad.unpack_dual(pre[site.name]) for site in sites]
        for value, slope in pairs:
            assert slope is not None, "every site depends on the inputs"
            weight = torch.exp(-0.5 * (value / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
            total = total + (weight * slope.abs()).flatten(1).sum(dim=1)
    return math.sqrt(math.pi / 2) * total / num_directions
