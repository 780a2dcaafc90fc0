"""MLP sparsity of a small language model: how many entries are needed, and the trap of the untrained one.

"Sparsing Law" (arXiv 2411.02335) calls a model by its PPL-p % sparsity. On stories260K (SiLU, gated) and samples of its
own; figures held against are an earlier run's by other code. On a twin with fresh weights every entry may go at no
cost, and at a fixed error it is sparser than the trained one: a share alone is no finding.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from cutaway import seeds
from cutaway.data import Dataset
from cutaway.instruments import MlpSparsity
from cutaway.network import Network
from cutaway.network.sources import load_model
from cutaway.reproductions.row import Row

SOURCE = "arXiv 2411.02335"
TITLE = "Entries that the MLP blocks of a language model need"
WANTED = 0.03


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """Full: 64 samples of 128 tokens, three twins, a minute. Short: 16 of 64 and one twin."""
    folder = Path(os.environ.get("CUTAWAY_DATA", "")) / "stories260k"
    if not os.environ.get("CUTAWAY_DATA") or not folder.is_dir():
        return [Row(quantity="stories260K", ours="left out: set CUTAWAY_DATA", verdict="not run")]
    loaded = load_model(folder)
    progress("samples of the model's own")
    tokens = own_samples(loaded.model, *((16, 64) if short else (64, 128)), seed)
    network, data = Network(loaded.model, tokens[:2]), Dataset(name="own samples", inputs=tokens)
    reading = MlpSparsity().measure(network, data, seed=seed)
    found = {f.name: f for f in reading.figures}
    curve = dict(zip(reading.values["kept"].values.tolist(), reading.values["curve"].values.tolist(), strict=True))
    twins = [MlpSparsity().measure(network.twin(seed + k), data, seed=seed) for k in range(1 if short else 3)]
    untrained = [twin.figure("ratio_at_cett").value for twin in twins]
    rows = [
        _near("share of entries needed for perplexity within 1 %", 0.617, found["ratio_at_perplexity"], short),
        _near("share of entries needed at CETT 0.2", 0.440, found["ratio_at_cett"], short),
        _shown("perplexity at CETT 0.2 over the whole model's", "x 1.051", found["perplexity_at_cett"].value),
        _shown("perplexity with half of the entries of every token", "x 1.031", curve[0.5]),
        _shown("perplexity with a quarter of the entries of every token", "x 1.264", curve[0.25]),
    ]
    refused = all("ratio_at_perplexity" not in {f.name for f in twin.figures} for twin in twins)
    rows.append(
        Row(
            quantity="untrained twins: PPL-1 % share",
            ours="refused: nothing to find" if refused else "given",
            tolerance="refused on every twin: cutting everything costs them nothing",
            verdict="pass" if refused else "fail",
        )
    )
    lower = max(untrained) < found["ratio_at_cett"].value
    rows.append(
        Row(
            quantity="untrained twins: share of entries needed at CETT 0.2",
            ours=", ".join(f"{value:.3f}" for value in untrained),
            tolerance="below the trained model's: 0.384 in the earlier run",
            verdict="pass" if lower else "fail",
        )
    )
    return rows


def _near(quantity: str, wanted: float, figure, short: bool) -> Row:
    """Against the sheet's figure; the short form has too few tokens to be judged by it."""
    close = abs(figure.value - wanted) <= WANTED
    return Row(
        quantity=quantity,
        ours=figure.value,
        low=figure.low,
        high=figure.high,
        tolerance=f"{wanted} in an earlier run, +- {WANTED}" + " (shown: fewer tokens)" * short,
        verdict="report" if short else "pass" if close else "fail",
    )


def _shown(quantity: str, before: str, value: float) -> Row:
    return Row(
        quantity=quantity, ours=f"x {value:.3f}", tolerance=f"shown; {before} in an earlier run", verdict="report"
    )


@torch.no_grad()
def own_samples(model: nn.Module, count: int, length: int, seed: int) -> Tensor:
    """(count, length) tokens drawn from the model from its first token on."""
    generator = seeds.generator(seed, "mlp sparsity", "samples")
    tokens, past = torch.ones(count, 1, dtype=torch.int64), None
    for _ in range(length - 1):
        out = model(tokens if past is None else tokens[:, -1:], past_key_values=past, use_cache=True)
        past, likely = out.past_key_values, out.logits[:, -1].softmax(dim=-1)
        tokens = torch.cat([tokens, torch.multinomial(likely, 1, generator=generator)], dim=1)
    return tokens
