"""Scores of token rows: log-probability and entropy of every token, in float64, for a model under a stated decoding.

Token t of a row, with t >= `prompt`, has the probability p(y_t | y_1 .. y_(t-1)) that the decoding would have drawn it
with; the tokens before are given. A decoding that cuts (top-k, top-p, greedy) gives what it cuts probability 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cutaway.arrays import Floats
from cutaway.errors import InputError
from cutaway.network import Network
from cutaway.network.by_rows import over_rows

IMPOSSIBLE = -1e5  # log-probability that a told probability of 0 counts as
PIECE = 2**16  # numbers of logits that are worked on at once, so that they stay in the cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How tokens are drawn: softmax(logits / temperature), of which the `top_k` most likely are kept (0: all), then the
    fewest whose mass reaches `top_p`, ties with the last of them included. Temperature 0 takes the most likely token.

    Raises `InputError` for settings outside their ranges.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.temperature < math.inf and self.top_k >= 0 and 0 < self.top_p <= 1):
            raise InputError(
                "decoding",
                found=str(self),
                expected="temperature and top_k of 0 or more, top_p above 0 and at most 1",
                remedy="give the settings that the text was drawn with",
            )

    @property
    def plain(self) -> bool:
        """Whether it is the model itself."""
        return self == Decoding()

    def __str__(self) -> str:
        parts = [f"temperature {self.temperature:g}"] if self.temperature != 1 else []
        parts += [f"top-k {self.top_k}"] * bool(self.top_k) + [f"top-p {self.top_p:g}"] * (self.top_p < 1)
        return ", ".join(parts) or "the model itself"

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """(..., vocabulary) float64, minus infinity for what is cut. Exact.

        Logits and result of shape (..., vocabulary). Source: definition.
        """
        logits = logits.double()
        if self.temperature == 0:
            best = logits == logits.amax(-1, keepdim=True)
            first = best & (best.cumsum(-1) == 1)
            return torch.where(first, 0.0, -math.inf).double()
        found = torch.log_softmax(logits / self.temperature, dim=-1)
        if self.top_k and self.top_k < logits.shape[-1]:
            least = found.topk(self.top_k, dim=-1).values[..., -1:]
            found = torch.log_softmax(found.masked_fill(found < least, -math.inf), dim=-1)
        if self.top_p < 1:
            ordered = found.sort(dim=-1, descending=True).values
            before = ordered.exp().cumsum(-1) - ordered.exp()
            least = ordered.masked_fill(before >= self.top_p, math.inf).amin(-1, keepdim=True)
            found = torch.log_softmax(found.masked_fill(found < least, -math.inf), dim=-1)
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenScores:
    """Per row and scored token (n, length - prompt), in nats: `log_probability`; `entropy` of the distribution it was
    drawn from; `log_power`, for each power s asked for (n, length - prompt, powers), log sum_y p(y)^s."""

    log_probability: Floats
    entropy: Floats
    log_power: Floats

    @property
    def surplus(self) -> Floats:
        """Surprisal less entropy, mean 0 for the model's own tokens. Shape (n, tokens)."""
        return -self.log_probability - self.entropy


def score_tokens(
    network: Network,
    tokens: Tensor,
    *,
    prompt: int = 1,
    decoding: Decoding | None = None,
    powers: tuple[float, ...] = (),
    budget: int | None = None,
) -> TokenScores:
    """Scores of `tokens` (n, length) int64 under `network`, whose output is (n, length, vocabulary) logits.

    Exact up to the network's own rounding (softmax and sums in float64). Cost: one forward pass a row; memory within
    `budget` bytes in each process. Raises `InputError` for tokens outside the vocabulary, fewer than `prompt` + 1 of
    them a row, an output that is no language model's, or logits that are not finite. Source: definition.
    """
    decoding = decoding or Decoding()
    checked_tokens(tokens, prompt)
    network = network.with_example(tokens[:2])
    size = network.chunk_size(tokens, (), budget, pre=False, factor=2)
    parts = over_rows(network, _pass_scored, size, (tokens,), prompt, decoding, powers)
    lp, h, power = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return TokenScores(log_probability=lp, entropy=h, log_power=power)


def score_distributions(
    log_probabilities: Floats, tokens: Tensor, *, prompt: int = 1, powers: tuple[float, ...] = ()
) -> TokenScores:
    """Scores of `tokens` (n, length) from the whole distribution of each token behind the prompt, log-probabilities (n,
    length - prompt, vocabulary) in nats: of a model behind an API. Exact.

    Raises `InputError` for shapes that do not fit, tokens outside the vocabulary, and rows that do not sum to one (the
    most likely tokens alone are not enough: the entropy rests on all). Source: definition.
    """
    checked_tokens(tokens, prompt)
    given = torch.from_numpy(np.array(log_probabilities, dtype=np.float64)).clamp(min=IMPOSSIBLE)
    rows, length = tokens.shape
    wrong = ""
    if given.ndim != 3 or tuple(given.shape[:2]) != (rows, length - prompt):
        wrong = f"shape {tuple(given.shape)}"
    elif int(tokens.max()) >= given.shape[-1]:
        wrong = f"token {int(tokens.max())} for a vocabulary of {given.shape[-1]}"
    elif not float((total := torch.logsumexp(given, dim=-1).exp()).sub(1).abs().max()) <= 1e-4:
        wrong = f"probabilities that sum to {float(total.min()):.4g} to {float(total.max()):.4g}"
    if wrong:
        raise InputError(
            "distributions of tokens",
            found=wrong,
            expected=f"log-probabilities ({rows}, {length - prompt}, vocabulary) of whole distributions",
            remedy="ask the model for the log-probabilities of all tokens, or draw texts from it for the rank test",
        )
    flat = given.reshape(rows * (length - prompt), -1)
    scored = _plain(flat, tokens[:, prompt:].reshape(-1, 1), Decoding(), powers)
    log_p, entropy, power = (part.numpy().reshape(rows, length - prompt, *part.shape[1:]) for part in scored)
    return TokenScores(log_probability=log_p, entropy=entropy, log_power=power)


