"""Does a model finish texts whose beginning it is shown? Completions, how much they recall, and texts of today."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cutaway.arrays import Floats
from cutaway.data.text import TextSet
from cutaway.errors import InputError
from cutaway.network import Network
from cutaway.text.sampling import sample_tokens
from cutaway.text.scoring import Decoding


def complete(network: Network, tokens: Tensor, shown: float, *, budget: int | None = None) -> tuple[Tensor, Tensor]:
    """What `network` makes of the first share `shown` of rows `tokens` (n, length), greedily, and what stood there:
    both (n, length - given) int64, given = round(shown length), at least one token on either side.

    Exact. Cost: a pass for each token (with the cache of a Hugging Face model; else of growing rows). Raises
    `InputError` as `sample_tokens`, and for a share outside (0, 1). Source: Golchin and Surdeanu 2024 (arXiv
    2308.08493), guided completion, here without an instruction.
    """
    if not 0 < shown < 1:
        raise InputError(
            "share shown",
            found=f"{shown}",
            expected="above 0 and below 1",
            remedy="give the share of a row's tokens that the model is shown",
        )
    given = min(max(1, round(shown * tokens.shape[1])), tokens.shape[1] - 1)
    drawn = sample_tokens(
        network,
        tokens[:, :given],
        tokens.shape[1],
        generator=torch.Generator(),  # greedy decoding draws nothing
        decoding=Decoding(temperature=0.0),
        budget=budget,
    )
    return drawn[:, given:], tokens[:, given:].cpu()


def rouge_l_recall(said: Tensor, wanted: Tensor) -> Floats:
    """Per row (n,) the length of the longest common subsequence of `said` (n, a) and `wanted` (n, b), over b.

    In [0, 1], 1 where all of `wanted` comes in its order. Exact. Cost: a b operations on n numbers. Source: Lin 2004
    (ROUGE-L, its recall), of tokens.

    >>> import torch
    >>> rouge_l_recall(torch.tensor([[1, 9, 2, 3]]), torch.tensor([[1, 2, 7, 3]])).tolist()
    [0.75]
    """
    a, b = said.cpu().numpy(), wanted.cpu().numpy()
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b) or not b.shape[1]:
        raise InputError(
            "token rows to compare",
            found=f"shapes {a.shape} and {b.shape}",
            expected="as many rows in both, of at least one token",
            remedy="give what was said and what was wanted, row by row",
        )
    before = np.zeros((len(b), b.shape[1] + 1), dtype=np.int64)
    for token in a.T:
        now = np.zeros_like(before)
        for j in range(b.shape[1]):
            longer = np.maximum(before[:, j + 1], now[:, j])
            now[:, j + 1] = np.where(b[:, j] == token, before[:, j] + 1, longer)
        before = now
    return before[:, -1] / b.shape[1]


def random_calculations(count: int, *, steps: tuple[int, int] = (1, 20), seed: int = 0) -> TextSet:
    """Texts that no training can have seen: calculations of random whole numbers with their result, by + and -.

    Of `steps` operations from the first to the second number, drawn uniformly; groups tell how many. Exact: the same
    for the same seed. Raises `InputError` for steps that are none. Source: Wu et al. 2025 (arXiv 2507.10532),
    RandomCalculation, here with two operations.

    >>> random_calculations(1, steps=(2, 2)).texts[0].count(" ")
    6
    """
    low, high = steps
    if not 1 <= low <= high or count < 1:
        raise InputError(
            "random calculations",
            found=f"{count} of {low} to {high} steps",
            expected="at least one, of at least one step",
            remedy="give rising numbers of 1 or more",
        )
    rng = np.random.default_rng(seed)
    lengths = rng.integers(low, high + 1, count).tolist()
    texts = []
    for length in lengths:
        numbers, signs = rng.integers(0, 1000, length + 1), rng.choice([-1, 1], length)
        told = "".join(f" {'+' if sign > 0 else '-'} {number}" for sign, number in zip(signs, numbers[1:]))
        texts.append(f"{numbers[0]}{told} = {int(numbers[0] + signs @ numbers[1:])}")
    names = tuple(f"{length} step{'s' * (length > 1)}" for length in lengths)
    return TextSet(name="random calculations", texts=tuple(texts), groups=names)
