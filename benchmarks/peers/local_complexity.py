"""Local complexity by its authors' code and by ours: counts and CPU seconds of one thread, 784-200x3, 1,000 points.

    CUTAWAY_PEER_LOCAL_COMPLEXITY=FOLDER python benchmarks/peers/local_complexity.py [--json]

FOLDER is a checkout of https://github.com/AhmedImtiazPrio/grok-adversarial (measured at commit 74d36ce); without it
nothing is run and the exit code is 2. Their code asks for a GPU at every step; here `.cuda()` leaves everything where
it is, and nothing else of it is changed. 50 vertices (25 directions), radius 0.05; each the least of three runs after
one that is not counted. Batches of 500 points; the counts are compared under one frame, theirs.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import warnings
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

VERTICES, RADIUS, BATCH = 50, 0.05, 500
FRAME_SEED = 7  # not the network's: their frame would be made of the weights of its first neurons


def peer():
    """The authors' module; None where its folder is not named."""
    folder = os.environ.get("CUTAWAY_PEER_LOCAL_COMPLEXITY", "")
    if not (Path(folder) / "local_complexity.py").is_file() or not folder:
        print(
            "not run: CUTAWAY_PEER_LOCAL_COMPLEXITY does not name a checkout of grok-adversarial; see the head of this "
            "script for how to get it",
            file=sys.stderr,
        )
        return None
    import importlib.util

    spec = importlib.util.spec_from_file_location("authors_local_complexity", Path(folder) / "local_complexity.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    return module


def watched(model: nn.Sequential) -> tuple[list[str], dict[str, torch.Tensor]]:
    """Names of the hidden layers and the buffer that hooks fill with their outputs, as in the authors' script."""
    buffer: dict[str, torch.Tensor] = {}
    names = [name for name, module in model.named_children() if isinstance(module, nn.Linear)][:-1]
    for name in names:
        model.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: buffer.__setitem__(name, output)
        )
    return names, buffer


def main() -> int:
    """Measure and print; 2 where the authors' code is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    module = peer()
    if module is None:
        return 2
    from bench_local_complexity import cpu, perceptron

    from cutaway.geometry.near_neurons import local_complexity
    from cutaway.network import Network

    torch.Tensor.cuda = lambda self, *_a, **_k: self  # type: ignore[method-assign]
    nn.Module.cuda = lambda self, *_a, **_k: self  # type: ignore[method-assign]
    points = torch.randn(1000, 784, generator=torch.Generator().manual_seed(1))
    model = perceptron()
    network = Network(model, points[:2])
    sites, directions = network.select("activation"), module.sample_ortho_random(VERTICES // 2, 784, seed=FRAME_SEED)
    ours, counts = _timed(cpu, lambda: local_complexity(network, points, directions.detach().double(), RADIUS, sites))
    names, buffer = watched(model)

    def authors():
        return module.get_intersections_for_samples(
            points, model, names, buffer, sampler=module.get_ortho_hull_around_samples,
            sampler_params={"n": VERTICES, "r": RADIUS, "seed": FRAME_SEED}, batch_size=BATCH,
        )[0]  # fmt: skip

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, other = _timed(cpu, authors)
    found = {
        "measured": f"{datetime.date.today()}, torch {torch.__version__}, one thread",
        "authors_cpu_seconds": theirs, "cpu_seconds": ours,
        "authors_count": float(other.sum(dim=1).mean()), "count": float(counts.sum(dim=1).mean()),
    }  # fmt: skip
    if options.json:
        print(json.dumps(found))
    else:
        print(
            f"{found['measured']}\nauthors' code {theirs:.2f} CPU s, {found['authors_count']:.2f} neurons a point; "
            f"ours {ours:.2f} CPU s, {found['count']:.2f} neurons a point"
        )
    return 0


def _timed(cpu, work):
    work()
    return cpu(work, 3)


if __name__ == "__main__":
    sys.exit(main())
