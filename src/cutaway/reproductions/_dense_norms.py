"""Every neuron's height and exact gradient norm in dense ReLU networks, by Gram matrices instead of Jacobians.

In the region of x pre-activation i of layer l is affine with slope V_i. The norms |V_i|_2 are the square roots of the
diagonal of G_l = V V^T, and G_1 = W_1 W_1^T (shared by all points), G_l = A G_{l-1} A^T with A = W_l diag(q_{l-1})
and q the activation's slopes at x. With n neurons a layer and D inputs this costs n^3 a point and layer instead of
n^2 D, and no n x D matrix is made. BatchNorm in evaluation mode is folded into the layer before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """One affine layer (weight (out, in), bias (out,)) and the slope below 0 of the activation behind it."""

    weight: Tensor
    bias: Tensor
    slope: float


def dense_layers(model: nn.Module) -> list[Dense] | None:
    """The hidden layers of a plain `nn.Sequential` of Flatten, Linear, BatchNorm1d, ReLU and LeakyReLU in evaluation
    mode, BatchNorm folded in; None for anything else."""
    if not isinstance(model, nn.Sequential):
        return None
    layers: list[Dense] = []
    weight = bias = None
    for module in model:
        if type(module) is nn.Linear and weight is None:
            weight = module.weight.detach()
            bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias.detach()
        elif type(module) is nn.BatchNorm1d and weight is not None and bias is not None:
            weight, bias = _folded(weight, bias, module)
        elif type(module) in (nn.ReLU, nn.LeakyReLU) and weight is not None and bias is not None:
            layers.append(Dense(weight=weight, bias=bias, slope=float(getattr(module, "negative_slope", 0.0))))
            weight = bias = None
        elif type(module) not in (nn.Flatten, nn.Identity, nn.Dropout):
            return None
    return layers or None


@torch.no_grad()
def dense_norms(layers: list[Dense], inputs: Tensor, *, rows: int = 32) -> tuple[Tensor, Tensor]:
    """Pre-activations h_i(x) and slopes' norms |V_i|_2 of all hidden neurons, layer after layer, each (n, neurons).

    Exact up to rounding; memory `rows` n^2 numbers. Raises `InputError` when the inputs do not fit the first layer.
    """
    flat = inputs.flatten(1).to(layers[0].weight)
    if flat.shape[1] != layers[0].weight.shape[1]:
        raise InputError(
            "inputs",
            found=f"{flat.shape[1]} numbers a row",
            expected=f"{layers[0].weight.shape[1]}, as the first layer",
            remedy="give inputs of the network's own shape",
        )
    gram = layers[0].weight @ layers[0].weight.T
    parts = [_norms_of(layers, part, gram) for part in flat.split(rows)]
    return torch.cat([h for h, _ in parts]), torch.cat([v for _, v in parts])


def _norms_of(layers: list[Dense], inputs: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    heights, norms, value, gram = [], [], inputs, first
    gate = inputs.new_empty(0)
    for depth, layer in enumerate(layers):
        if depth:
            pulled = layer.weight * gate[:, None, :]
            half = pulled @ gram
            norms.append((half * pulled).sum(dim=2).clamp(min=0).sqrt())
            if depth + 1 < len(layers):
                gram = half @ pulled.mT
        else:
            norms.append(first.diagonal().clamp(min=0).sqrt().expand(len(inputs), -1))
        height = value @ layer.weight.T + layer.bias
        gate = torch.where(height > 0, 1.0, layer.slope).to(height)
        heights.append(height)
        value = height * gate
    return torch.cat(heights, dim=1), torch.cat(norms, dim=1)


def _folded(weight: Tensor, bias: Tensor, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None and norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    shift = -norm.running_mean * scale
    if norm.affine:
        scale, shift = scale * norm.weight.detach(), shift * norm.weight.detach() + norm.bias.detach()
    return weight * scale[:, None], bias * scale + shift
