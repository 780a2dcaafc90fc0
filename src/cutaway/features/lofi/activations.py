"""Activations of Neural LoFi by name: the numpy function (for kernels) and the torch function (for finite lifts).

All act elementwise on a pre-activation of about unit variance. Names and list follow the public LoFi code
(arXiv 2605.13612, companion repository), written anew here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import erf, expit, ndtr

from cutaway.features.lofi.errors import EstimatorInputError

SQRT2 = float(np.sqrt(2.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """`evaluate` maps arrays to arrays; `smooth` says whether Gauss-Hermite quadrature converges fast on it."""

    name: str
    evaluate: Callable[[Any], Any]
    smooth: bool


def _relu(x: Any) -> Any:
    return np.maximum(x, 0.0)


_TABLE: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "relu": (_relu, False),
    "relu_normalized": (lambda x: SQRT2 * _relu(x), False),
    "relu6": (lambda x: np.clip(x, 0.0, 6.0), False),
    "capped_relu": (lambda x: np.clip(x, 0.0, 1.0), False),
    "step": (lambda x: (np.asarray(x) > 0).astype(np.float64), False),
    "sigmoid": (expit, True),
    "tanh": (np.tanh, True),
    "erf": (lambda x: erf(np.asarray(x) / SQRT2), True),
    "gelu": (lambda x: x * ndtr(x), True),
    "square": (np.square, True),
    "cube": (lambda x: np.asarray(x) ** 3, True),
    "cos": (np.cos, True),
    "sin": (np.sin, True),
    "rbf": (lambda x: np.exp(-0.5 * np.square(x)), True),
    "identity": (lambda x: np.asarray(x), True),
}

ACTIVATIONS = tuple(_TABLE)


def activation_named(name: str) -> Activation:
    """The activation called `name`; raises `EstimatorInputError` listing the known names otherwise."""
    if name not in _TABLE:
        raise EstimatorInputError(
            "parameter activation",
            found=repr(name),
            expected=f"one of {', '.join(ACTIVATIONS)}",
            remedy="give one of these names",
        )
    evaluate, smooth = _TABLE[name]
    return Activation(name=name, evaluate=evaluate, smooth=smooth)


def torch_activation(name: str) -> Callable[[Any], Any]:
    """The torch counterpart of `activation_named(name).evaluate` (imports torch on call)."""
    import torch
    from torch.nn import functional

    activation_named(name)
    table: dict[str, Callable[[Any], Any]] = {
        "relu": torch.relu,
        "relu_normalized": lambda x: SQRT2 * torch.relu(x),
        "relu6": lambda x: torch.clamp(x, 0.0, 6.0),
        "capped_relu": lambda x: torch.clamp(x, 0.0, 1.0),
        "step": lambda x: (x > 0).to(x.dtype),
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "erf": lambda x: torch.erf(x / SQRT2),
        "gelu": functional.gelu,
        "square": torch.square,
        "cube": lambda x: x**3,
        "cos": torch.cos,
        "sin": torch.sin,
        "rbf": lambda x: torch.exp(-0.5 * x * x),
        "identity": lambda x: x,
    }
    return table[name]
