"""Sentence vectors and token vectors of an encoder: one forward pass, nothing hooked.

Sentence: e = m / |m|, where m is the mean over the valid tokens of the last hidden state (n, T, D), or the first
token's state. Token: h_t / |h_t|, for retrieval by single tokens. Source: Reimers and Gurevych, arXiv 1908.10084,
section 3; as there, the mean counts the special tokens at both ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cutaway.engines.parts import in_parts
from cutaway.errors import ModelError
from cutaway.language.forward import accepts, body_of, checked_mask, run_model
from cutaway.language.geometry import token_batches
from cutaway.language.pooling import masked_mean
from cutaway.network.outputs import first_tensor


class SentenceReader:
    """Reads `model` (in evaluation mode) in its body; `pooling` is "mean" or "first". Stateless between calls.

    Raises ModelError where the body gives no hidden state a token (n, T, D) for `example` (1, T).
    """

    def __init__(self, model: nn.Module, example: Tensor, *, pooling: str = "mean") -> None:
        self.model, self.pooling = body_of(model, example), pooling
        self.takes_mask = accepts(self.model, "attention_mask")
        self.width = self.states(example[:1]).shape[2]

    @torch.no_grad()
    def states(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """The last hidden state (n, T, D) of token ids (n, T), right-padded with `mask` (n, T). One forward pass.

        Exact: what the encoder computes. Raises `ModelError` for a model without such a state. Source: definition.
        """
        found = first_tensor(run_model(self.model, tokens, mask))
        if found is None or found.ndim != 3 or found.shape[:2] != tokens.shape:
            raise ModelError(
                f"model {type(self.model).__name__}",
                found="no hidden state for every token"
                if found is None
                else f"an output of shape {tuple(found.shape)}",
                expected=f"hidden states (n, T, D) of tokens {tuple(tokens.shape)}",
                remedy="use an encoder that keeps its tokens apart",
            )
        return found

    @torch.no_grad()
    def read(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Sentence vectors (n, D), float32, of length 1 (0 where the state is 0). Exact up to rounding.

        Source: Reimers and Gurevych (arXiv 1908.10084), section 3.
        """
        states = self.states(tokens, mask).float()
        valid = None if mask is None else checked_mask(tokens, mask)
        pooled = states[:, 0] if self.pooling == "first" else masked_mean(states, valid)
        return nn.functional.normalize(pooled, dim=1)

    @torch.no_grad()
    def token_vectors(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Token vectors (n, T, D), float32, of length 1; padded places hold numbers without meaning.

        Exact up to rounding. Source: definition.
        """
        return nn.functional.normalize(self.states(tokens, mask).float(), dim=2)


def sentence_vectors(reader: SentenceReader, rows: Sequence[Sequence[int]], *, batch_size: int = 32) -> Tensor:
    """Sentence vectors (n, D) of token rows of any length, in their order, on the CPU; one forward pass a row."""
    found = torch.empty(len(rows), reader.width)
    batches = list(token_batches(rows, batch_size, pad=reader.takes_mask))
    vectors = in_parts(_vectors, [(tokens, mask) for _, tokens, mask in batches], reader)
    for (part, _, _), some in zip(batches, vectors, strict=True):
        found[part] = some
    return found


def _vectors(reader: SentenceReader, tokens: Tensor, mask: Tensor | None) -> Tensor:
    device = next(reader.model.parameters()).device
    return reader.read(tokens.to(device), None if mask is None else mask.to(device)).cpu()