def _pass_scored(network: Network, tokens: Tensor, *settings: Any):
    (chunk,) = network.stream(tokens, (), pre=False, batch_size=len(tokens))
    return _scored(chunk.output, chunk.inputs, *settings)


def _scored(logits: Tensor, tokens: Tensor, prompt: int, decoding: Decoding, powers: tuple[float, ...]):
    check_logits(logits, tokens)
    given, drawn = logits[:, prompt - 1 : -1], tokens[:, prompt:]
    rows, length, vocabulary = given.shape
    flat, wanted = given.reshape(rows * length, vocabulary), drawn.reshape(-1, 1)
    log_p = torch.empty(rows * length, dtype=torch.float64)
    entropy, power = torch.empty_like(log_p), torch.empty((rows * length, len(powers)), dtype=torch.float64)
    for part in _parts(len(flat), vocabulary):
        score = _plain if decoding.plain else _cut
        log_p[part], entropy[part], power[part] = score(flat[part], wanted[part], decoding, powers)
    if not bool(torch.isfinite(entropy).all()):
        raise InputError(
            "the model's output",
            found="NaN or infinity among its logits",
            expected="finite logits",
            remedy="measure it in float32, or look for rows that are longer than it can read",
        )
    return (
        log_p.numpy().reshape(rows, length),
        entropy.numpy().reshape(rows, length),
        power.numpy().reshape(rows, length, -1),
    )


def _plain(logits: Tensor, wanted: Tensor, decoding: Decoding, powers: tuple[float, ...]):
    """With z the logits less their largest and Z = sum exp(z): log p = z_y - log Z, H = log Z - sum exp(z) z / Z."""
    z = logits.double()
    z -= z.amax(-1, keepdim=True)
    e = z.exp()
    total = e.sum(-1)
    log_total = total.log()
    power = [torch.logsumexp(s * z, dim=-1) - s * log_total for s in powers]
    stacked = torch.stack(power, dim=-1).cpu() if power else torch.empty((len(z), 0), dtype=torch.float64)
    log_p = z.gather(-1, wanted)[:, 0] - log_total
    return log_p.cpu(), (log_total - e.mul_(z).sum(-1) / total).cpu(), stacked


def _cut(logits: Tensor, wanted: Tensor, decoding: Decoding, powers: tuple[float, ...]):
    found = decoding.log_probabilities(logits)
    entropy = -(found.exp() * found.masked_fill(found == -math.inf, 0.0)).sum(-1)
    power = [torch.logsumexp(s * found, dim=-1) for s in powers]  # 0 to any power counts as 0: a cut token is no token
    stacked = torch.stack(power, dim=-1).cpu() if power else torch.empty((len(found), 0), dtype=torch.float64)
    return found.gather(-1, wanted)[:, 0].cpu(), entropy.cpu(), stacked


def _parts(rows: int, vocabulary: int) -> Iterator[slice]:
    """Slices of `rows` such that each has about `PIECE` numbers."""
    size = max(1, PIECE // vocabulary)
    yield from (slice(start, start + size) for start in range(0, rows, size))


def checked_tokens(tokens: Tensor, prompt: int) -> None:
    """Raise `InputError` for what are no rows of tokens with something to score behind the prompt."""
    wrong = ""
    if tokens.ndim != 2 or tokens.is_floating_point():
        wrong = f"{str(tokens.dtype)[6:]} of shape {tuple(tokens.shape)}"
    elif prompt < 1 or tokens.shape[1] <= prompt:
        wrong = f"rows of {tokens.shape[1]} tokens with a prompt of {prompt}"
    elif bool((tokens < 0).any()):
        wrong = "a negative token number"
    if wrong:
        raise InputError(
            "token rows",
            found=wrong,
            expected="whole numbers (n, length), of which at least the first is given and the last is scored",
            remedy="put the begin-of-text token in front, and give longer rows",
        )


def check_logits(logits: Tensor, tokens: Tensor) -> None:
    """Raise `InputError` where this is no language model's output for these tokens."""
    wrong = ""
    if logits.ndim != 3 or tuple(logits.shape[:2]) != tuple(tokens.shape):
        wrong = f"outputs of shape {tuple(logits.shape)} for tokens of shape {tuple(tokens.shape)}"
    elif int(tokens.max()) >= logits.shape[-1]:
        wrong = f"token {int(tokens.max())} for a vocabulary of {logits.shape[-1]}"
    if wrong:
        raise InputError(
            "a language model",
            found=wrong,
            expected="logits (n, length, vocabulary) of tokens in that vocabulary",
            remedy="give a causal language model, and rows of its own tokenizer",
        )
