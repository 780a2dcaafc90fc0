"""Variants of a network, to see what a common operation does to it: pruned, without biases, with other statistics.

Every function works on a copy; slices, crossings and local complexity (`cutaway.geometry`) then say what happened to
the regions.

Batch normalisation (arXiv 2209.14778): with fixed weights, the mean mu_i that it subtracts is the intercept for which
the hyperplane of neuron i has the least sum of squared distances to the batch (any other offset c adds n (c - mu_i)^2 /
|w_i|^2), so a network with its own data's statistics has its first hyperplanes through the data, all through the batch
mean when beta = 0. Pruning (arXiv 2101.02338): removing a unit removes a folded hyperplane. Without biases every region
is a cone.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cutaway.errors import InputError, ModelError

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def without_biases(model: nn.Module) -> nn.Module:
    """A copy whose linear and convolution biases and whose shifts and running means of batch normalisation are zero:
    its regions are cones, where nothing else adds a constant."""
    made = copy.deepcopy(model)
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, (*_WEIGHTED, _BatchNorm)) and module.bias is not None:
                module.bias.zero_()
            if isinstance(module, _BatchNorm) and module.running_mean is not None:
                module.running_mean.zero_()
    return made


def pruned(model: nn.Module, fraction: float, *, structured: bool = False) -> nn.Module:
    """A copy with the given fraction of weights of every layer (or, `structured`, of units of every hidden one) set to
    zero.

    Weights: the smallest in magnitude, layer by layer, the last one too, and all that are as small. Units: those with
    the smallest l2 norm of incoming weights, bias included. The last weighted layer keeps all units. Raises InputError
    unless 0 <= fraction < 1.
    """
    if not 0 <= fraction < 1:
        raise InputError(
            "fraction to prune", found=str(fraction), expected="0 <= fraction < 1", remedy="give a share such as 0.5"
        )
    made = copy.deepcopy(model)
    layers = [m for m in made.modules() if isinstance(m, _WEIGHTED)]
    with torch.no_grad():
        for number, layer in enumerate(layers):
            if structured:
                if number + 1 < len(layers):
                    _drop_units(layer, fraction)
                continue
            count = int(fraction * layer.weight.numel())
            if count:
                limit = layer.weight.abs().flatten().kthvalue(count).values
                layer.weight.mul_(layer.weight.abs() > limit)
    return made


def _drop_units(layer: nn.Module, fraction: float) -> None:
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, torch.Tensor)
    size = weight.flatten(1).square().sum(dim=1)
    if isinstance(bias, torch.Tensor):
        size = size + bias.square()
    gone = size.argsort()[: int(fraction * len(size))]
    weight[gone] = 0
    if isinstance(bias, torch.Tensor):
        bias[gone] = 0


def with_statistics_of(model: nn.Module, inputs: Tensor) -> nn.Module:
    """A copy whose batch-normalisation statistics are those of `inputs`: means, and variances over N - 1 as torch keeps
    them (one forward pass in training mode).

    Raises ModelError for a model without batch normalisation.
    `inputs` (N, *input shape).
    """
    made = copy.deepcopy(model)
    norms = [m for m in made.modules() if isinstance(m, _BatchNorm)]
    if not norms:
        raise ModelError(
            "batch-normalisation study",
            found="no batch normalisation",
            expected="at least one layer",
            remedy="give a network with batch normalisation",
        )
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average: one batch gives its own statistics
        norm.train()
    with torch.no_grad():
        made(inputs)
    return made.eval()
