"""From gate pre-activations to the seven features of a prompt: shares and distances by token, pooled over tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def gate_distances(gates: Tensor, inverse_norms: Tensor) -> tuple[Tensor, Tensor]:
    """1[h > 0] (float32) and |h| / |w| of pre-activations (..., F) and 1/|w_j| (F,): two tensors (..., F)."""
    active = torch.empty(gates.shape, dtype=torch.float32, device=gates.device)
    torch.gt(gates, 0, out=active)
    return active, torch.mul(gates, inverse_norms.to(gates.device)).abs_()


def by_token(active: Tensor, scaled: Tensor) -> tuple[Tensor, Tensor]:
    """(s, d) of the module's text for the values of gates (..., F): two float32 tensors (...)."""
    return active.mean(-1), scaled.amin(-1).float()


def token_features(gates: Tensor, inverse_norms: Tensor) -> tuple[Tensor, Tensor]:
    """(s, d) of the module's text for pre-activations (..., F) and 1/|w_j| (F,): two float32 tensors (...)."""
    return by_token(*gate_distances(gates, inverse_norms))


def pool(share: Tensor, distance: Tensor, valid: Tensor | None) -> Tensor:
    """The seven features (n, L, 7) from s, d (n, L, T) and valid (n, T) booleans with at least one True a row, or None
    where all are. Exact up to rounding; the standard deviation is unbiased, 0 for one token."""
    if valid is None:
        return _pool_all(share, distance)
    on = valid[:, None, :]
    number = on.sum(-1).float()
    s_mean, s_std = _moments(share, on, number)
    d_mean, d_std = _moments(distance, on, number)
    largest = torch.finfo(share.dtype).max
    s_min, d_min = (x.masked_fill(~on, largest).amin(-1) for x in (share, distance))
    s_max = share.masked_fill(~on, -largest).amax(-1)
    return torch.stack([s_mean, s_min, s_max, s_std, d_min, d_mean, d_std], dim=-1)


def _pool_all(share: Tensor, distance: Tensor) -> Tensor:
    """`pool` without padding, in a fifth of its operations: they are what a single prompt costs."""
    both = torch.stack([share, distance])
    low, high = torch.aminmax(both, dim=-1)
    std, mean = torch.std_mean(both, dim=-1, correction=min(1, share.shape[-1] - 1))
    return torch.stack([mean[0], low[0], high[0], std[0], low[1], mean[1], std[1]], dim=-1)


class Pooling:
    """Pools blocks as they come: small ones (at most TOGETHER numbers) in one go, which saves most of the small
    operations of a single prompt; larger ones at once, so that nothing is kept of them but the result."""

    TOGETHER = 2**15

    def __init__(self, valid: Tensor | None) -> None:
        self.valid, self.count = valid, 0
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._done: list[Tensor] = []

    def add(self, first: Tensor, second: Tensor) -> None:
        """s, d (n, T) of the next block, or the values of its gates (n, T, F) as `gate_distances` has them."""
        if self._waiting and self._waiting[0][0].shape != first.shape:
            self._pool()
        self.count += 1
        self._waiting.append((first, second))
        if len(self._waiting) * first.numel() >= self.TOGETHER:
            self._pool()

    def done(self) -> Tensor:
        """The features (n, L, 7) of all blocks, in order."""
        self._pool()
        return self._done[0] if len(self._done) == 1 else torch.cat(self._done, dim=1)

    def _pool(self) -> None:
        if self._waiting:
            share, distance = (torch.stack([pair[i] for pair in self._waiting], dim=1) for i in (0, 1))
            if share.ndim == 4:
                share, distance = by_token(share, distance)
            valid = self.valid if self.valid is None else self.valid.to(share.device)
            self._done.append(pool(share, distance, valid))
            self._waiting = []


def _moments(x: Tensor, on: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased standard deviation (0 for one token) over the valid tokens; two passes, so no cancellation."""
    mean = x.masked_fill(~on, 0).sum(-1) / number
    off = (x - mean[..., None]).masked_fill(~on, 0)
    return mean, (off.square().sum(-1) / (number - 1).clamp(min=1)).sqrt()


def masked_mean(states: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over valid tokens (all for None) of states (n, T, D): (n, D)."""
    if valid is None:
        return states.mean(1)
    weight = valid.to(states.dtype)
    return torch.einsum("ntd,nt->nd", states, weight) / weight.sum(1, keepdim=True)
