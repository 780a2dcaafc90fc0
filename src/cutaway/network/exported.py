"""An exported program as a module that can be sent to worker processes.

The module that `torch.export` makes of a program holds code that no pickle takes. It is sent as the bytes of its file
and its tensors as they are now (device, dtype and values), and read again on arrival.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.errors import BudgetError

RUNS = 2
"""Results of an operation that are held at a time: of the example's rows, and of these once more alone."""


def sendable(content: bytes) -> tuple[nn.Module, torch.export.ExportedProgram]:
    """The module of the exported program in `content`, which pickles, and the program.

    `content` comes from `archive.checked_archive`, or from a file whose origin the user trusts: torch runs what it asks
    for. Torch makes a class of its own for every such module, so what is said to that class concerns this module alone.
    """
    with _heard() as heard:
        try:
            program = torch.export.load(io.BytesIO(content))
        except RuntimeError as error:
            raise RuntimeError(heard[-1]) if heard else error from error
    module = program.module()

    def reduced(self: nn.Module, _protocol: int = 2) -> tuple[Any, ...]:
        return _again, (content, {k: v.detach() for k, v in self.state_dict().items()})

    kind: Any = type(module)
    kind.__reduce_ex__ = reduced
    return module, program


def run_within(path: Path, module: nn.Module, example: Tensor) -> None:
    """One pass of the program on its own example, in which no operation may make more than the budget holds; what else
    is wrong with it is said where it is used. Raises BudgetError, naming the operation."""
    from cutaway.network.onnx.sizes import SizeGuard

    try:
        with torch.no_grad(), SizeGuard(f"operation {{}} of exported program {path}", RUNS):
            module(example)
    except BudgetError:
        raise
    except Exception:
        return


@contextlib.contextmanager
def _heard() -> Iterator[list[str]]:
    """What torch logs meanwhile, in a line each, in place of its tracebacks on the user's screen."""
    heard: list[str] = []

    def hear(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        lines = str(error or record.getMessage()).strip().splitlines()
        heard.append((lines or [record.levelname])[0].strip())
        return False

    logger = logging.getLogger("torch.export")
    logger.addFilter(hear)
    try:
        yield heard
    finally:
        logger.removeFilter(hear)


def _again(content: bytes, tensors: dict[str, torch.Tensor]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch reads its own older notation
        module, _ = sendable(content)
    first = next((t for t in tensors.values() if t.is_floating_point()), None)
    if first is not None:
        module = module.to(device=first.device, dtype=first.dtype)
    module.load_state_dict(tensors, assign=True)
    return module
