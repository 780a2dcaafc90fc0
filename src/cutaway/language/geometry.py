"""Seven spline features of every MLP block of a language model, streamed in one forward pass.

Block l reads x (T, D) and its gate's pre-activations are h_tj = w_j . x_t + b_j, j < F. Per token: the share of active
gates s_t = mean_j 1[h_tj > 0] and the distance to the nearest gate hyperplane d_t = min_j |h_tj| / |w_j|. Pooled over
the valid tokens of a prompt: mean, min, max, std of s, then min, mean, std of d: 7 numbers a block.

Source: Balestriero, Cosentino, Shekkizhar, arXiv 2312.01648, section 4 (Eqs. 1 to 7). How we differ: any architecture
(blocks found by structure, biases counted, a module that runs several times is a block each time), batches with a
right-padding mask, adapters (the map that is applied counts, merged or not), routed experts (s and d of a token are the
router-weighted means over its experts; a shared expert is a block of its own), the standard deviation (unbiased) of a
one-token prompt is 0 and not NaN, no transfer to the host per layer, and an exit after any block. What the numbers are
not: the gate's hyperplanes cut the *normalised hidden space* of one block, so d_t is a distance there (without bias an
angle), not in prompt space; with SiLU or GELU the "region" is a sign code, not an affine piece.
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
from cutaway.language.blocks import MlpBlock, example_rows, find_mlp_blocks
from cutaway.language.experts import routed_features
from cutaway.language.forward import accepts, body_of, checked_mask, run_model
from cutaway.language.pooling import Pooling, by_token, gate_distances, masked_mean
from cutaway.network.outputs import first_tensor

FEATURE_NAMES = (
    "share_mean",
    "share_min",
    "share_max",
    "share_std",
    "distance_min",
    "distance_mean",
    "distance_std",
)


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

    The weights' norms are taken once: make a new reader after changing them, or a module. `vocabulary`: how many ids
    the model's embedding knows, None where no `nn.Embedding` reads them. An encoder-decoder model is read in its
    encoder. Raises ModelError when the model has no MLP block or one that cannot be read: never a part in silence.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        self.model = body_of(model, example)
        with _embedding_of(self.model, example) as sizes:
            self.blocks: tuple[MlpBlock, ...] = find_mlp_blocks(self.model, example)
        self.vocabulary = min(sizes, default=None)
        self._inverse_norms = [
            None if b.experts else b.rows(self.model).float().norm(dim=1).clamp(min=1e-30).reciprocal()
            for b in self.blocks
        ]
        self._modules = {b.path: self.model.get_submodule(b.path) for b in self.blocks}
        self.takes_mask = accepts(self.model, "attention_mask")
        self._check_rows(example[:1])

    @torch.no_grad()
    def read(
        self, tokens: Tensor, mask: Tensor | None = None, *, layers: int | None = None, per_token: bool = False
    ) -> LanguageFeatures:
        """Features of `tokens` (n, T) int64, right-padded with `mask` (n, T) (1: a token, 0: padding).

        `layers` = k stops the pass inside block k: only what those blocks need is computed. Exact up to rounding;
        invariant to batch size and padding up to rounding. Memory: one block's pre-activations (n, T, F) at a time, and
        7 numbers a prompt and block (with `per_token` two more a token and block). Raises InputError for a mask that
        is not right-padded or has an empty row, for layers outside 1..L, for ids outside the vocabulary and for rows
        longer than the model has positions; ModelError where fewer blocks run than on the example. Source:
        Balestriero, Cosentino and Shekkizhar (arXiv 2312.01648), section 4.
        """
        count = self._checked_layers(layers)
        valid = None if mask is None else checked_mask(tokens, mask)
        self._check_ids(tokens)
        pooling = Pooling(valid)
        tokenwise: list[tuple[Tensor, Tensor]] | None = [] if per_token else None
        source: list[Tensor] = []

        def take(index: int, first: Tensor, second: Tensor, inputs: Tensor) -> None:
            if tokenwise is not None:
                first, second = by_token(first, second) if first.ndim == 3 else (first, second)
                tokenwise.append((first, second))
            pooling.add(first, second)
            if index == count - 1:
                source.append(inputs)
                if layers is not None:
                    raise _Exit

        state = None
        handles = self._hooked(count, (tokens.shape[0], tokens.shape[1]), take)
        try:
            state = first_tensor(run_model(self.model, tokens, mask))
        except _Exit:
            pass
        except IndexError as error:  # an embedding of positions, or one that reads other numbers than the ids
            raise InputError(
                "the token rows",
                found=f"{tokens.shape[1]} tokens, ids up to {int(tokens.max())}, and {error}",
                expected="no more tokens than the model has positions, and ids in its vocabulary",
                remedy="cut the rows, or tokenise with the model's own tokenizer",
            ) from error
        finally:
            for handle in handles:
                handle.remove()
        if pooling.count < count:
            raise ModelError(
                f"model {type(self.model).__name__}",
                found=f"{pooling.count} MLP blocks run",
                expected=f"{count}, as on the example",
                remedy="read it with an example that runs the same blocks",
            )
        share, distance = (
            None if tokenwise is None else _blank(torch.stack([pair[i] for pair in tokenwise], dim=1), valid)
            for i in (0, 1)
        )
        hidden = state if state is not None and state.shape[:2] == tokens.shape and state.ndim == 3 else source[0]
        return LanguageFeatures(
            pooled=pooling.done(),
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
                "the token ids",
                found=str(low if low < 0 else high),
                expected=f"0 to {self.vocabulary - 1}, the model's vocabulary",
                remedy="use the model's own tokenizer",
            )

    def _check_rows(self, row: Tensor) -> None:
        """A module that gets its tokens in one flat list: row after row, and whichever others stand beside it?"""
        if not any(b.flat for b in self.blocks):
            return
        alone = self.read(row).pooled[0]
        beside = self.read(torch.cat([row.roll(1, 1).flip(1), row])).pooled[1]
        if not torch.allclose(alone, beside, rtol=0.05, atol=1e-3 * float(alone.abs().max())):
            raise ModelError(
                f"model {type(self.model).__name__}",
                found="a row that is read otherwise beside another row",
                expected="rows that do not change each other, flattened one after the other",
                remedy="experts of limited capacity, or tokens flattened time first, cannot be read",
            )

    def _hooked(
        self, count: int, shape: tuple[int, int], take: Callable[[int, Tensor, Tensor, Tensor], None]
    ) -> list[RemovableHandle]:
        """One hook a module, however many of the first `count` blocks are its calls: take(block, s, d, input), or the
        values of its gates in place of s and d."""
        calls: dict[str, dict[int, int]] = {}
        for index, block in enumerate(self.blocks[:count]):
            calls.setdefault(block.path, {})[block.call] = index

        def hook(wanted: dict[int, int]):
            number = itertools.count()

            def on_call(module, args, kwargs, output):
                index = wanted.get(next(number))
                if index is None:
                    return
                block, inputs = self.blocks[index], args[0] if args else next(iter(kwargs.values()))
                norms = self._inverse_norms[index]
                if norms is not None:
                    first, second = gate_distances(block.gates(output, shape), norms)
                else:
                    assert block.experts is not None
                    first, second = routed_features(module, block.experts, args, kwargs).reshape(2, *shape)
                take(index, first, second, block.by_row(inputs, shape))

            return on_call

        return [
            self._modules[path].register_forward_hook(hook(wanted), with_kwargs=True) for path, wanted in calls.items()
        ]

    def _checked_layers(self, layers: int | None) -> int:
        if layers is None:
            return len(self.blocks)
        if not 1 <= layers <= len(self.blocks):
            raise InputError(
                "layers",
                found=str(layers),
                expected=f"1 to {len(self.blocks)}, the model's MLP blocks",
                remedy="give layers in this range",
            )
        return layers


def token_batches(
    rows: Sequence[Sequence[int]], batch_size: int, *, pad: bool
) -> Iterator[tuple[list[int], Tensor, Tensor | None]]:
    """(indices, tokens (n, T), mask (n, T)) over token rows of any length, sorted by length so that little is padded;
    the mask is None where nothing is.

    With `pad=False` (a model without a mask) only rows of equal length share a batch.
    """
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    start = 0
    while start < len(order):
        part = order[start : start + batch_size]
        if not pad:
            part = [i for i in part if len(rows[i]) == len(rows[part[0]])]
        lengths = [len(rows[i]) for i in part]
        padded = [[*rows[i], *[0] * (lengths[-1] - len(rows[i]))] for i in part]
        mask = None
        if lengths[0] < lengths[-1]:
            mask = (torch.arange(lengths[-1]) < torch.tensor(lengths)[:, None]).long()
        yield part, torch.tensor(padded, dtype=torch.int64), mask
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
        raise InputError(
            "the token rows", found=found, expected="at least one token in every row", remedy="leave out the empty rows"
        )
    device = next(reader.model.parameters()).device
    order: list[int] = []
    parts: list[LanguageFeatures] = []
    for part, tokens, mask in token_batches(rows, batch_size, pad=reader.takes_mask):
        got = reader.read(tokens.to(device), None if mask is None else mask.to(device), layers=layers)
        order += part
        parts.append(LanguageFeatures(pooled=got.pooled.cpu(), hidden=got.hidden.cpu()))
    if len(rows) == 1:
        return parts[0]
    back = torch.tensor(order).argsort()
    return LanguageFeatures(
        pooled=torch.cat([p.pooled for p in parts])[back], hidden=torch.cat([p.hidden for p in parts])[back]
    )


def _blank(x: Tensor, valid: Tensor | None) -> Tensor:
    return x if valid is None else x.masked_fill(~valid[:, None, :], float("nan"))


@contextlib.contextmanager
def _embedding_of(model: nn.Module, tokens: Tensor) -> Iterator[list[int]]:
    """Sizes of the `nn.Embedding`s that read these very tokens in the passes run meanwhile."""
    sizes: list[int] = []
    rows = example_rows(tokens)

    def hook(module: nn.Module, args: tuple) -> None:
        ids = args[0] if args else rows
        if isinstance(module, nn.Embedding) and any(torch.equal(ids, r) for r in (rows, rows.T)):
            sizes.append(module.num_embeddings)

    handles = [m.register_forward_pre_hook(hook) for m in model.modules() if isinstance(m, nn.Embedding)]
    try:
        yield sizes
    finally:
        for handle in handles:
            handle.remove()
