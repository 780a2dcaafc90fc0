"""Scoring token rows beside the forward passes that it takes: 1,000 texts of 128 tokens, the 260,000-parameter model.

    python benchmarks/bench_scoring.py [--short] [--json]

CPU seconds on one thread, the least of some turns each, taken in turn: at most 1.1 of the forward passes, which go in
batches of the size that scoring chooses. The short form takes 200 texts. Exits with 2 without the data.
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
    """The least seconds of both, and their ratio."""
    network = Network(model, tokens[:2])
    size = network.with_example(tokens[:2]).chunk_size(tokens, (), None, pre=False, factor=2)

    @torch.no_grad()
    def forward() -> None:
        for part in tokens.split(size):
            model(part)

    spent: dict[str, list[float]] = {"forward": [], "score": []}
    for turn in range(turns + 1):
        for name, work in (("forward", forward), ("score", lambda: score_tokens(network, tokens))):
            began = time.process_time()
            work()
            if turn:
                spent[name].append(time.process_time() - began)
    return {
        **{f"{name}_seconds": min(values) for name, values in spent.items()},
        "times": min(spent["score"]) / min(spent["forward"]),
        "batch_size": float(size),
    }


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
    tokens = torch.randint(3, 500, (200 if options.short else 1000, TOKENS), generator=torch.Generator().manual_seed(0))
    found = ratios(load_model(folder).model, tokens, 9 if options.short else 5)
    print(json.dumps(found) if options.json else "\n".join(f"{k:<18} {v:.4g}" for k, v in found.items()))
    return int(found["times"] > TIMES * (1.15 if options.short else 1.0))


if __name__ == "__main__":
    sys.exit(main())
