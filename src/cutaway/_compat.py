"""The one place that touches optional packages and semi-private parts of torch and transformers."""

from __future__ import annotations

import contextlib
import contextvars
import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cutaway.errors import MissingExtra

if TYPE_CHECKING:
    import torch


def require(package: str, extra: str) -> ModuleType:
    """Import an optional package, or say which extra installs it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtra.of(package, extra) from error


def own_initialiser(module: object):
    """The module's own initialiser (`reset_parameters`, or the `_reset_parameters` of attention modules), or None."""
    return getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)


def is_transformers_model(module: object) -> bool:
    """Whether `module` is a Hugging Face `PreTrainedModel` (asked without importing transformers)."""
    return any(base.__name__ == "PreTrainedModel" for base in type(module).__mro__)


def fresh_transformers_model(module):
    """A new, untrained model of the same class and configuration (its own `init_weights` runs in the constructor)."""
    import copy

    config = copy.deepcopy(module.config)
    return type(module)(config)


_CALLERS: contextvars.ContextVar[torch.device | None] = contextvars.ContextVar("device", default=None)


@contextlib.contextmanager
def own_device(model: torch.nn.Module | None = None) -> Iterator[None]:
    """Tensors that name no device are made on the processor, whatever `torch.set_default_device` the caller has set;
    `model` alone sees the caller's (unless it is meta, where nothing can be computed)."""
    import torch

    host = _CALLERS.get() or torch.get_default_device()
    if host.type == "cpu":
        yield
        return
    was = _CALLERS.set(host)
    seen = contextlib.nullcontext() if model is None or host.type == "meta" else _default_inside(model, host)
    try:
        with torch.device("cpu"), seen:
            yield
    finally:
        _CALLERS.reset(was)


@contextlib.contextmanager
def _default_inside(model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """`device` is torch's default while `model` runs."""
    entered: list[torch.device] = []

    def enter(*_call: Any) -> None:
        device.__enter__()
        entered.append(device)

    def leave(*_call: Any) -> None:
        entered.pop().__exit__(None, None, None)

    hooks = [model.register_forward_pre_hook(enter), model.register_forward_hook(leave, always_call=True)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class NotCompiled:
    """Mixed into a dispatch mode whose operators no `torch.compile` runs: torch then does not load its compiler (1.3
    CPU seconds) to keep it away from them."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def mersenne_generator(words):
    """torch's CPU generator whose Mersenne twister starts from 624 `words` of 32 bits.

    The layout is the one torch keeps for checkpoints (`get_state`): 24 bytes of counters, then the words as int64.
    """
    import numpy as np
    import torch

    made = torch.Generator().manual_seed(0)
    state = made.get_state()
    state[24 : 24 + 8 * len(words)] = torch.from_numpy(np.asarray(words, dtype=np.int64).view(np.uint8))
    made.set_state(state)
    return made


@contextlib.contextmanager
def mkldnn_off():
    """Without oneDNN's kernels, and as before afterwards (torch's own `flags` warns of an unrelated setting)."""
    import torch

    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)
