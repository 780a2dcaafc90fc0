"""The gradient of a number with respect to inputs, refused where there is none."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import torch

from cutaway._compat import mkldnn_off, own_device
from cutaway.errors import NoGradient


@contextlib.contextmanager
def derivatives() -> Iterator[None]:
    """Derivatives are to be had, whatever mode (`no_grad`, `inference_mode`) or default device the caller has set."""
    with own_device(), torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
        # torch compiles the formulas of forward mode with torch.jit.script on first use, and warns its caller of that
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
        yield


@contextlib.contextmanager
def mha_fastpath_off() -> Iterator[None]:
    """Keeps attention modules on the path that torch's own functions can be seen on, and restores the setting."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


@contextlib.contextmanager
def differentiable_forward() -> Iterator[None]:
    """Attention and recurrent layers by plain mathematics: their fused kernels have neither a forward-mode nor a second
    derivative."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH), mha_fastpath_off(), mkldnn_off():
        yield


def gradient_of(value: torch.Tensor, point: torch.Tensor, *, again: bool = False) -> torch.Tensor:
    """d value / d point; `again`: the graph is needed once more. Raises NoGradient where `value` does not depend on
    `point` in a way that can be differentiated (a search would take that for robustness)."""
    part = None
    if value.requires_grad:
        (part,) = torch.autograd.grad(value, point, retain_graph=again, allow_unused=True)
    if part is None:
        raise no_gradient()
    return part


def trainable(loss: torch.Tensor) -> torch.Tensor:
    """`loss` itself. Raises NoGradient where it does not depend on weights in a way that can be differentiated."""
    if not loss.requires_grad:
        raise no_gradient("weights", remedy="give a network that can be trained")
    return loss


def no_gradient(
    of: str = "inputs", *, remedy: str = "attack it without gradients: attack='square' or 'boundary'"
) -> NoGradient:
    """The error, in the same words everywhere."""
    return NoGradient(
        "the network's outputs",
        found=f"no gradient with respect to the {of}",
        expected="outputs that can be differentiated (no argmax, rounding, detach or no_grad on the way)",
        remedy=remedy,
    )
