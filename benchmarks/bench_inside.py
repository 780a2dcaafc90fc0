"""What it costs to look at single units, heads and directions: CPU seconds of instruments, in plain forward passes.

    python benchmarks/bench_inside.py [--short]

One thread, warmed up. Limits: `unit-boundaries` 30 CPU seconds on a 784-200x3 with one slice,
`concept-heads` 60 on a ViT of width 32.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.instruments import ConceptHeads, UnitBoundaries
from cutaway.reproductions.kan_relu import HatLayer
from cutaway.structure.kan import kan_to_relu
from cutaway.training.models import mlp, vit_tiny

LIMITS = {"unit-boundaries": 30.0, "concept-heads": 60.0, "kan-to-relu": 5.0}


def cpu(work: Callable[[], object], repeats: int = 1) -> float:
    """Least CPU seconds of some runs."""
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def images(count: int, shape: tuple[int, ...]) -> Dataset:
    """Smooth random inputs in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    return Dataset(inputs=torch.rand(count, *shape, generator=generator), labels=labels, name="noise")


def units(short: bool) -> tuple[str, float, nn.Module, Dataset]:
    """`unit-boundaries` on a random 784-200x3 (short: 784-40x3)."""
    torch.manual_seed(0)
    model, data = mlp((1, 28, 28), 10, width=40 if short else 200).eval(), images(256, (1, 28, 28))
    instrument = UnitBoundaries(num_segments=20 if short else 100)
    return "unit-boundaries", cpu(lambda: instrument.measure(model, data)), model, data


def heads(short: bool) -> tuple[str, float, nn.Module, Dataset]:
    """`concept-heads` on a random ViT of 4 layers and 4 heads."""
    torch.manual_seed(0)
    model, data = vit_tiny((1, 28, 28), 10, width=32).eval(), images(32 if short else 256, (1, 28, 28))
    return "concept-heads", cpu(lambda: ConceptHeads().measure(model, data)), model, data


def kan(short: bool) -> tuple[str, float, nn.Module, Dataset]:
    """`kan_to_relu` of a random 64-32-10 KAN (short: 8-8-3)."""
    widths = (8, 8, 3) if short else (64, 32, 10)
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(*(HatLayer(a, b, generator) for a, b in itertools.pairwise(widths)))
    data = images(64, (widths[0],))
    inputs = Dataset(inputs=data.inputs.double(), name="noise")
    return "kan-to-relu", cpu(lambda: kan_to_relu(model)), model, inputs


def main() -> int:
    """Measure and compare."""
    torch.set_num_threads(1)
    short, missed = "--short" in sys.argv, False
    UnitBoundaries(num_segments=4).measure(mlp((4,), 3, width=4).eval(), images(16, (4,)))
    for case in (units, heads, kan):
        name, seconds, model, data = case(short)
        with torch.no_grad():
            plain = cpu(lambda model=model, data=data: model(data.inputs), 5) / len(data)
        print(f"{name}: {seconds:.2f} CPU s (limit {LIMITS[name]}), {seconds / plain:,.0f} forward passes of a row")
        missed |= seconds > LIMITS[name]
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
