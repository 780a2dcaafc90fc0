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
from cutaway.language.blocks import headless, run_model
from cutaway.network.sites import function_name


def support_size(attention: Tensor, threshold: float, *, relative: bool = True) -> Tensor:
    """#{j : A_j > threshold x max_j A_j} over the last axis (or > threshold, if not relative): (..., T) -> (...).

    >>> support_size(torch.tensor([0.8, 0.15, 0.05]), 0.1)
    tensor(2)
    """
    if not 0 <= threshold < 1:
        raise InputError("threshold", found=str(threshold), expected="at least 0 and below 1")
    limit = threshold * attention.amax(-1, keepdim=True) if relative else threshold
    return (attention > limit).sum(-1)


class _Softmaxes(TorchFunctionMode):
    """Sees every softmax over (n, heads, T, T) and keeps what `take` makes of it, then lets it go."""

    def __init__(self, take) -> None:
        super().__init__()
        self.take, self.kept, self.fused = take, [], 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = function_name(func)
        if name == "scaled_dot_product_attention":
            self.fused += 1
        result = func(*args, **(kwargs or {}))
        if name in ("softmax", "_softmax") and isinstance(result, Tensor) and result.ndim == 4:
            self.kept.append(self.take(result))
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

    tokens (n, T) int64, mask (n, T) right-padded. Exact as a count of the model's own attention weights; one forward
    pass, memory of one block's attention. Between 1 and the number of tokens that may be attended to. Raises
    ModelError where attention is computed by a fused kernel that never forms the weights.
    """
    body = headless(model)
    valid = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask.bool()
    last = valid.sum(1) - 1

    def take(attention: Tensor) -> Tensor:
        if every_token:
            return support_size(attention, threshold, relative=relative) * valid[:, None, :]
        row = attention[torch.arange(len(tokens), device=tokens.device), :, last]
        return support_size(row, threshold, relative=relative)

    with _Eager(body), _Softmaxes(take) as watch:
        run_model(body, tokens, mask)
    if not watch.kept:
        how = "only fused attention kernels" if watch.fused else "no attention (softmax over n, heads, T, T)"
        raise ModelError(
            f"model {type(model).__name__}", found=how, expected="attention whose weights are computed",
            remedy="load the model with attn_implementation='eager'",
        )  # fmt: skip
    return torch.stack(watch.kept, dim=1)


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
