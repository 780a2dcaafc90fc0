"""Leaving a model as it was found: modes, gradients, buffers, hooks and random state, after success and after an
exception.

One thread at a time: modes and gradients of a model, the submodules that several models share and the random state of
the process are one for all threads, so that two measurements side by side would restore what the other had changed.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

_MEASURING = threading.RLock()


def _new_lock() -> None:
    global _MEASURING
    _MEASURING = threading.RLock()


if hasattr(os, "register_at_fork"):  # a child has none of the threads that could give the lock back
    os.register_at_fork(after_in_child=_new_lock)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """No other thread measures meanwhile. Taken before any other lock (that of a `cached_property`) whose holder may
    measure."""
    with _MEASURING:
        yield


@contextlib.contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Restore on exit what a measurement could disturb; other threads wait until then.

    Training flags, `requires_grad`, `.grad`, buffer values, forward and backward hooks, and the global random state
    of Python, NumPy and torch. Parameters are never written by measurements and are not copied. Inside, autocast and
    inference mode of the caller are off: the model computes in its own precision.
    """
    with _MEASURING, _own_precision(model), _restored(model):
        yield


@contextlib.contextmanager
def evaluated(model: nn.Module) -> Iterator[nn.Module]:
    """`model` in evaluation mode; every module gets its own flag back on exit, also after an error."""
    active = [module for module in model.modules() if module.training]
    for module in active:
        module.training = False
    try:
        yield model
    finally:
        for module in active:
            module.training = True


@contextlib.contextmanager
def _own_precision(model: nn.Module) -> Iterator[None]:
    kinds = {"cpu"} | {p.device.type for p in model.parameters()}
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        for kind in sorted(kinds - {"meta"}):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextlib.contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    modules = list(model.modules())
    training = [m.training for m in modules]
    parameters = list(model.parameters())
    flags = [(p.requires_grad, p.grad) for p in parameters]
    buffers = [(b, b.detach().clone(), b._version) for b in model.buffers()]
    hooks = [(dict(m._forward_hooks), dict(m._forward_pre_hooks), dict(m._backward_hooks)) for m in modules]
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 (restored, never drawn from)
    devices = sorted({p.device.index or 0 for p in parameters if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)  # noqa: NPY002
        for module, mode, (forward, forward_pre, backward) in zip(modules, training, hooks, strict=True):
            module.training = mode
            for live, kept in (
                (module._forward_hooks, forward),
                (module._forward_pre_hooks, forward_pre),
                (module._backward_hooks, backward),
            ):
                for key in [k for k in live if k not in kept]:
                    del live[key]
        for parameter, (requires_grad, grad) in zip(parameters, flags, strict=True):
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad
        with torch.no_grad():
            for buffer, value, version in buffers:
                # On the processor batch normalisation in training mode writes its statistics without a new version.
                if buffer._version != version or not torch.equal(buffer, value):
                    buffer.copy_(value)
