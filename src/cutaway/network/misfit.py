"""Which layer refuses an input, what it was given, and what to do: the words for a network that does not run."""

from __future__ import annotations

import math
from types import TracebackType

import torch
from torch import nn

from cutaway.errors import ModelError

_CONVOLUTIONS = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
_CHANNELS = "check the shape and the order of the channels (images are N, C, H, W)"


def misfit(model: nn.Module, name: str, example: torch.Tensor, error: Exception) -> ModelError:
    """The error of ours for `error`, which the model raised on `example` (n, ...).

    The layer is the innermost module whose call is on the traceback. Known remedies: a linear layer that takes as many
    numbers as a row has, in one vector; channels that come last; rows that are no images; numbers where token ids
    belong. The first line of torch's own message stands beside them.
    """
    first = (str(error).splitlines() or [""])[0]
    where, said = f"network {name!r} on an input of shape {tuple(example.shape)}", f"{type(error).__name__}: {first}"
    path, layer, given = _refusing(model, error.__traceback__)
    if layer is None or given is None:
        return ModelError(where, found=said, expected="a model that accepts this input", remedy=_CHANNELS)
    expected, remedy = _remedy(layer, path, given)
    layered = f"{tuple(given.shape)} at layer {path!r} ({type(layer).__name__})"
    found = f"{layered}, which refuses it ({said})"
    return ModelError(where, found=found, expected=expected, remedy=remedy)


def _refusing(model: nn.Module, trace: TracebackType | None) -> tuple[str, nn.Module | None, torch.Tensor | None]:
    """Path, module and first tensor of the innermost call of a submodule."""
    paths = {id(module): path for path, module in model.named_modules()}
    found: tuple[str, nn.Module | None, torch.Tensor | None] = ("", None, None)
    while trace is not None:
        values = trace.tb_frame.f_locals
        module, trace = values.get("self"), trace.tb_next
        if not isinstance(module, nn.Module) or module is model or id(module) not in paths:
            continue
        arguments = [*values.values(), *(values.get("args") or ())]
        given = next((v for v in arguments if isinstance(v, torch.Tensor) and not isinstance(v, nn.Parameter)), None)
        if given is not None:
            found = (paths[id(module)], module, given)
    return found


def _remedy(layer: nn.Module, path: str, given: torch.Tensor) -> tuple[str, str]:
    """What the layer takes, and what to do."""
    shape = tuple(given.shape)
    if isinstance(layer, nn.Linear | _CONVOLUTIONS) and not given.is_floating_point():
        kind = str(given.dtype).removeprefix("torch.")
        return "floating-point numbers", f"{kind} holds whole ones: give inputs.float()"
    if isinstance(layer, nn.Linear):
        numbers, takes = math.prod(shape[1:]), f"rows of {layer.in_features} numbers"
        if numbers == layer.in_features:
            return takes, f"put nn.Flatten() before layer {path!r}, or give the inputs flat: inputs.flatten(1)"
        return takes, f"a row has {numbers} there: give inputs of the size that the network was built for"
    if isinstance(layer, _CONVOLUTIONS):
        spatial = len(layer.kernel_size)
        takes = f"(n, {layer.in_channels}" + ", ".join(["", *"DHW"[3 - spatial :]]) + ")"
        if len(shape) == spatial + 2 and shape[-1] == layer.in_channels:
            return takes, "the channels come last here: inputs.movedim(-1, 1) puts them where torch has them"
        if len(shape) != spatial + 2:
            return takes, "give the inputs in this shape: inputs.reshape(n, channels, ...) of flat rows"
        return takes, f"the inputs have {shape[1]} channels: give images of {layer.in_channels}"
    if isinstance(layer, nn.Embedding) and given.is_floating_point():
        return "token ids (n, length), int64", "give whole numbers: text through its tokenizer, or inputs.long()"
    return "values that this layer accepts", _CHANNELS
