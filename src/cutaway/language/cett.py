"""How sparse the MLP blocks of a language model are: the error that cutting small activations costs (CETT).

A block writes sum_j a_j w_j per token, a (F,) what enters its map back to width D and w_j that map's columns. Cutting
the entries whose contribution |a_j| |w_j| is at most t changes the token's output by |sum_(cut) a_j w_j|; CETT is the
mean over tokens of that over |sum_j a_j w_j|. A block's threshold at a given CETT is the largest t within it, and the
activation ratio the share of entries above it. PPL-p % sparsity: the largest common CETT at which perplexity is at most
1 + p times that of the whole model.

Source: Luo et al., "Sparsing Law", arXiv 2411.02335 (definitions and code). How we differ: thresholds by bisection on
t itself and not among 65,536 candidates, float64 sums, and the model without its blocks beside it: where cutting all of
them costs no more than p, PPL-p % says nothing and is refused.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.errors import InputError, ModelError
from cutaway.language.blocks import MlpBlock, find_mlp_blocks
from cutaway.language.forward import check_tokens, run_model
from cutaway.network.outputs import first_tensor
from cutaway.network.passes import Passes

STEPS = 24
"""Halvings of a threshold's range, and a third of them for the common CETT."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """Thresholds (L,) of a model's L blocks at `cett`; `ratio` (L,): share of entries above them on the tokens read."""

    cett: float
    thresholds: Tensor
    ratio: Tensor


class ActivationCutter:
    """Cuts small activations of `model`'s MLP blocks, found from one pass on `tokens` (n, T); leaves the model as it
    was. `passes` counts what it asks of the model.

    Raises ModelError for a model without dense blocks that go through a linear map of their own, and for outputs that
    are not logits (n, T, vocabulary), InputError for anything but token ids.
    """

    def __init__(self, model: nn.Module, tokens: Tensor, *, passes: Passes | None = None) -> None:
        check_tokens(tokens)
        self.model, self.passes = model, passes or Passes()
        self.blocks: tuple[MlpBlock, ...] = tuple(b for b in find_mlp_blocks(model, tokens[:1]) if b.experts is None)
        self.maps: list[nn.Linear] = []
        for block in self.blocks:
            down = model.get_submodule(block.down)
            if not isinstance(down, nn.Linear) or block.call:
                raise ModelError(
                    f"block {block.name!r}",
                    found=f"{type(down).__name__} {block.down!r}" + (", shared with another block" * bool(block.call)),
                    expected="a linear map back to the model's width, for this block alone",
                    remedy="merge adapters into the weights first",
                )
            self.maps.append(down)
        if not self.blocks:
            raise ModelError(
                f"model {type(model).__name__}",
                found="routed experts only",
                expected="at least one dense MLP block",
                remedy="read a dense model",
            )

    @torch.no_grad()
    def calibrate(self, tokens: Tensor, cett: float) -> Cut:
        """The thresholds at `cett` in [0, 1) on `tokens`, block by block in the whole model (nothing cut before).

        Cost: one forward pass, and for every block `STEPS` sums of all tokens' contributions.
        """
        return self._cut(self.activations(tokens), cett)

    def _cut(self, entries: Sequence[Tensor], cett: float) -> Cut:
        if not 0 <= cett < 1:
            raise InputError("CETT", found=str(cett), expected="0 <= CETT < 1", remedy="give an error such as 0.2")
        found = [threshold_at(a, m.weight, cett) for a, m in zip(entries, self.maps, strict=True)]
        ratio = [
            float((a.abs() * m.weight.norm(dim=0) > t).double().mean())
            for a, m, t in zip(entries, self.maps, found, strict=True)
        ]
        return Cut(
            cett=cett,
            thresholds=torch.tensor(found, dtype=torch.float64),
            ratio=torch.tensor(ratio, dtype=torch.float64),
        )

    @torch.no_grad()
    def activations(self, tokens: Tensor) -> list[Tensor]:
        """Of every block what enters the map back, (n T, F), float32 or finer. Memory: all of them at once."""
        kept: list[Tensor] = []

        def keep(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            kept.append(args[0].detach().reshape(-1, args[0].shape[-1]))

        handles = [m.register_forward_pre_hook(keep) for m in self.maps]
        try:
            self._run(tokens)
        finally:
            for handle in handles:
                handle.remove()
        return kept

    def _run(self, tokens: Tensor) -> Any:
        self.passes.count(len(tokens))
        return run_model(self.model, tokens, None)

    @contextlib.contextmanager
    def cutting(self, thresholds: Sequence[float] | Tensor) -> Iterator[None]:
        """Inside, entries whose contribution is at most their block's threshold are 0 (inf: all of them)."""
        handles = []
        for down, limit in zip(self.maps, thresholds, strict=True):
            norms = down.weight.detach().norm(dim=0)

            def cut(_module, args, norms=norms, limit=float(limit)):
                return (args[0] * (args[0].abs() * norms > limit), *args[1:])

            handles.append(down.register_forward_pre_hook(cut))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextlib.contextmanager
    def keeping(self, share: float) -> Iterator[None]:
        """Inside, of every token and block only the `share` of entries with the largest contributions is kept."""
        handles = []
        for down in self.maps:
            norms = down.weight.detach().norm(dim=0)
            count = max(1, round(share * len(norms)))

            def cut(_module, args, norms=norms, count=count):
                size = args[0].abs() * norms
                limit = size.topk(count, dim=-1).values[..., -1:]
                return (args[0] * (size >= limit), *args[1:])

            handles.append(down.register_forward_pre_hook(cut))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def loss(self, tokens: Tensor, *, rows: int = 16) -> float:
        """Mean cross-entropy (nats) of every token after the first, float64 sums. Cost: one forward pass a row."""
        total = 0.0
        for part in tokens.split(rows):
            logits = first_tensor(self._run(part))
            if logits.ndim != 3 or logits.shape[:2] != part.shape:
                raise ModelError(
                    f"model {type(self.model).__name__}",
                    found=f"outputs {tuple(logits.shape)} for token ids {tuple(part.shape)}",
                    expected="logits (n, T, vocabulary) of the next token",
                    remedy="load it with its language-model head",
                )
            flat = logits[:, :-1].reshape(-1, logits.shape[-1]).double()
            total += float(nn.functional.cross_entropy(flat, part[:, 1:].reshape(-1), reduction="sum"))
        return total / tokens[:, 1:].numel()

    @torch.no_grad()
    def at_perplexity(self, tokens: Tensor, rise: float) -> Cut | None:
        """The largest common CETT at which perplexity on `tokens` is at most (1 + `rise`) that of the whole model; None
        where cutting every activation costs no more than that (an untrained model: nothing to find).

        An estimate to 2^-8 of the CETT, by bisection, taking perplexity to rise with it. Cost: nine passes.
        """
        most = self.loss(tokens) + math.log1p(rise)
        with self.cutting([math.inf] * len(self.maps)):
            if self.loss(tokens) <= most:
                return None
        entries, low, high = self.activations(tokens), 0.0, 1.0
        best = self._cut(entries, 0.0)
        for _ in range(STEPS // 3):
            middle = (low + high) / 2
            cut = self._cut(entries, middle)
            with self.cutting(cut.thresholds):
                good = self.loss(tokens) <= most
            low, high, best = (middle, high, cut) if good else (low, middle, best)
        return best


@torch.no_grad()
def threshold_at(entries: Tensor, weight: Tensor, cett: float) -> float:
    """The largest t (to 2^-24 of the range) at which cutting |a_j| |w_j| <= t has at most this CETT; `entries` (n, F),
    `weight` (D, F).

    Tokens of output 0 are left out. Exact up to the bisection: CETT is taken to rise with t, which sums of vectors need
    not do; the t given keeps to it.
    """
    size = entries.abs() * weight.norm(dim=0)
    whole = (entries @ weight.T).double().norm(dim=1)
    some = whole > 0
    if not bool(some.any()):
        return 0.0
    low, high = 0.0, float(size.max())
    for _ in range(STEPS):
        middle = (low + high) / 2
        lost = ((entries * (size <= middle)) @ weight.T).double().norm(dim=1)
        within = float((lost[some] / whole[some]).mean()) <= cett
        low, high = (middle, high) if within else (low, middle)
    return low
