"""Does a language model that is given a mixture of tokens follow several of them, or the likeliest alone? The question
of arXiv 2508.03440 (single-threaded reasoners), asked of the 260K-parameter story model from CUTAWAY_DATA; without it,
of an untrained one.

A soft token is the mean of the embeddings of the likeliest tokens, by their probabilities. Dominance is the share of
positions at which what the model says next is nearest, by Jensen and Shannon's divergence, to what it says behind the
likeliest token alone. It means little by itself: the plain average of what it says behind each token, which follows
them all, is nearest to the likeliest one's too. That average is the null; an untrained twin stands beside.

What came out: the share is large, and yet below that of the average, so at this size nothing shows that a soft token
follows the likeliest one alone. Gumbel noise on the weights, the published remedy, takes the difference away.

python examples/does_a_soft_token_think.py
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cutaway import Network
from cutaway.network.sources import load_model
from cutaway.reading.intervals import bootstrap_interval
from cutaway.text import sample_tokens

LIKELIEST = 5  # tokens in a mixture


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Jensen and Shannon's, in nats, of distributions along the last axis."""
    middle = (p + q) / 2
    both = torch.stack(torch.broadcast_tensors(p, q))
    return (torch.special.xlogy(both, both) - torch.special.xlogy(both, middle)).sum(dim=(0, -1)) / 2


@torch.no_grad()
def nearest(model: Any, past: Tensor, temperature: float | None, generator: torch.Generator) -> Tensor:
    """(3, n) behind `past` (n, length): place among the likeliest tokens of the one whose continuation the soft token's
    is nearest to, that of the plain average of continuations, and the probability of the likeliest token.

    `temperature`: of Gumbel noise on the weights (the published remedy), which then draw a token softly; None: without.
    """

    def following(**given: Tensor) -> Tensor:
        return model(**given).logits[:, -1].double().softmax(-1)

    likely = following(input_ids=past).topk(LIKELIEST)
    weights = likely.values / likely.values.sum(-1, keepdim=True)
    if temperature is not None:
        noise = -(-torch.rand(weights.shape, generator=generator, dtype=torch.float64).log()).log()
        weights = ((weights.log() + noise) / temperature).softmax(-1)
    behind = [following(input_ids=torch.cat([past, token[:, None]], dim=1)) for token in likely.indices.T]
    singles, embed = torch.stack(behind, dim=1), model.get_input_embeddings()
    soft = (weights[..., None].to(embed.weight.dtype) * embed(likely.indices)).sum(1, keepdim=True)
    mixed = following(inputs_embeds=torch.cat([embed(past), soft], dim=1))
    average = (weights[..., None] * singles).sum(1)
    places = [divergence(p[:, None], singles).argmin(-1).double() for p in (mixed, average)]
    return torch.stack([*places, likely.values[:, 0]])


def stories() -> Any:
    """The model of stories; without the data an untrained one of its kind."""
    folder = Path(os.environ.get("CUTAWAY_DATA", "")) / "stories260k"
    if os.environ.get("CUTAWAY_DATA") and folder.is_dir():
        return load_model(str(folder)).model
    from transformers import LlamaConfig, LlamaForCausalLM

    print("without CUTAWAY_DATA: an untrained model, of which nothing is to be learned")
    plan = LlamaConfig(
        vocab_size=512, hidden_size=64, intermediate_size=172, num_hidden_layers=2, num_attention_heads=4
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(plan).eval()


def main(*, texts: int = 60, length: int = 64, seed: int = 0) -> dict[str, float]:
    """Print dominance of both networks and of the average, where the model is unsure and everywhere; returns the
    dominance of the model and of the average where it is unsure."""
    model, start = stories(), torch.ones((texts, 1), dtype=torch.int64)
    network = Network(model, start.expand(-1, 8))
    rows = sample_tokens(network, start, length, generator=torch.Generator().manual_seed(seed))
    found = {}
    for called, each in (("model", model), ("untrained twin", network.twin(seed).model)):
        for temperature in (None, 0.5):
            generator = torch.Generator().manual_seed(seed)
            parts = [nearest(each, rows[:, :t], temperature, generator) for t in range(8, length, 8)]
            mixed, average, sure = torch.stack(parts, dim=2).numpy()  # (texts, positions) each
            unsure = sure < 0.5
            how = "soft token" if temperature is None else f"with Gumbel noise at {temperature}"
            print(f"{called}, {how}:")
            for where, rows_of in (("everywhere", np.ones_like(unsure)), ("likeliest token below 0.5", unsure)):
                if not rows_of.any():
                    continue
                lead, low, high = _lead(mixed == 0, average == 0, rows_of, seed)
                share = float((mixed == 0)[rows_of].mean())
                told = f"nearest to the likeliest token at {share:.0%}, the average at {share - lead:.0%}"
                print(
                    f"  {where} ({rows_of.sum()} positions): {told}; {lead:+.0%} ({low:+.0%} to {high:+.0%}) beyond it"
                )
                if called == "model" and temperature is None:
                    found = {"soft": share, "average": share - lead, "low": low, "high": high}
    return found


def _lead(mixed: np.ndarray, average: np.ndarray, where: np.ndarray, seed: int) -> tuple[float, float, float]:
    """By how much the share of `mixed` is above that of `average` at the positions `where`, with an interval over
    texts, whose positions go together."""

    def lead(chosen: np.ndarray) -> float:
        off = (mixed[chosen].astype(float) - average[chosen])[where[chosen]]
        return float(off.mean()) if len(off) else float("nan")

    return lead(np.arange(len(mixed))), *bootstrap_interval(lead, len(mixed), seed=seed)


if __name__ == "__main__":
    main()
