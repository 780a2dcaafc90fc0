"""Where an ONNX file itself rounds: a node that gives numbers of a coarser type than it reads, or computes in half
precision. Real arithmetic leaves such a step out, so that what is proved of it need not hold of the file."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cutaway.network.onnx.model import OnnxModel

SINGLE = torch.finfo(torch.float32).eps


def first_narrowing(model: OnnxModel) -> str:
    """The first node that rounds beyond float32, or to a coarser type than its finest input's, in words; "" for none.
    Of constants, which are computed once, those count whose numbers change.

    `model` as imported in the file's own types. Exact, as types do not depend on values. Cost: one forward pass.
    """
    found = [model.folded_narrowing] if model.folded_narrowing else []

    def look(module: nn.Module, given: tuple[Any, ...], result: Any) -> None:
        type_ = coarser_type(given, result if isinstance(result, list | tuple) else (result,))
        if type_:
            name = next(n for n, m in model.named_modules() if m is module)
            found.append(f"node {model.node_names.get(name, name)!r} rounds to {type_}")

    handles = [getattr(model, step[0]).register_forward_hook(look) for step in model.steps]
    try:
        with torch.no_grad():
            model(model.example())
    finally:
        for handle in handles:
            handle.remove()
    if not found and model.input_dtype.is_floating_point and torch.finfo(model.input_dtype).eps > SINGLE:
        return f"the input is {str(model.input_dtype)[6:]}"
    return found[0] if found else ""


def coarser_type(given: Any, results: Any, *, constant: bool = False) -> str:
    """The floating-point type of the first of `results` that is coarser than float32 or than the finest of `given`, ""
    for none; of a `constant`, not where its numbers are one of `given`'s."""
    sources = _floating(given)
    finest = min((torch.finfo(t.dtype).eps for t in sources), default=SINGLE)
    for value in _floating(results):
        kept = constant and any(t.shape == value.shape and torch.equal(t.double(), value.double()) for t in sources)
        if torch.finfo(value.dtype).eps > min(finest, SINGLE) and not kept:
            return str(value.dtype)[6:]
    return ""


def _floating(values: Any) -> list[Tensor]:
    return [v for v in values if isinstance(v, Tensor) and v.is_floating_point()]
