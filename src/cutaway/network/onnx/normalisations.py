"""ONNX normalisations as functions of torch tensors: called as function(attributes, data, scale, shift).

Statistics are taken in the precision of the data, whatever `stash_type` says.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def onnx_layer_norm(attributes: dict, x: Tensor, scale: Tensor, shift: Tensor | None = None) -> Tensor:
    """Over all dimensions from `axis` on."""
    axis = attributes.get("axis", -1) % x.ndim
    return F.layer_norm(x, tuple(x.shape[axis:]), scale, shift, attributes.get("epsilon", 1e-5))


def onnx_rms_norm(attributes: dict, x: Tensor, scale: Tensor) -> Tensor:
    """x / sqrt(mean(x^2) + epsilon) * scale, the mean over all dimensions from `axis` on; `scale` broadcasts."""
    axis = attributes.get("axis", -1) % x.ndim
    return F.rms_norm(x, tuple(x.shape[axis:]), None, attributes.get("epsilon", 1e-5)) * scale


def onnx_group_norm(attributes: dict, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Over each group of channels; before opset 21 (`of_groups`) there is one scale and shift for a group."""
    groups = attributes["num_groups"]
    if attributes.get("of_groups"):
        scale, shift = (v.repeat_interleave(x.shape[1] // groups) for v in (scale, shift))
    return torch.group_norm(x, groups, scale, shift, attributes.get("epsilon", 1e-5))


def onnx_instance_norm(attributes: dict, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Over each channel alone."""
    return torch.group_norm(x, x.shape[1], scale, shift, attributes.get("epsilon", 1e-5))


def onnx_local_response_norm(attributes: dict, x: Tensor) -> Tensor:
    """x / (bias + alpha / size * sum of x^2)^beta over the `size` (odd) channels round each."""
    numbers = (attributes.get("alpha", 1e-4), attributes.get("beta", 0.75), attributes.get("bias", 1.0))
    return F.local_response_norm(x, attributes["size"], *numbers)


def _statistics(op_type: str, attributes: dict, x: Tensor) -> Tensor | None:
    """Variance or mean square of each part that is normalised alone."""
    if op_type in ("GroupNormalization", "InstanceNormalization"):
        groups = attributes.get("num_groups", x.shape[1])
        return x.reshape(x.shape[0], groups, -1).var(-1, correction=0)
    if op_type in ("LayerNormalization", "RMSNormalization"):
        x = x.flatten(attributes.get("axis", -1) % x.ndim)
        return x.square().mean(-1) if op_type == "RMSNormalization" else x.var(-1, correction=0)
    return None


def gain(op_type: str, attributes: dict, x: Any, scale: Any = None) -> float:
    """By how much a rounding of the data, relative to the largest, can grow; 1 for other operators.

    With r = 1 / sqrt(variance + epsilon) at the least variance: |scale| r; and, since onnxruntime's GroupNormalization
    takes E[x^2] - E[x]^2 for the variance, which is off by the square of the data, |scale| r max|x| r besides.
    """
    found = _statistics(op_type, attributes, x.detach()) if op_type.endswith("Normalization") else None
    if found is None:
        return 1.0
    steep = float((found.min() + attributes.get("epsilon", 1e-5)).rsqrt())
    if op_type == "GroupNormalization":
        steep += float(x.detach().abs().max()) * steep**2
    return max(1.0, float(scale.detach().abs().max()) * steep)
