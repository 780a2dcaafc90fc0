"""What sampling its answers costs and wins a language model: accuracy by temperature, pass@k, hidden risk, stability.

The chance q that a model draws the right answer is the product of its tokens' probabilities, so accuracy at any
temperature, pass@k = mean 1 - (1 - q)^k and the risk hidden behind a right greedy answer, 1 - q^k, are exact given the
rows; nothing need be drawn. Where only samples are known (a model behind an API), `pass_at_k` is the unbiased estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway import seeds
from cutaway.arrays import Floats
from cutaway.errors import InputError
from cutaway.network import Network
from cutaway.network.by_rows import over_rows
from cutaway.reading.intervals import bootstrap_interval
from cutaway.reading.rank import p_value
from cutaway.robustness.variation import VarianceShares, variance_shares
from cutaway.text.scoring import Decoding, check_logits, checked_tokens


def answer_probabilities(
    network: Network, tokens: torch.Tensor, answer: int, temperatures: Sequence[float], *, budget: int | None = None
) -> Floats:
    """Chance (n, temperatures) that the last `answer` tokens of `tokens` (n, length) are drawn after those before them;
    at temperature 0 it is 1 or 0, the greedy answer's. The last token is not read by the network.

    Exact up to the network's rounding; softmax and products in float64. Cost: one forward pass a row, whatever the
    temperatures. Raises `InputError` as `score_tokens`. Source: definition.
    """
    checked_tokens(tokens, tokens.shape[-1] - answer if 0 < answer < tokens.shape[-1] else 0)
    decodings = [Decoding(temperature=float(t)) for t in temperatures]
    given = tokens[:, :-1]
    network = network.with_example(given[:2])
    size = network.chunk_size(given, (), budget, pre=False, factor=2 + len(decodings) // 4)
    return np.concatenate(over_rows(network, _chances, size, (given, tokens[:, -answer:]), decodings))


def _chances(network: Network, given: torch.Tensor, wanted: torch.Tensor, decodings: list[Decoding]) -> Floats:
    """(n, decodings) for rows `given` (n, length - 1) and their answers `wanted` (n, answer)."""
    (chunk,) = network.stream(given, (), pre=False, batch_size=len(given))
    check_logits(chunk.output, chunk.inputs)
    wanted = wanted.to(chunk.output.device)[..., None]
    logits = chunk.output[:, -wanted.shape[1] :]
    if int(wanted.max()) >= logits.shape[-1] or not bool(torch.isfinite(logits).all()):
        raise InputError(
            "answers",
            found=f"token {int(wanted.max())} for a vocabulary of {logits.shape[-1]}, or logits not finite",
            expected="answers in the model's vocabulary, and finite logits",
            remedy="give rows of the model's own tokenizer, no longer than it can read",
        )
    logs = [d.log_probabilities(logits).gather(-1, wanted)[..., 0].sum(dim=1) for d in decodings]
    return torch.stack(logs, dim=1).exp().cpu().numpy()


def pass_at_k(samples: int, right: NDArray, k: int) -> Floats:
    """Unbiased estimate, per question (n,), of the chance that one of `k` samples is right, from `right` (n,) of
    `samples` drawn: 1 - C(samples - right, k) / C(samples, k).

    Raises `InputError` for a k that is larger than the samples. Source: Chen et al. 2021 (arXiv 2107.03374), eq. 1.

    >>> import numpy as np
    >>> pass_at_k(4, np.array([0, 1, 4]), 2).tolist()
    [0.0, 0.5, 1.0]
    """
    right = np.asarray(right)
    if not 1 <= k <= samples or (right < 0).any() or (right > samples).any():
        raise InputError(
            "pass@k",
            found=f"k = {k}, and {right.min()} to {right.max()} right of {samples} samples",
            expected="1 <= k <= samples, and 0 <= right <= samples",
            remedy="draw more samples, or take a smaller k",
        )
    wrong = samples - right[:, None].astype(float)
    steps = np.arange(samples - k + 1, samples + 1)  # C(w, k) / C(n, k) = prod over the last k of n of (1 - right / i)
    return 1 - np.where(wrong[:, 0] < k, 0.0, np.prod(1 - right[:, None] / steps, axis=1))


def falls_against_first(values: NDArray, *, draws: int = 1999, seed: int = 0) -> Floats:
    """Of `values` (n, m), one column a setting: for each column but the first (m - 1,), the p-value of "its mean is not
    below the first column's", for all of them at once (Holm).

    Exact by flipping the signs of the paired differences (of zeros and ones: McNemar's test). Raises `InputError` for
    fewer than two columns. Cost: `draws` n m numbers. Source: Fisher 1935; Holm 1979.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 2 or not np.isfinite(values).all():
        raise InputError(
            "values by setting",
            found=f"shape {values.shape}" + ("" if np.isfinite(values).all() else ", not all finite"),
            expected="a finite number for every row and setting (n, m), m at least 2",
            remedy="give the reference setting first, then the others",
        )
    off = values[:, 1:] - values[:, :1]
    rng = np.random.default_rng(seeds.stream(seed, "signs"))
    drawn = np.array([rng.choice([-1.0, 1.0], len(off)) @ off / len(off) for _ in range(draws)])
    p = np.array([p_value(float(m), d, "less") for m, d in zip(off.mean(axis=0), drawn.T)])
    order, held = np.argsort(p, kind="stable"), np.empty(len(p))
    held[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return held


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """How far a score rests on how it was asked for. `shares`: of its variance, due to the format (`version`), the item
    (`row`) and both; `item_share` with its interval `low` to `high` (the intraclass correlation: 1 where the format
    says nothing); `flips`: share of pairs of formats that disagree on an item, for scores of 0 and 1."""

    shares: VarianceShares
    low: float
    high: float
    flips: float


def evaluation_stability(scores: NDArray, *, seed: int = 0, resamples: int = 400) -> Stability:
    """Of `scores` (formats, items), one for each way to ask: order of options, direction of a scale, wording.

    Estimates; the interval is by bootstrap over items. Raises `InputError` for fewer than two formats or items, or
    scores that are not finite. Cost: `resamples` tables. Source: ours, by the variance components of Searle, Casella
    and McCulloch 1992.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise InputError(
            "scores by format and item",
            found=f"shape {table.shape}" + ("" if np.isfinite(table).all() else ", not all finite"),
            expected="a finite score for each of two formats and two items or more",
            remedy="ask every item in every format",
        )

    def share(items: NDArray) -> float:
        return variance_shares(table[:, items]).row

    low, high = bootstrap_interval(share, table.shape[1], seed=seed, resamples=resamples)
    first, second = np.triu_indices(len(table), 1)
    flips = float((table[first] != table[second]).mean())
    return Stability(shares=variance_shares(table), low=low, high=high, flips=flips)
