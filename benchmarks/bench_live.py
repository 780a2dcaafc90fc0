"""Live connections of a network of ten million weights: under one CPU second, tracing included, and how many
plain forward passes of a row that is.

CPU seconds on one thread, median of five; torch's export is warmed up on a small network first, since its first call
in a process imports for over a second.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time

import torch
from torch import nn

from cutaway.network import Network
from cutaway.structure.live import live_connections
from cutaway.structure.wiring import wire

LIMIT_SECONDS = 1.0


def sparse(widths: tuple[int, ...], density: float) -> nn.Sequential:
    """A dense ReLU network with random zeros."""
    generator = torch.Generator().manual_seed(0)
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layer = nn.Linear(a, b)
        with torch.no_grad():
            layer.weight *= torch.rand(layer.weight.shape, generator=generator) < density
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def cpu(work) -> float:
    """CPU seconds."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> int:
    """Measure and compare."""
    torch.set_num_threads(1)
    wire(Network(sparse((4, 4, 2), 0.5), torch.rand(2, 4)))
    model = sparse((784, 2000, 4000, 100), 0.01)
    network, point = Network(model, torch.rand(2, 784)), torch.rand(1, 784)
    rounds = 3 if "--short" in sys.argv else 5
    seconds = statistics.median(cpu(lambda: live_connections(wire(network))) for _ in range(rounds))
    with torch.no_grad():
        plain = statistics.median(cpu(lambda: model(point)) for _ in range(20))
    live = live_connections(wire(network))
    print(f"{live.total:,} weights, direct {live.direct:.1f}x, effective {live.effective:.1f}x")
    print(
        f"live connections: {seconds:.2f} CPU s (limit {LIMIT_SECONDS}), {seconds / plain:.0f} forward passes of a row"
    )
    return int(seconds > LIMIT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
