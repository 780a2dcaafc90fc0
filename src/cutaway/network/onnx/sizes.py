"""Sizes inside an ONNX file are numbers that anyone may write: what a node makes is measured before memory is taken.

Under `SizeGuard` the result of every operation of torch is measured before it is made: by its shapes for the usual
ones, else by a run on tensors without memory (`device="meta"`), so that the guard covers all operators alike, and what
their functions make on the way.
"""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from cutaway._compat import NotCompiled
from cutaway.network.onnx.read import check_bytes

SMALL = 1 << 24
"""Bytes that need no question."""
SAME = (
    "_softmax",
    "_log_softmax",
    "native_batch_norm",
    "native_layer_norm",
    "native_group_norm",
    "_prelu_kernel",
    "flip",
)
"""Operations whose result has the shape of their first operand."""
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv")
"""Of their last two operands."""


class SizeGuard(NotCompiled, TorchDispatchMode):
    """Raises BudgetError, naming the `offender` (`{}` in it is the operation), before a result is made that is larger
    than every operand (a view too, which another program would copy) and of which `times` do not fit the memory
    budget beside what is still held of earlier ones. Cost: every operation once more without data."""

    def __init__(self, offender: str, times: int) -> None:
        super().__init__()
        self.offender, self.times, self.live = offender, times, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        for shape, width in _results(func, args, kwargs or {}):
            size = self.times * math.prod(shape) * width
            if size > SMALL:
                told = f"{self.times} results of shape {list(shape)}"
                told += f" beside {self.live:.3g} bytes of earlier ones" if self.live else ""
                check_bytes(size + self.live, self.offender.format(func.__name__), told)
        result = func(*args, **(kwargs or {}))
        for made in tree_leaves(result):
            if isinstance(made, Tensor) and made._base is None and _bytes(made) > SMALL // 16:
                self._count(_bytes(made))
                weakref.finalize(made, self._count, -_bytes(made))
        if self.live > SMALL:
            check_bytes(self.live, self.offender.format(func.__name__), "results that are held together")
        return result

    def _count(self, size: int) -> None:
        self.live += size


def _results(func: Any, args: tuple, kwargs: dict) -> list[tuple[tuple[int, ...], int]]:
    """Shape and bytes a number of what an operation makes larger than its operands; none where that hangs on data."""
    given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    largest = max((_bytes(t) for t in given), default=0)
    try:
        shape = _shape_of_result(func, args, given)
    except (RuntimeError, ValueError, TypeError, IndexError):
        return []  # the operation itself says what is wrong with it
    if shape is None:
        return [made for made in _asked_of_torch(func, args, kwargs) if math.prod(made[0]) * made[1] > largest]
    width = max((t.element_size() for t in given), default=8)
    return [(shape, width)] if math.prod(shape) * width > largest else []


def _shape_of_result(func: Any, args: tuple, given: list[Tensor]) -> tuple[int, ...] | None:
    """The shape, for what nearly every network consists of; None for what only torch can tell, which loads its compiler
    for an answer (1 CPU second)."""
    word = func.__name__.split(".")[0]
    if torch.Tag.pointwise in func.tags or word in SAME:
        return np.broadcast_shapes(*(t.shape for t in given[: 1 if word in SAME else None]))
    if torch.Tag.reduction in func.tags:
        return tuple(given[0].shape)
    if word in PRODUCTS:
        left, right = given[-2:]
        return (*left.shape[:-1], right.shape[-1])
    if word == "convolution" and not args[6]:
        return _convolved(*args[:6])
    if word == "cat":
        return (sum(t.numel() for t in given),)
    return None


def _convolved(x: Tensor, weight: Tensor, _bias: Any, stride: list, padding: list, dilation: list) -> tuple[int, ...]:
    sizes = []
    for k, kernel in enumerate(weight.shape[2:]):
        room = x.shape[2 + k] + 2 * padding[k % len(padding)] - dilation[k % len(dilation)] * (kernel - 1) - 1
        sizes.append(room // stride[k % len(stride)] + 1)
    return (x.shape[0], weight.shape[0], *sizes)


def _asked_of_torch(func: Any, args: tuple, kwargs: dict) -> list[tuple[tuple[int, ...], int]]:
    """Shapes and bytes a number of an operation's results, which it runs without memory."""
    args, kwargs = tree_map_only(Tensor, _without_memory, (args, kwargs))
    if any(argument.name == "device" for argument in func._schema.arguments):
        kwargs = {**kwargs, "device": torch.device("meta")}
    try:
        found = func(*args, **kwargs)
    except (RuntimeError, NotImplementedError, ValueError, TypeError, IndexError):
        return []
    return [(tuple(t.shape), t.element_size()) for t in tree_leaves(found) if isinstance(t, Tensor)]


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _without_memory(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
