"""Intrinsic dimension of attention heads: how many tokens a head's output for one token is a mixture of.

Head h's output for token i lies in the convex hull of the value vectors {v_j : A^h_ij > 0}, so its affine dimension is
at most #{j : A^h_ij > 0} - 1, and that of the block at most the sum over heads (a Minkowski sum). The count uses a
threshold: ID^h_i = #{j : A^h_ij > threshold x max_j A^h_ij} (relative), or A^h_ij > threshold (absolute).

Source: arXiv 2312.01648, section 3, with the relative threshold 0.1 of its code and of arXiv 2407.02678. How we differ:
every head is kept (the code sums over heads), any token position, padding masks, and the absolute form by choice. Not
less one: the count, as the code gives it. Attention weights are read as the model computes them, one block at a time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cutaway.errors import InputError, ModelError
from cutaway.language.forward import body_of, checked_mask, run_model
from cutaway.network.sites import function_name


def support_size(attention: Tensor, threshold: float, *, relative: bool = True) -> Tensor:
    """#{j : A_j > threshold x max_j A_j} over the last axis (or > threshold, if not relative): (..., T) -> (...).

    >>> support_size(torch.tensor([0.8, 0.15, 0.05]), 0.1)
    tensor(2)
    """
    if not 0 <= threshold < 1:
        raise InputError(
            "threshold", found=str(threshold), expected="at least 0 and below 1", remedy="give a number such as 0.5"
        )
    limit = threshold * attention.amax(-1, keepdim=True) if relative else threshold
    return (attention > limit).sum(-1)


class _Softmaxes(TorchFunctionMode):
    """Sees every softmax over (n, heads, T, keys), keeps what `take` makes of its weights of the T tokens, lets it go.

    More keys than tokens: the weights are those that the model cuts out of it (a sink is dropped so); `loose` holds
    what was not cut down to the tokens (a prefix or a memory).
    """

    def __init__(self, take, shape: tuple[int, int]) -> None:
        super().__init__()
        self.take, self.shape, self.kept, self.fused = take, shape, [], 0
        self.loose: dict[int, Tensor] = {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = function_name(func)
        if name == "scaled_dot_product_attention":
            self.fused += 1
        result = func(*args, **(kwargs or {}))
        if not isinstance(result, Tensor) or result.ndim != 4:
            return result
        fits = (result.shape[0], *result.shape[2:]) == (*self.shape, self.shape[1])
        if name in ("softmax", "_softmax"):
            if fits:
                self.kept.append(self.take(result))
            else:
                self.loose[id(result)] = result
        elif fits and args and isinstance(args[0], Tensor) and id(args[0]) in self.loose:
            if name in ("__getitem__", "narrow"):
                self.kept.append(self.take(result))
                del self.loose[id(args[0])]
            elif result.shape == args[0].shape:
                self.loose[id(result)] = result
        return result


@torch.no_grad()
def intrinsic_dimension(
    model: nn.Module,
    tokens: Tensor,
    mask: Tensor | None = None,
    *,
    threshold: float = 0.1,
    relative: bool = True,
    every_token: bool = False,
) -> Tensor:
    """ID of every head at the last valid token, int64 (n, L, H); with `every_token` (n, L, H, T), 0 where padded.

    tokens: (n, T) int64. mask: (n, T), padded on either side; a row padded on the left is shifted, so that positions
        count from its first token.
    Exact as a count of the model's own attention weights, at least 1 and at most the tokens that may be attended to. An
    attention sink (gpt-oss) is no token: it neither counts as one nor in the maximum. An encoder-decoder model is read
    in its encoder. One forward pass, memory of one block's attention.

    Raises InputError for a mask with holes or an empty row; ModelError where a fused kernel never forms the weights of
    a block, or a head attends to more than the row's tokens (a prefix, a memory). Source: arXiv 2312.01648, section 3;
    the relative threshold from its code and arXiv 2407.02678.
    """
    body = body_of(model, tokens)
    place = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    start = place[:, :1] if mask is None else mask.bool().int().argmax(1, keepdim=True)
    shifted = (place + start) % tokens.shape[1]
    tokens, mask = tokens.gather(1, shifted), None if mask is None else mask.gather(1, shifted)
    valid = checked_mask(tokens, mask)
    last = valid.sum(1) - 1

    def take(attention: Tensor) -> Tensor:
        if every_token:
            return support_size(attention, threshold, relative=relative) * valid[:, None, :]
        row = attention[torch.arange(len(tokens), device=tokens.device), :, last]
        return support_size(row, threshold, relative=relative)

    with _Eager(body), _Softmaxes(take, (len(tokens), tokens.shape[1])) as watch:
        run_model(body, tokens, mask)
    if watch.loose:
        loose = next(iter(watch.loose.values()))
        raise ModelError(
            f"model {type(model).__name__}",
            found=f"attention weights of shape {tuple(loose.shape)}",
            expected=f"{tokens.shape[1]} queries and keys, the tokens of a row",
            remedy="read a model that attends to its own tokens alone",
        )
    if not watch.kept or watch.fused:
        how = f"{watch.fused} fused attention kernels" if watch.fused else "no attention (softmax over n, heads, T, T)"
        raise ModelError(
            f"model {type(model).__name__}",
            found=how,
            expected="attention whose weights are computed",
            remedy="load the model with attn_implementation='eager'",
        )
    found = torch.stack(watch.kept, dim=1)
    if not every_token:
        return found
    return found.gather(3, ((place - start) % tokens.shape[1])[:, None, None].expand_as(found))


class _Eager:
    """Asks a Hugging Face model for its eager attention meanwhile, and restores its choice."""

    def __init__(self, model: nn.Module) -> None:
        self.config: Any = getattr(model, "config", None)

    def __enter__(self) -> None:
        self.was = getattr(self.config, "_attn_implementation", None)
        if self.was is not None:
            self.config._attn_implementation = "eager"

    def __exit__(self, *_: object) -> None:
        if self.was is not None:
            self.config._attn_implementation = self.was
