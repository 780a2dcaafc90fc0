"""Weights that their class keeps packed (int8 of torchao, quanto and their like): unpacked into ordinary ones where the
network then computes the same, refused by name where it rounds its activations too."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from cutaway.errors import ModelError

_ROUNDS = ("act_quant_kwargs", "activation_quantization", "input_quant_func")
"""Where torchao's tensors keep how they round what they are multiplied with, None for not at all."""


def with_ordinary_weights(model: nn.Module) -> nn.Module:
    """A copy of `model` whose packed weights are unpacked into ordinary ones of their type: the same function up to
    rounding, with weights that have numbers, derivatives and untrained twins. The model stays as it is.

    Raises `ModelError` for weights that also round what they are multiplied with: no ordinary weight does that.
    Cost: a copy of the model. Source: definition.

    >>> import torch
    >>> plain = torch.nn.Linear(2, 1)
    >>> bool((with_ordinary_weights(plain).weight == plain.weight).all())
    True
    """
    made = copy.deepcopy(model)
    unpack(made)
    return made


def unpack(model: nn.Module) -> int:
    """The same in place; returns how many tensors were unpacked. Raises before anything is changed."""
    found = list(_packed(model))
    for path, name, tensor in found:
        if _rounds(tensor):
            raise _refusal(path, name, tensor)
    ordinary: dict[int, nn.Parameter] = {}  # a tied weight stays one
    for path, name, tensor in found:
        if id(tensor) not in ordinary:
            numbers = tensor.detach().dequantize().to(tensor.dtype)
            ordinary[id(tensor)] = nn.Parameter(numbers, requires_grad=False)
        setattr(model.get_submodule(path), name, ordinary[id(tensor)])
    return len(ordinary)


def refuse_packed(model: nn.Module) -> None:
    """Raises ModelError for the first parameter whose numbers are packed."""
    for found in _packed(model):
        raise _refusal(*found)


def _packed(model: nn.Module) -> Iterator[tuple[str, str, Tensor]]:
    for path, module in model.named_modules():
        for name, tensor in module.named_parameters(recurse=False):
            kind = type(tensor)
            if kind not in (Tensor, nn.Parameter) and kind.dequantize is not torch.Tensor.dequantize:
                yield path, name, tensor


def _rounds(tensor: Tensor) -> bool:
    return any(getattr(tensor, name, None) is not None for name in _ROUNDS)


def _refusal(path: str, name: str, tensor: Tensor) -> ModelError:
    place = f"parameter {f'{path}.{name}'.lstrip('.')!r}"
    if _rounds(tensor):
        return ModelError(
            place,
            found=f"a {type(tensor).__name__} that rounds what it is multiplied with",
            expected="ordinary weights: rounded activations have no derivative, and no ordinary weight rounds them",
            remedy="quantise the weights alone (torchao: Int8WeightOnlyConfig), or measure the network before it",
        )
    return ModelError(
        place,
        found=f"numbers packed as {type(tensor).__name__}",
        expected="ordinary weights",
        remedy="measure cutaway.network.with_ordinary_weights(model), a copy that computes the same",
    )
