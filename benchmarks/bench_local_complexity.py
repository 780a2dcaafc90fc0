"""Local complexity: CPU seconds of the published count and of the count within the radius, beside plain forward passes.

    python benchmarks/bench_local_complexity.py [--short] [--json]

One thread. Limits: 784-200x3 network, 1,000 points, 50 vertices at most 0.4 CPU s; pre-activation ResNet-18 of width 16
without batch normalisation, 1,024 CIFAR-shaped points, 40 vertices at most 30 CPU s, the count within the radius at
most twice that; counts equal to a naive transcription in double precision on some points. The authors' code is measured
by `benchmarks/peers/local_complexity.py`. --short takes 64 points of the residual network and scales up. A machine busy
with other work takes more CPU seconds for the same arithmetic, so the plain forward passes of all vertices are timed in
the same run. Exits 1 when a limit is missed by more than a third.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time

import torch
from torch import nn

from cutaway.geometry.near_neurons import frame, local_complexity, neurons_within
from cutaway.network import Network
from cutaway.training.models import build_model


def resnet18() -> nn.Module:
    """Pre-activation ResNet-18 of width 16 without batch normalisation, on 3 x 32 x 32 inputs."""
    return build_model("resnet18", (3, 32, 32), 10, width=16, batch_norm=False).eval()


def perceptron(seed: int = 0) -> nn.Sequential:
    """784-200x3-10."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        widths, layers = (784, 200, 200, 200), []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Linear(a, b), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(200, 10)).eval()


def naive(network: Network, inputs: torch.Tensor, directions: torch.Tensor, radius: float, sites) -> torch.Tensor:
    """The published algorithm word for word, in double precision."""
    double, found = network.double(), []
    for x in inputs.double():
        moves = (radius * directions).reshape(-1, *x.shape)
        pre = double.capture(torch.cat([x + moves, x - moves]), sites, post=False).pre
        signs = [pre[s.name].flatten(1).sign() for s in sites]
        found.append([int((s != s[:1]).any(dim=0).sum()) for s in signs])
    return torch.tensor(found, dtype=torch.float64)


def cpu(work, repeats: int = 1):
    """Least CPU seconds of some runs, and the last result."""
    best, result = float("inf"), None
    for _ in range(repeats):
        began = time.process_time()
        result = work()
        best = min(best, time.process_time() - began)
    return best, result


def measure(name: str, model: nn.Module, inputs: torch.Tensor, vertices: int, radius: float, limit: float, scale: float,
            repeats: int, checked: int) -> dict:  # fmt: skip
    """One network: times scaled to the full number of points, counts checked on `checked` of them."""
    network = Network(model, inputs[:2])
    sites, directions = network.select("activation"), frame(inputs[0].numel(), vertices // 2, torch.Generator())
    generator, some = torch.Generator().manual_seed(0), inputs[: max(2, len(inputs) // 16)]
    local_complexity(network, some, directions, radius, sites)
    plain_inputs = inputs[:2].repeat(vertices, *[1] * (inputs.dim() - 1))
    with torch.no_grad():
        plain, _ = cpu(lambda: model(plain_inputs), 5)
    plain *= len(inputs) / 2
    single, counts = cpu(lambda: local_complexity(network, inputs, directions, radius, sites), repeats)
    refereed, decided = cpu(
        lambda: local_complexity(network, inputs, directions, radius, sites, referee=network.double()), repeats
    )
    within, near = cpu(lambda: neurons_within(network, inputs, radius, sites, generator=generator), repeats)
    truth = naive(network, inputs[:checked], directions, radius, sites)
    return {
        "network": name, "points": len(inputs), "vertices": vertices, "limit": limit, "cpu": single * scale,
        "cpu_with_referee": refereed * scale, "cpu_within_radius": within * scale, "plain_passes_cpu": plain * scale,
        "count": float(counts.sum(dim=1).mean()), "within_radius": float(near.sum(dim=1).mean()),
        "single_precision_differs_in": float((counts[:checked] - truth).abs().sum() / truth.sum()),
        "with_referee_differs_in": float((decided[:checked] - truth).abs().sum() / truth.sum()),
    }  # fmt: skip


def failures(rows: list[dict]) -> list[str]:
    """Limits missed by more than a third; wrong counts."""
    found = []
    for row in rows:
        name = row["network"]
        if row["cpu"] > 4 / 3 * row["limit"]:
            found.append(f"{name}: {row['cpu']:.2f} CPU s, limit {row['limit']}")
        if name.startswith("ResNet") and row["cpu_within_radius"] > 4 / 3 * 2 * row["cpu"]:
            found.append(f"{name}: the count within the radius takes {row['cpu_within_radius'] / row['cpu']:.1f} times")
        if row["with_referee_differs_in"] > 0:
            found.append(f"{name}: counts differ from the naive transcription")
        if row["single_precision_differs_in"] > 0.01:
            found.append(f"{name}: single precision differs in {row['single_precision_differs_in']:.1%} of the counts")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    flat = torch.randn(1000, 784, generator=generator)
    images = torch.randn(64 if options.short else 1024, 3, 32, 32, generator=generator)
    rows = [
        measure("784-200x3", perceptron(), flat, 50, 0.05, 0.4, 1.0, 3, 50),
        measure("ResNet-18, k = 16", resnet18(), images, 40, 0.005, 30.0, 1024 / len(images), 1, 4),
    ]
    faults = failures(rows)
    if options.json:
        print(json.dumps({"rows": rows, "failures": faults}))
        return bool(faults)
    for r in rows:
        print(
            f"{r['network']}: {r['cpu']:.2f} CPU s for the published count (limit {r['limit']}; plain forward passes "
            f"of all vertices {r['plain_passes_cpu']:.2f}), {r['cpu_with_referee']:.2f} with the signs within rounding "
            f"decided in double precision, {r['cpu_within_radius']:.2f} for the count within the radius\n"
            f"  {r['count']:.2f} neurons change sign, {r['within_radius']:.1f} lie within the radius; single precision "
            f"differs in {r['single_precision_differs_in']:.2%} of the counts, with referee "
            f"{r['with_referee_differs_in']:.2%}"
        )
    print("all limits held" if not faults else "MISSED: " + "; ".join(faults))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
