"""Sums, multiples and maxima of values of which some depend on an input: what other handlers are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from cutaway.network.graph.builder import Builder, Ref


def scale_shift(b: Builder, x: Ref, scale: Any = None, shift: Any = None) -> Ref:
    """x * scale + shift with constants; x is spread first where they are larger, so that the node keeps its shape."""
    shape = np.broadcast_shapes(b.shape(x), *(c.shape for c in (scale, shift) if isinstance(c, Tensor)))
    x = x if shape == b.shape(x) else b.emit("expand", x, shape=shape)
    return b.emit("scale_shift", x, constants={"scale": scale, "shift": shift})


def exact(value: Any) -> Tensor:
    """A number as a float64 tensor (a float32 one would change it); tensors as they are."""
    return value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)


def times(value: Any, factor: Any) -> Any:
    return value if isinstance(factor, int | float) and factor == 1 else value * factor


def add(b: Builder, x: Any, y: Any, *, alpha: float = 1) -> Ref:
    if isinstance(x, Ref) and isinstance(y, Ref):
        return b.emit("add", x, y, coefficients=(1, alpha))
    if isinstance(x, Ref):
        return scale_shift(b, x, shift=times(y, alpha))
    return scale_shift(b, y, scale=None if alpha == 1 else alpha, shift=x)


def sub(b: Builder, x: Any, y: Any, *, alpha: float = 1) -> Ref:
    return add(b, x, y, alpha=-alpha)


def rsub(b: Builder, x: Any, y: Any, alpha: float = 1) -> Ref:
    return add(b, y, x, alpha=-alpha)


def maximum(b: Builder, x: Any, y: Any) -> Any:
    if isinstance(x, Ref) and isinstance(y, Ref):
        return b.emit("maximum", x, y)
    x, fixed = (x, y) if isinstance(x, Ref) else (y, x)
    return scale_shift(b, b.emit("relu", scale_shift(b, x, shift=-exact(fixed))), shift=fixed)


def minimum(b: Builder, x: Any, y: Any) -> Any:
    if isinstance(x, Ref) and isinstance(y, Ref):
        return b.emit("minimum", x, y)
    x, fixed = (x, y) if isinstance(x, Ref) else (y, x)
    return scale_shift(b, b.emit("relu", scale_shift(b, x, scale=-1.0, shift=fixed)), scale=-1.0, shift=fixed)
