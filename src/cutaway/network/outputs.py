"""The one tensor that a model's output stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from cutaway.errors import ModelError


def first_tensor(output: Any) -> torch.Tensor:
    """The tensor that a model's output stands for: itself, what is called `logits` (or `last_hidden_state`), else the
    only entry of shape (n, classes), else the first that is no single number. Raises `ModelError` where that leaves
    several."""
    if isinstance(output, torch.Tensor):
        return output
    for name in ("logits", "last_hidden_state"):
        named = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(named, torch.Tensor):
            return named
    if isinstance(output, Mapping):
        entries = list(output.values())
    else:
        entries = list(output) if isinstance(output, list | tuple) else list(getattr(output, "__dict__", {}).values())
    tensors = [e for e in entries if isinstance(e, torch.Tensor) and e.dim() > 0]
    flat = [e for e in tensors if e.dim() == 2 and e.is_floating_point()]
    if len(flat) > 1:
        raise ModelError(
            "the model's output",
            found=f"{len(flat)} entries of shapes {', '.join(str(tuple(e.shape)) for e in flat)}, none called logits",
            expected="one that could be a classifier's",
            remedy="wrap the model so that it returns that tensor, or call it logits",
        )
    if flat or tensors:
        return (flat or tensors)[0]
    nested = [e for e in entries if isinstance(e, list | tuple | Mapping)]
    if nested:
        return first_tensor(nested[0])
    raise ModelError(
        "the model's output",
        found=type(output).__name__,
        expected="a tensor, or a structure that holds one",
        remedy="let the model give a tensor, or wrap it so that it does",
    )
