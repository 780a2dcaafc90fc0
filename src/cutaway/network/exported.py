"""An exported program as a module that can be sent to worker processes.

The module that `torch.export` makes of a program holds code that no pickle takes. It is sent as the bytes of its file
and its tensors as they are now (device, dtype and values), and read again on arrival.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import torch
from torch import nn


def sendable(content: bytes) -> tuple[nn.Module, torch.export.ExportedProgram]:
    """The module of the exported program in `content`, which pickles, and the program.

    `content` comes from `archive.checked_archive`, or from a file whose origin the user trusts: torch runs what it asks
    for. Torch makes a class of its own for every such module, so what is said to that class concerns this module alone.
    """
    program = torch.export.load(io.BytesIO(content))
    module = program.module()

    def reduced(self: nn.Module, _protocol: int = 2) -> tuple[Any, ...]:
        return _again, (content, {k: v.detach() for k, v in self.state_dict().items()})

    kind: Any = type(module)
    kind.__reduce_ex__ = reduced
    return module, program


def _again(content: bytes, tensors: dict[str, torch.Tensor]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch reads its own older notation
        module, _ = sendable(content)
    first = next((t for t in tensors.values() if t.is_floating_point()), None)
    if first is not None:
        module = module.to(device=first.device, dtype=first.dtype)
    module.load_state_dict(tensors, assign=True)
    return module
