"""Sizes inside an ONNX file are numbers that anyone may write: what a node makes is measured before memory is taken.

Under `SizeGuard` every operation of torch first runs on tensors without memory (`device="meta"`), so the guard covers
all operators alike, and what their functions make on the way.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from cutaway.network.onnx.nodes import Node
from cutaway.network.onnx.read import check_bytes

SMALL = 1 << 24
"""Bytes that need no question."""


class SizeGuard(TorchDispatchMode):
    """Raises BudgetError, naming the node, before a result is made that is larger than every operand (a view too,
    which another program would copy) and of which `times` do not fit the memory budget. Cost: every operation once more
    without data."""

    def __init__(self, node: Node, times: int) -> None:
        super().__init__()
        self.node, self.times = node, times

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        for shape, width in _results(func, args, kwargs or {}):
            size = self.times * math.prod(shape) * width
            if size > SMALL:
                offender = f"node {self.node.name!r} ({self.node.op_type}) of {self.node.path}"
                check_bytes(size, offender, f"{self.times} results of shape {list(shape)}")
        return func(*args, **(kwargs or {}))


def _results(func: Any, args: tuple, kwargs: dict) -> list[tuple[tuple[int, ...], int]]:
    """Shape and bytes a number of what an operation makes larger than its operands; none where that hangs on data."""
    args, kwargs = tree_map_only(Tensor, _without_memory, (args, kwargs))
    if any(argument.name == "device" for argument in func._schema.arguments):
        kwargs = {**kwargs, "device": torch.device("meta")}
    try:
        found = func(*args, **kwargs)
    except (RuntimeError, NotImplementedError, ValueError, TypeError, IndexError):
        return []  # the operation itself says what is wrong with it
    largest = max((_bytes(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)), default=0)
    made = [t for t in tree_leaves(found) if isinstance(t, Tensor)]
    return [(tuple(t.shape), t.element_size()) for t in made if _bytes(t) > largest]


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _without_memory(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
