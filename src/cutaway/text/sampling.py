"""Samples of a language model under a stated decoding, from their own generator; and whether tokens survive as text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cutaway.errors import InputError
from cutaway.network import Network
from cutaway.network.by_rows import over_rows
from cutaway.network.outputs import first_tensor
from cutaway.text.scoring import Decoding, check_logits


def sample_tokens(
    network: Network,
    prompt: Tensor,
    length: int,
    *,
    generator: torch.Generator,
    decoding: Decoding | None = None,
    budget: int | None = None,
) -> Tensor:
    """Rows (n, length) int64 that begin with `prompt` (n, given) and go on as `network` does under `decoding`.

    Exact draws, up to the network's rounding: inverse of the cumulated float64 probabilities at uniform numbers of
    `generator` (CPU), one a token, so that devices agree. No row ends early, whatever its tokens say. Cost: with a
    Hugging Face model's cache one pass a token, else (length - given) passes of growing rows. Raises `InputError` as
    `score_tokens`, and for a `length` that adds nothing. Source: definition (inversion).
    """
    decoding = decoding or Decoding()
    if prompt.ndim != 2 or prompt.shape[1] < 1 or length <= prompt.shape[1] or prompt.is_floating_point():
        raise InputError(
            "a prompt",
            found=f"{tuple(prompt.shape)} for rows of {length}",
            expected="token rows (n, given) of at least one token, shorter than the rows to draw",
            remedy="begin with the begin-of-text token, and ask for longer rows",
        )
    network = network.with_example(torch.zeros((1, length), dtype=torch.int64))
    size = network.chunk_size(prompt.new_zeros((len(prompt), length)), (), budget, pre=False, factor=3)
    uniform = torch.rand((len(prompt), length - prompt.shape[1]), generator=generator, dtype=torch.float64)
    return torch.cat(over_rows(network, _rows, size, (prompt, uniform), decoding))


@torch.no_grad()
def _rows(network: Network, prompt: Tensor, chance: Tensor, decoding: Decoding) -> Tensor:
    rows, step, cache = network.place(prompt), network.place(prompt), None
    cached = hasattr(network.model, "generate") and hasattr(network.model, "config")
    for t in range(chance.shape[1]):
        if cached:
            output = network.model(step, past_key_values=cache, use_cache=True)
            cache, logits = output.past_key_values, output.logits
        else:
            logits = first_tensor(network.model(rows))
        check_logits(logits, step if cached else rows)
        p = decoding.log_probabilities(logits[:, -1]).exp().cumsum(-1).cpu()
        drawn = torch.searchsorted(p, chance[:, t : t + 1] * p[:, -1:], right=True)
        drawn = torch.minimum(drawn, (p < p[:, -1:]).sum(-1, keepdim=True))  # not past the last that is possible
        step = drawn.to(rows.device)
        rows = torch.cat([rows, step], dim=1)
    network.passes.count(len(rows) * (1 if cached else chance.shape[1]))
    return rows.cpu()


def round_trip(tokenizer: Any, tokens: Tensor) -> Tensor:
    """Which rows (n,) bool of `tokens` (n, length) are what `tokenizer` makes of their own text.

    A text is judged by the tokens it is cut into now; where these are not the tokens that were drawn, their
    probabilities are of other draws, and no test of authorship holds. Special tokens in front are put back as they
    were. Exact. Source: definition.
    """
    special = set(getattr(tokenizer, "all_special_ids", ()) or ())
    survived = []
    for row in tokens.tolist():
        given = 0
        while given < len(row) and row[given] in special:
            given += 1
        text = tokenizer.decode(row[given:], clean_up_tokenization_spaces=False)
        survived.append(tokenizer(text, add_special_tokens=False)["input_ids"] == row[given:])
    return torch.tensor(survived)
