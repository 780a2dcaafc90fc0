"""Scoring token rows beside the forward passes that it takes: 1,000 texts of 128 tokens, the 260,000-parameter model.

    python benchmarks/bench_scoring.py [--short] [--json]

CPU seconds on one thread, the least of fifteen turns for every 50 rows: at most 1.1 of the forward passes, which go in
batches of the size that scoring chooses. The short form takes 100 texts. Exits with 2 without the data.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import torch

from cutaway.network import Network
from cutaway.network.sources import load_model
from cutaway.text import score_tokens

TIMES, TOKENS = 1.1, 128


def ratios(model, tokens: torch.Tensor, turns: int) -> dict[str, float]:
    """Seconds of both, in groups of 50 rows of which the least of some turns counts, and their ratio."""
    network = Network(model, tokens[:2])
    size = network.with_example(tokens[:2]).chunk_size(tokens, (), None, pre=False, factor=2)

    @torch.no_grad()
    def forward(rows: torch.Tensor) -> None:
        for part in rows.split(size):
            model(part)

    spent = {"forward": 0.0, "score": 0.0}
    for group in tokens.split(50):
        least = dict.fromkeys(spent, float("inf"))
        for _ in range(turns):
            for name, work in (("forward", forward), ("score", lambda rows: score_tokens(network, rows))):
                began = time.process_time()
                work(group)
                least[name] = min(least[name], time.process_time() - began)
        spent = {name: spent[name] + least[name] for name in spent}
    seconds = {f"{name}_seconds": value for name, value in spent.items()}
    return {**seconds, "times": spent["score"] / spent["forward"], "batch_size": float(size)}


def main() -> int:
    """Run, print, and say by the exit code whether the limit holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(os.environ.get("CUTAWAY_DATA", "")) / "stories260k"
    if not os.environ.get("CUTAWAY_DATA") or not folder.is_dir():
        print("not run: set CUTAWAY_DATA to a folder with stories260k", file=sys.stderr)
        return 2
    tokens = torch.randint(3, 500, (100 if options.short else 1000, TOKENS), generator=torch.Generator().manual_seed(0))
    found = ratios(load_model(folder).model, tokens, 15)
    print(json.dumps(found) if options.json else "\n".join(f"{k:<18} {v:.4g}" for k, v in found.items()))
    return int(found["times"] > TIMES * (1.15 if options.short else 1.0))


if __name__ == "__main__":
    sys.exit(main())
