"""Intrinsic dimension of the last block against the length of related and unrelated context, and a map of prompts.

    CUTAWAY_DATA=... python examples/guard_intrinsic_dimension.py [--out FOLDER]

A story sentence stands behind 0 to 128 tokens of story text (related) or of office prose (unrelated), same token
counts. The map shows safety prompts and harmless instructions by source, in two principal components of the geometry
features and by t-SNE. No prompt is printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cutaway.guard.features import PromptFeatures
from cutaway.language.charts import dimension_curve, prompt_map
from cutaway.language.dimension import intrinsic_dimension
from cutaway.network.sources import load_model
from cutaway.reproductions.llm_geometry import OTHER, STORY, corpora

LENGTHS = (0, 8, 16, 32, 64, 96, 128)


def main(arguments: Sequence[str] = ()) -> dict[str, list[float]]:
    """Write the pictures; returns the curves (mean over starting points), nothing without data."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("geometry"))
    parser.add_argument("--num", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=8)
    options = parser.parse_args(list(arguments))
    found = corpora(0, options.num)
    if found is None:
        print("set CUTAWAY_DATA to the folder of models and texts")
        return {}
    folder, rows = found
    loaded = load_model(folder)
    curves = {name: curve(loaded, text, options.repeats) for name, text in (("related", STORY), ("unrelated", OTHER))}
    for length, a, b in zip(LENGTHS, curves["related"], curves["unrelated"], strict=True):
        print(f"{length:4d} tokens: related {a:7.1f}, unrelated {b:7.1f}")
    options.out.mkdir(parents=True, exist_ok=True)
    dimension_curve(LENGTHS, curves["related"], curves["unrelated"]).save(str(options.out / "dimension.svg"))
    read = PromptFeatures(loaded.model, loaded.tokenizer, kind="geometry", max_length=96, plain=False)(rows.texts)
    values = read.values[read.first]
    for method in ("pca", "tsne"):
        prompt_map(values, rows.sources, method=method).save(str(options.out / f"prompts_{method}.svg"))
    return curves


def curve(loaded, text: str, repeats: int) -> list[float]:
    """Mean ID of the last block, summed over heads, for every length of context."""

    def ids(words: str) -> list[int]:
        return list(loaded.tokenizer(words, add_special_tokens=False)["input_ids"])

    pool, question = ids(text * 8), ids("Lily kicked the ball to")
    means = []
    for length in LENGTHS:
        starts = np.linspace(0, 40, repeats).astype(int)
        rows = torch.tensor([[1, *pool[s : s + length], *question] for s in starts])
        means.append(float(intrinsic_dimension(loaded.model, rows)[:, -1].sum(1).double().mean()))
    return means


if __name__ == "__main__":
    main(sys.argv[1:])
