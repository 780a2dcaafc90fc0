"""One forward pass of a language model on token ids, and the part of it that is read: the body without its head.

Of an encoder-decoder model the body is the encoder, which is what reads a prompt; its decoder would read other tokens.
An adapter's body must compute what it computes inside the whole model, else (prompt or prefix tuning) it is refused.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.errors import CutawayError, InputError, ModelError
from cutaway.network.outputs import first_tensor
from cutaway.network.preserve import preserved


def accepts(model: nn.Module, name: str) -> bool:
    """Whether the model's forward takes an argument of this name."""
    forward = model.forward
    function = getattr(forward, "__func__", None)  # an instance's own forward may change
    return name in (_parameters(function) if function is not None else inspect.signature(forward).parameters)


@functools.lru_cache(maxsize=64)
def _parameters(function: Any) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def run_model(model: nn.Module, tokens: Tensor, mask: Tensor | None, **more: Any) -> Any:
    """One forward pass; the mask (n, T) of ones and zeros goes in where the model takes one, caches stay off.

    Rows must be padded on the right, so that positions count from the first token. Raises ModelError for a mask with
    zeros and a model without `attention_mask`, and where the model's own forward fails (an IndexError passes).
    """
    kwargs: dict[str, Any] = dict(more)
    if accepts(model, "attention_mask"):
        kwargs["attention_mask"] = torch.ones_like(tokens) if mask is None else mask
    elif mask is not None and not bool(mask.all()):
        raise ModelError(
            f"model {type(model).__name__}",
            found="no argument attention_mask",
            expected="rows without padding",
            remedy="batch rows of equal length only",
        )
    if accepts(model, "use_cache"):
        kwargs["use_cache"] = False
    try:
        return model(tokens, **kwargs)
    except (CutawayError, IndexError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, AssertionError) as error:
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise ModelError(
            f"model {type(model).__name__}",
            found=f"its forward on token ids {tuple(tokens.shape)} raised {type(error).__name__}: {reason}",
            expected="a forward that takes token ids (n, T)",
            remedy="check the model's configuration, and that it reads token ids alone",
        ) from error


def body_of(model: nn.Module, tokens: Tensor) -> nn.Module:
    """The model without head and wrappers (`base_model`, as far as it goes); the encoder of an encoder-decoder model.

    Around anything but a Hugging Face model of its own class one pass on the first row is compared. Raises InputError
    for anything but token ids (n, T), ModelError where the whole model gives its body something else than the tokens.
    """
    check_tokens(tokens)
    inner, sure = model, True
    while isinstance(further := getattr(inner, "base_model", None), nn.Module) and further is not inner:
        sure &= hasattr(type(inner), "base_model_prefix")
        inner = further
    decoder = bool(getattr(getattr(inner, "config", None), "is_encoder_decoder", False))
    encoder: Any = getattr(inner, "get_encoder", None)
    if decoder and encoder is not None:
        inner = encoder()
    if inner is not model and not sure:
        _same_inside(model, inner, tokens[:1], decoder)
    return inner


@torch.no_grad()
def _same_inside(model: nn.Module, body: nn.Module, row: Tensor, decoder: bool) -> None:
    seen: list[Tensor] = []
    handle = body.register_forward_hook(lambda _module, _args, output: seen.append(first_tensor(output)))
    try:
        with preserved(model):
            run_model(model, row, None, **({"decoder_input_ids": row[:, :1]} if decoder else {}))
            run_model(body, row, None)
    finally:
        handle.remove()
    within, alone = seen[0], seen[-1]
    if len(seen) != 2 or within.shape != alone.shape or not torch.allclose(within, alone, rtol=1e-3, atol=1e-4):
        raise ModelError(
            f"model {type(model).__name__}",
            found="a body that computes something else inside the whole model than on the tokens alone",
            expected="adapters that act on the weights (virtual tokens and prefixes have no row to be read at)",
            remedy="read the base model without its prompt or prefix tuning",
        )


def check_tokens(tokens: Tensor) -> None:
    """Raise InputError unless tokens are ids (n, T)."""
    if tokens.ndim != 2 or tokens.is_floating_point() or tokens.is_complex() or not tokens.numel():
        raise InputError(
            "the tokens",
            found=f"{tokens.dtype} of shape {tuple(tokens.shape)}",
            expected="token ids, integers (n, T)",
            remedy="give a language model and its token ids",
        )


def checked_mask(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """The valid tokens (n, T) as booleans. Raises InputError unless every row is ones, then zeros."""
    if mask is None:
        return torch.ones_like(tokens, dtype=torch.bool)
    valid = mask.bool()
    if valid.shape != tokens.shape or not bool(valid[:, 0].all()) or bool((valid[:, 1:] & ~valid[:, :-1]).any()):
        raise InputError(
            "the padding mask",
            found="a row that does not start with its tokens or has none",
            expected="ones, then zeros, in every row (right padding)",
            remedy="pad on the right: left padding shifts positions and pooled tokens",
        )
    return valid
