"""Sizes beside tensors.

A *host* value is a Python int or tuple of ints: what `Shape` gives, and what arithmetic on it gives. Host values stay
exact and symbolic when `torch.export` traces with a free batch, so that Reshape(Concat(Shape(x)[0], 512)) keeps the
batch open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

MOST_SIZES = 10**6


HOST = (int, tuple, torch.SymInt)


def is_host(value: Any) -> bool:
    """Whether a value is a shape or a size rather than a tensor."""
    return isinstance(value, HOST)


def as_tuple(value: Any) -> tuple:
    """A host value, list or integer tensor as a tuple of ints."""
    if isinstance(value, Tensor):
        value = to_host(value)
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def to_host(value: Tensor) -> Any:
    """An integer tensor of at most one dimension as int or tuple. Raises ValueError for more than a million sizes."""
    if value.numel() > MOST_SIZES:
        raise ValueError(f"{value.numel()} sizes or positions, more than {MOST_SIZES}")
    listed = value.tolist()
    return tuple(listed) if isinstance(listed, list) else listed


def as_tensors(operands: Sequence[Any]) -> list[Any]:
    """Sizes beside tensors are data, as tensors."""
    return [torch.tensor(o) if is_host(o) else o for o in operands]


def elementwise(tensor_function: Callable, host_function: Callable | None = None) -> Callable:
    def apply(_attributes: dict[str, Any], *operands: Any):
        if host_function is not None and all(is_host(o) for o in operands):
            return on_host(host_function, *operands)
        return tensor_function(*as_tensors(operands))

    return apply


def on_host(function: Callable, *operands: Any) -> Any:
    if not any(isinstance(o, tuple) for o in operands):
        return function(*operands)
    return tuple(function(*entries) for entries in columns(operands))


def columns(operands: Sequence[Any]) -> list[tuple]:
    """The entries of host values side by side, one number or a tuple of one broadcast."""
    listed = [as_tuple(o) for o in operands]
    length = next((len(o) for o in listed if len(o) != 1), 1)
    return list(zip(*(o * length if len(o) == 1 else o for o in listed)))
