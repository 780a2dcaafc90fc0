"""Leaving a model as it was found: modes, gradients, buffers, hooks and random state, after success and after an
exception.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn


@contextlib.contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Restore on exit what a measurement could disturb.

    Training flags, `requires_grad`, `.grad`, buffer values, forward and backward hooks, and the global random state
    of Python, NumPy and torch. Parameters are never written by measurements and are not copied.
    """
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
