"""Trace and squared Frobenius norm of a loss's Hessian beside curvlinops, in one run, on one thread.

    python benchmarks/bench_curvature.py [--short] [--json]

A ResNet of 20 layers for 32 x 32 images (272,474 parameters, evaluation mode, float32) on random images; 20 probes (4
in the short form), 200 rows (40). curvlinops (`pip install curvlinops-for-pytorch`) needs a call each for the trace and
for the squared norm, ours takes both from the same products. Limit: .7 times its CPU seconds. Beside it, the largest 5
eigenvalues with their residual bounds over the largest (long form; limit 1e-3). Exits with 2 where curvlinops is not
installed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import torch
from torch import nn

from cutaway.curvature import Surface, extremes, moments
from cutaway.network import Network
from cutaway.network.calculus import Parameters

RATIO, RESIDUAL = 0.7, 1e-3


class Block(nn.Module):
    """Two 3 x 3 convolutions with normalisation and a shortcut."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.two = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.first, self.second = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if before != width:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (n, before, h, w) to (n, width, h / stride, w / stride)."""
        inner = self.second(self.two(torch.relu(self.first(self.one(x)))))
        return torch.relu(inner + self.shortcut(x))


def resnet20(seed: int = 0) -> nn.Sequential:
    """3 x 32 x 32 -> 10, nine blocks of 16, 32 and 64 channels."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    before = 16
    for width, stride in [(16, 1)] * 3 + [(32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1)]:
        layers.append(Block(before, width, stride))
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).eval()


def beside_curvlinops(rows: int, probes: int) -> dict[str, float]:
    """CPU seconds of both and what they found, in turn, in one run."""
    from curvlinops import (  # pyright: ignore[reportMissingImports]
        HessianLinearOperator,
        hutchinson_squared_fro,
        hutchinson_trace,
    )

    model = resnet20()
    inputs, labels = torch.rand(rows, 3, 32, 32), torch.randint(0, 10, (rows,))
    surface = Surface(parameters=Parameters(Network(model, inputs[:2])), inputs=inputs, labels=labels)
    moments(surface, probes=1, gauss_newton=False)  # both have warmed up
    theirs = HessianLinearOperator(
        model, nn.CrossEntropyLoss(), list(model.parameters()), [(inputs, labels)], check_deterministic=False
    )
    began = time.process_time()
    found = moments(surface, probes=probes, gauss_newton=False)
    ours = time.process_time() - began
    began = time.process_time()
    trace = hutchinson_trace(theirs, num_matvecs=probes, distribution="rademacher")
    square = hutchinson_squared_fro(theirs, num_matvecs=probes, distribution="rademacher")
    peer = time.process_time() - began
    return {
        "ours_seconds": ours,
        "curvlinops_seconds": peer,
        "ratio": ours / peer,
        "ours_trace": float(found.trace.mean()),
        "curvlinops_trace": float(trace),
        "ours_square": float(found.square.mean()),
        "curvlinops_square": float(square),
    }


def top(rows: int) -> dict[str, float]:
    """The largest residual bound of the top 5 eigenvalues, over the largest of them, and the CPU seconds."""
    model = resnet20()
    inputs, labels = torch.rand(rows, 3, 32, 32), torch.randint(0, 10, (rows,))
    surface = Surface(parameters=Parameters(Network(model, inputs[:2])), inputs=inputs, labels=labels)
    began = time.process_time()
    pairs = extremes(surface, top=5, bottom=0, tolerance=RESIDUAL)
    seconds = time.process_time() - began
    return {"residual": float(pairs.residuals.max() / pairs.values[0]), "largest": float(pairs.values[0])} | {
        "top_seconds": seconds
    }


def main() -> int:
    """Run, print, and say by the exit code whether the limits hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        found = beside_curvlinops(40 if options.short else 200, 4 if options.short else 20)
    except ImportError:
        print("curvlinops is not installed: pip install curvlinops-for-pytorch", file=sys.stderr)
        return 2
    if not options.short:
        found |= top(200)
    print(json.dumps(found) if options.json else "\n".join(f"{k:<20} {v:.4g}" for k, v in found.items()))
    return 1 if found["ratio"] > RATIO or found.get("residual", 0.0) > RESIDUAL else 0


if __name__ == "__main__":
    sys.exit(main())
