"""Seven spline features of every MLP block of a language model, streamed in one forward pass.

Block l reads x (T, D) and its gate's pre-activations are h_tj = w_j . x_t + b_j, j < F. Per token: the share of active
gates s_t = mean_j 1[h_tj > 0] and the distance to the nearest gate hyperplane d_t = min_j |h_tj| / |w_j|. Pooled over
the valid tokens of a prompt: mean, min, max, std of s, then min, mean, std of d: 7 numbers a block.

Source: Balestriero, Cosentino, Shekkizhar, arXiv 2312.01648, section 4 (Eqs. 1 to 7). How we differ: any architecture
(blocks found by structure, biases counted, a module that runs several times is a block each time), batches with a
right-padding mask, the standard deviation (unbiased) of a one-token prompt is 0 and not NaN, no transfer to the host
per layer, and an exit after any block. What the numbers are not: the gate's hyperplanes cut the *normalised hidden
space* of one block, so d_t is a distance there (without bias an angle), not in prompt space; with SiLU or GELU the
"region" is a sign code, not an affine piece.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cutaway.errors import InputError, ModelError
from cutaway.language.blocks import MlpBlock, accepts, find_mlp_blocks, headless, run_model
from cutaway.network.network import first_tensor

FEATURE_NAMES = (
    "share_mean", "share_min", "share_max", "share_std", "distance_min", "distance_mean", "distance_std",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageFeatures:
    """Features of n prompts in L blocks, float32 on the model's device.

    pooled (n, L, 7) in the order of FEATURE_NAMES; hidden (n, D) the mean over valid tokens of the last hidden state
    (after an early exit: of the last block's input); share, distance (n, L, T) per token, NaN where padded, or None.
    """

    pooled: Tensor
    hidden: Tensor
    share: Tensor | None = None
    distance: Tensor | None = None


class _Exit(Exception):
    """Leaves the forward pass after the last block asked for."""


class GeometryReader:
    """Reads the features of `model` (in evaluation mode); blocks are found once from one pass on `example` (1, T).

    The weights' norms are taken once: make a new reader after changing them. `vocabulary`: how many ids the model's
    embedding knows, None where no `nn.Embedding` reads them. Raises ModelError when the model has no MLP block.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        self.model = headless(model)
        with _embedding_of(self.model, example) as sizes:
            self.blocks: tuple[MlpBlock, ...] = find_mlp_blocks(self.model, example)
        self.vocabulary = min(sizes, default=None)
        self._inverse_norms = [
            b.rows(self.model).detach().float().norm(dim=1).clamp(min=1e-30).reciprocal() for b in self.blocks
        ]
        self.takes_mask = accepts(self.model, "attention_mask")

    @torch.no_grad()
    def read(
        self, tokens: Tensor, mask: Tensor | None = None, *, layers: int | None = None, per_token: bool = False
    ) -> LanguageFeatures:
        """Features of `tokens` (n, T) int64, right-padded with `mask` (n, T) (1: a token, 0: padding).

        `layers` = k stops the pass inside block k: only what those blocks need is computed. Exact up to rounding;
        invariant to batch size and padding up to rounding. Memory: one block's pre-activations (n, T, F) at a time, and
        7 numbers a prompt and block (with `per_token` two more a token and block). Raises InputError for a mask that
        is not right-padded or has an empty row, for layers outside 1..L, for ids outside the vocabulary and for rows
        longer than the model has positions.
        """
        count = self._checked_layers(layers)
        valid = _checked_mask(tokens, mask)
        self._check_ids(tokens)
        kept: list[Tensor] = []
        tokenwise: list[tuple[Tensor, Tensor]] | None = [] if per_token else None
        source: list[Tensor] = []

        def take(index: int, gates: Tensor, inputs: Tensor) -> None:
            share, distance = token_features(gates[..., : self.blocks[index].width], self._inverse_norms[index])
            kept.append(pool(share[:, None], distance[:, None], valid)[:, 0])
            if tokenwise is not None:
                tokenwise.append((share, distance))
            if index == count - 1:
                source.append(inputs)
                if layers is not None:
                    raise _Exit

        state = None
        handles = self._hooked(count, take)
        try:
            state = first_tensor(run_model(self.model, tokens, None if mask is None else mask))
        except _Exit:
            pass
        except IndexError as error:  # an embedding of positions, or one that reads other numbers than the ids
            raise InputError(
                "the token rows", found=f"{tokens.shape[1]} tokens, ids up to {int(tokens.max())}, and {error}",
                expected="no more tokens than the model has positions, and ids in its vocabulary",
            ) from error  # fmt: skip
        finally:
            for handle in handles:
                handle.remove()
        if len(kept) < count:
            raise ModelError(
                f"model {type(self.model).__name__}", found=f"{len(kept)} MLP blocks run",
                expected=f"{count}, as on the example", remedy="read it with an example that runs the same blocks",
            )  # fmt: skip
        share, distance = (
            None if tokenwise is None else _blank(torch.stack([pair[i] for pair in tokenwise], dim=1), valid)
            for i in (0, 1)
        )
        hidden = state if state is not None and state.shape[:2] == tokens.shape and state.ndim == 3 else source[0]
        return LanguageFeatures(
            pooled=torch.stack(kept, dim=1),
            hidden=masked_mean(hidden.float(), valid),
            share=share,
            distance=distance,
        )

    def _check_ids(self, tokens: Tensor) -> None:
        if self.vocabulary is None or not tokens.numel():
            return
        low, high = (int(x) for x in tokens.aminmax())
        if low < 0 or high >= self.vocabulary:
            raise InputError(
                "the token ids", found=str(low if low < 0 else high),
                expected=f"0 to {self.vocabulary - 1}, the model's vocabulary", remedy="use the model's own tokenizer",
            )  # fmt: skip

    def _hooked(self, count: int, take: Callable[[int, Tensor, Tensor], None]) -> list[RemovableHandle]:
        """One hook a module, however many of the first `count` blocks are its calls: take(block, output, input)."""
        calls: dict[str, dict[int, int]] = {}
        for index, block in enumerate(self.blocks[:count]):
            calls.setdefault(block.path, {})[block.call] = index

        def hook(wanted: dict[int, int]):
            number = itertools.count()

            def on_call(_module, args, kwargs, output):
                index = wanted.get(next(number))
                if index is not None:
                    take(index, output, args[0] if args else next(iter(kwargs.values())))

            return on_call

        return [
            self.model.get_submodule(path).register_forward_hook(hook(wanted), with_kwargs=True)
            for path, wanted in calls.items()
        ]

    def _checked_layers(self, layers: int | None) -> int:
        if layers is None:
            return len(self.blocks)
        if not 1 <= layers <= len(self.blocks):
            raise InputError("layers", found=str(layers), expected=f"1 to {len(self.blocks)}, the model's MLP blocks")
        return layers


def token_features(gates: Tensor, inverse_norms: Tensor) -> tuple[Tensor, Tensor]:
    """(s, d) of the module's text for pre-activations (..., F) and 1/|w_j| (F,): two float32 tensors (...)."""
    active = torch.empty(gates.shape, dtype=torch.float32, device=gates.device)
    torch.gt(gates, 0, out=active)
    scaled = torch.mul(gates, inverse_norms.to(gates.device)).abs_()
    return active.mean(-1), scaled.amin(-1).float()


def pool(share: Tensor, distance: Tensor, valid: Tensor) -> Tensor:
    """The seven features (n, L, 7) from s, d (n, L, T) and valid (n, T) booleans with at least one True a row."""
    on = valid[:, None, :]
    number = on.sum(-1).float()
    s_mean, s_std = _moments(share, on, number)
    d_mean, d_std = _moments(distance, on, number)
    largest = torch.finfo(share.dtype).max
    s_min, d_min = (x.masked_fill(~on, largest).amin(-1) for x in (share, distance))
    s_max = share.masked_fill(~on, -largest).amax(-1)
    return torch.stack([s_mean, s_min, s_max, s_std, d_min, d_mean, d_std], dim=-1)


def _moments(x: Tensor, on: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased standard deviation (0 for one token) over the valid tokens; two passes, so no cancellation."""
    mean = x.masked_fill(~on, 0).sum(-1) / number
    off = (x - mean[..., None]).masked_fill(~on, 0)
    return mean, (off.square().sum(-1) / (number - 1).clamp(min=1)).sqrt()


def masked_mean(states: Tensor, valid: Tensor) -> Tensor:
    """Mean over valid tokens of states (n, T, D): (n, D)."""
    weight = valid.to(states.dtype)
    return torch.einsum("ntd,nt->nd", states, weight) / weight.sum(1, keepdim=True)


def batches(
    rows: Sequence[Sequence[int]], batch_size: int, *, pad: bool, padding_id: int = 0
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """(indices, tokens (n, T), mask (n, T)) over token rows of any length, sorted by length so that little is padded.

    With `pad=False` (a model without a mask) only rows of equal length share a batch.
    """
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    start = 0
    while start < len(order):
        part = order[start : start + batch_size]
        if not pad:
            part = [i for i in part if len(rows[i]) == len(rows[part[0]])]
        longest = len(rows[part[-1]])
        tokens = torch.full((len(part), longest), padding_id, dtype=torch.int64)
        mask = torch.zeros((len(part), longest), dtype=torch.int64)
        for k, i in enumerate(part):
            tokens[k, : len(rows[i])] = torch.tensor(list(rows[i]), dtype=torch.int64)
            mask[k, : len(rows[i])] = 1
        yield part, tokens, mask
        start += len(part)


def language_geometry(
    reader: GeometryReader, rows: Sequence[Sequence[int]], *, batch_size: int = 32, layers: int | None = None
) -> LanguageFeatures:
    """Pooled features and mean hidden states of token rows of any length, in their order, on the CPU.

    One forward pass a row (less after an early exit). Raises InputError for an empty row.
    """
    empty = next((i for i, row in enumerate(rows) if len(row) == 0), None)
    if empty is not None or not len(rows):
        found = "no rows" if empty is None else f"row {empty} without tokens"
        raise InputError("the token rows", found=found, expected="at least one token in every row")
    device = next(reader.model.parameters()).device
    pooled: list[Tensor] = [torch.empty(0)] * len(rows)
    hidden: list[Tensor] = [torch.empty(0)] * len(rows)
    for part, tokens, mask in batches(rows, batch_size, pad=reader.takes_mask):
        got = reader.read(tokens.to(device), mask.to(device), layers=layers)
        for k, (p, h) in enumerate(zip(got.pooled.cpu(), got.hidden.cpu(), strict=True)):
            pooled[part[k]], hidden[part[k]] = p, h
    return LanguageFeatures(pooled=torch.stack(pooled), hidden=torch.stack(hidden))


def _blank(x: Tensor, valid: Tensor) -> Tensor:
    return x.masked_fill(~valid[:, None, :], float("nan"))


@contextlib.contextmanager
def _embedding_of(model: nn.Module, tokens: Tensor) -> Iterator[list[int]]:
    """Sizes of the `nn.Embedding`s that read these very tokens in the passes run meanwhile."""
    sizes: list[int] = []

    def hook(module: nn.Module, args: tuple) -> None:
        if args and args[0].data_ptr() == tokens.data_ptr():
            sizes.append(int(module.num_embeddings))  # pyright: ignore[reportArgumentType]

    handles = [m.register_forward_pre_hook(hook) for m in model.modules() if isinstance(m, nn.Embedding)]
    try:
        yield sizes
    finally:
        for handle in handles:
            handle.remove()


def _checked_mask(tokens: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return torch.ones_like(tokens, dtype=torch.bool)
    valid = mask.bool()
    rising = valid[:, 1:] & ~valid[:, :-1]
    if valid.shape != tokens.shape or not bool(valid[:, 0].all()) or bool(rising.any()):
        raise InputError(
            "the padding mask", found="a row that does not start with its tokens or has none",
            expected="ones, then zeros, in every row (right padding)",
            remedy="pad on the right: left padding shifts positions and pooled tokens",
        )  # fmt: skip
    return valid
