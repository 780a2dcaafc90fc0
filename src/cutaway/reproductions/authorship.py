"""Authorship: own samples, other decodings, mixtures and texts by people before the any-time test of a small model."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from cutaway.reproductions.row import Row

TITLE = "Did this model write this text? Type I error and power of the any-time test"
SOURCE = "Radvand et al. 2025, arXiv 2501.02406; the test is ours"
BEGIN, TOKENS, ALPHA = 1, 128, 0.05
POWER = {"10 % of tokens replaced": 1.00, "temperature 0.8": 0.46, "temperature 1.2": 0.37}
POWER |= {"temperature 0.9": 0.05, "temperature 1.1": 0.10}


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """stories260K: 1,000 own texts (short: 120), the rows of the table, film reviews; needs CUTAWAY_DATA."""
    folder = Path(os.environ.get("CUTAWAY_DATA", ""))
    if not os.environ.get("CUTAWAY_DATA") or not (folder / "stories260k").is_dir():
        return [Row(quantity="stories260K", ours="left out: set CUTAWAY_DATA", verdict="not run")]
    from cutaway.network import Network
    from cutaway.network.sources import load_model

    loaded = load_model(folder / "stories260k")
    network = Network(loaded.model, loaded.example)
    rows = [own_texts(network, 120 if short else 1000, seed, progress)]
    rows += others(network, 40 if short else 150, short, seed, progress)
    reviews = folder / "text" / "sst_dev.parquet"
    if reviews.is_file():
        rows.append(_reviews(network, loaded.tokenizer, reviews, seed, progress))
    return rows


def own_texts(network, count: int, seed: int, progress: Callable[[str], None]) -> Row:
    """The share of own texts that the any-time test rejects, with its upper limit."""
    from cutaway.evidence import proportion_interval

    p = rejections(network, drawn(network, count, seed))
    share, high = float((p <= ALPHA).mean()), proportion_interval(int((p <= ALPHA).sum()), count)[1]
    progress(f"own texts: {share:.3f} of {count} rejected at any time, at most {high:.3f}")
    limit = 0.07 if count >= 1000 else 0.13
    return Row(
        quantity=f"own texts rejected at .05 at any time, of {count} with {TOKENS} tokens",
        paper=ALPHA,
        reference="theory",
        ours=share,
        high=high,
        low=proportion_interval(int((p <= ALPHA).sum()), count)[0],
        tolerance=f"at most 0.05, upper limit at most {limit}",
        verdict="pass" if share <= ALPHA and high <= limit else "fail",
    )


def others(network, count: int, short: bool, seed: int, progress: Callable[[str], None]) -> list[Row]:
    """Texts of the same model that are not draws of it: tokens replaced by others of its frequencies, temperatures."""
    own = drawn(network, count, seed + 1)
    rng = np.random.default_rng(seed)
    mixed, pool = own.clone(), own[:, 1:].flatten()
    swap = torch.tensor(rng.random(own.shape) < 0.1)
    swap[:, 0] = False
    mixed[swap] = pool[torch.tensor(rng.integers(0, len(pool), int(swap.sum())))]
    texts = {"10 % of tokens replaced": mixed}
    for temperature in (0.8, 1.2) if short else (0.8, 1.2, 0.9, 1.1):
        texts[f"temperature {temperature:g}"] = drawn(network, count, seed + 2, temperature)
    rows = []
    for name, tokens in texts.items():
        share = float((rejections(network, tokens) <= ALPHA).mean())
        progress(f"{name}: {share:.2f} rejected")
        bar = 0.2 if short else 0.1
        rows.append(
            Row(
                quantity=f"{name}: share rejected at any time ({count} texts; {POWER[name]:.2f} in an earlier run)",
                ours=share,
                tolerance=f"within {bar} of it",
                verdict="pass" if abs(share - POWER[name]) <= bar else "fail",
            )
        )
    return rows


def _reviews(network, tokenizer, path: Path, seed: int, progress: Callable[[str], None]) -> Row:
    from cutaway.data import load_text

    tokens = load_text(path).tokenised(tokenizer, 33, prefix=(BEGIN,)).take(100, seed).inputs
    share = float((rejections(network, tokens) <= ALPHA).mean())
    progress(f"film reviews, 32 tokens: {share:.2f} rejected")
    return Row(
        quantity="film reviews by people, 32 tokens: share rejected at any time",
        ours=share,
        tolerance="at least 0.9",
        verdict="pass" if share >= 0.9 else "fail",
    )


def drawn(network, count: int, seed: int, temperature: float = 1.0) -> torch.Tensor:
    """Own texts that begin with the begin-of-text token."""
    from cutaway.text import Decoding, sample_tokens

    start, generator = torch.full((count, 1), BEGIN), torch.Generator().manual_seed(seed)
    return sample_tokens(network, start, TOKENS + 1, generator=generator, decoding=Decoding(temperature=temperature))


def rejections(network, tokens: torch.Tensor) -> np.ndarray:
    """The any-time p-value of every row."""
    from cutaway.text import any_time_p_values, e_values, score_tokens
    from cutaway.text.authorship import POWERS

    return any_time_p_values(e_values(score_tokens(network, tokens, powers=POWERS)))


def small_network():
    """A chain of 40 tokens, for a quick look at the test itself."""
    from torch import nn

    from cutaway.network import Network

    logits = 1.5 * torch.randn((40, 40), generator=torch.Generator().manual_seed(0))
    return Network(nn.Embedding.from_pretrained(logits).eval(), torch.zeros((2, TOKENS + 1), dtype=torch.int64))
