"""Slices against the naive splitter, in one run: CPU seconds, regions a second, residuals, counts.

    python benchmarks/bench_slice.py [--short] [--json]

Limits: at least 4 times less CPU than the naive splitter on the networks of the published comparison, equal region
counts, median residual at most 1e-12, cost per region not growing with the number of regions, a million regions within
60 s and 4 GB (not in --short), 20 cones for a bias-free 2-10-1, ResNet-20 through three CIFAR-10 images (with data) cut
within 300 CPU s and the same by both states of the cutter. Exits 1 when a limit is missed by a clear margin.
Networks carry Kaiming-normal weights and unit-normal biases; the 784-200x3 is trained on MNIST when CUTAWAY_DATA is
set. Numba's compile time is left out: everything is run once before it is timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from naive_splitter import naive_slice
from torch import nn

from cutaway.geometry.cutting import CutSettings, Cutter
from cutaway.geometry.plane import input_plane, plane_of, plane_through, rectangle, square_around
from cutaway.geometry.program import StagedProgram
from cutaway.geometry.slice import SliceSettings, slice_network
from cutaway.network.graph import trace

SQUARE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def network(widths: tuple[int, ...], seed: int = 0, spread: float = 1.0) -> nn.Sequential:
    """Kaiming-normal weights; biases with standard deviation `spread` / sqrt(fan in)."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layer = nn.Linear(a, b).double()
        with torch.no_grad():
            layer.weight.copy_(torch.randn(b, a, generator=generator) * (2 / a) ** 0.5)
            layer.bias.copy_(torch.randn(b, generator=generator) * spread / a**0.5)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def trained_mnist() -> tuple[nn.Sequential, np.ndarray] | None:
    """784-200x3-10 after a short training, and three test digits (3, 5, 8); None without data."""
    folder = os.environ.get("CUTAWAY_DATA")
    if not folder:
        return None
    from cutaway.data import load_data

    data = load_data("mnist", split="train", num=6000, seed=0)
    test = load_data("mnist", split="test", num=200, seed=0)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(784, 200),
        nn.ReLU(),
        nn.Linear(200, 200),
        nn.ReLU(),
        nn.Linear(200, 200),
        nn.ReLU(),
        nn.Linear(200, 10),
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    inputs = data.inputs.flatten(1)
    for _ in range(8):
        for rows in torch.randperm(len(inputs)).split(128):
            loss = nn.functional.cross_entropy(model(inputs[rows]), data.labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    anchors = [int((test.labels == digit).nonzero()[0]) for digit in (3, 5, 8)]
    return model.double().eval(), test.inputs.flatten(1)[anchors].double().numpy()


def cpu(work, repeats: int):
    """Least CPU seconds of some runs, and the last result."""
    best = np.inf
    for _ in range(repeats):
        began = time.process_time()
        result = work()
        best = min(best, time.process_time() - began)
    return best, result


def compare(name: str, model: nn.Sequential, plane, polygon, repeats: int) -> dict:
    """Our two paths and the naive splitter on one slice; tracing and self-check outside the clock."""
    graph = trace(model, torch.zeros(1, *plane.input_shape))

    def ours(compiled: bool | None):
        cutter = Cutter(StagedProgram(graph), plane, polygon, CutSettings(compiled=compiled))
        cutter.run()
        return cutter

    linear = [m for m in model if isinstance(m, nn.Linear)][:-1]
    weights, biases = ([getattr(m, k).detach().numpy() for m in linear] for k in ("weight", "bias"))
    row: dict = {"network": name}
    ours(has_numba() or None)
    if has_numba():
        row["compiled_cpu"], cutter = cpu(lambda: ours(True), repeats)
    row["plain_cpu"], cutter = cpu(lambda: ours(False), repeats)
    row["naive_cpu"], polygons = cpu(
        lambda: naive_slice(weights, biases, polygon, plane.origin, plane.directions), max(1, repeats // 2)
    )
    checked = slice_network(graph, plane, polygon, SliceSettings())
    row.update(
        regions=cutter.cells.num_faces, naive_regions=len(polygons), median_residual=checked.check.median_residual,
        crossing=sum(cutter.report.crossing),
    )  # fmt: skip
    best = min(row["plain_cpu"], row.get("compiled_cpu", np.inf))
    row["ratio"] = row["naive_cpu"] / best
    row["plain_ratio"] = row["naive_cpu"] / row["plain_cpu"]
    row["regions_per_second"] = row["regions"] / best
    return row


def has_numba() -> bool:
    from cutaway.arrangement.insertion import compiled_kernels

    return compiled_kernels() is not None


def cases(short: bool):
    yield "2-10x5-1", network((2, *[10] * 5, 1)), input_plane(), SQUARE
    yield "2-50x3-1", network((2, 50, 50, 50, 1)), input_plane(), SQUARE
    yield "2-100x2-1", network((2, 100, 100, 1)), input_plane(), SQUARE
    if not short:
        plane = plane_through(np.random.default_rng(0).standard_normal((3, 784)))
        yield "784-200x3 random", network((784, 200, 200, 200, 10)), plane, square_around(plane, 8.0)
        yield "2-200x3-1", network((2, 200, 200, 200, 1)), input_plane(), SQUARE
    trained = trained_mnist()
    if trained is not None:
        plane = plane_through(trained[1])
        reach = 1.05 * float(np.abs(plane.anchors).sum(axis=1).max())
        yield "784-200x3 trained on MNIST", trained[0], plane, square_around(plane, reach)


def million() -> dict:
    """A slice of more than a million regions: CPU and wall seconds, peak memory."""
    model = network((2, *[150] * 10, 1), seed=1)
    graph = trace(model, torch.zeros(1, 2))
    wall, began = time.perf_counter(), time.process_time()
    cutter = Cutter(StagedProgram(graph), input_plane(), 4 * SQUARE, CutSettings())
    cutter.run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "regions": cutter.cells.num_faces, "cpu": time.process_time() - began, "wall": time.perf_counter() - wall,
        "peak_gb": peak, "euler": cutter.cells.num_vertices - cutter.cells.num_edges + cutter.cells.num_faces,
    }  # fmt: skip


def residual(short: bool) -> dict | None:
    """The trained ResNet-20 on the plane through three CIFAR-10 images: CPU seconds of a slice in coordinates, and the
    same small slice by values at the vertices; None without data."""
    if not os.environ.get("CUTAWAY_DATA"):
        return None
    from cutaway.data import load_data

    folder = Path(os.environ["CUTAWAY_DATA"]) / "classifiers"
    spec = importlib.util.spec_from_file_location("classifiers", folder / "load.py")
    assert spec is not None and spec.loader is not None
    classifiers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(classifiers)
    model = classifiers.load("cifar_resnet20", str(folder))[0].eval()
    images = load_data("cifar10", split="test", num=200, seed=0).inputs[[1, 3, 5]]
    plane = plane_through(images.numpy())
    program = StagedProgram(trace(model, torch.zeros(1, 3, 32, 32)))

    def cut(pad: float, coordinates: bool):
        began = time.process_time()
        cutter = Cutter(program, plane, square_around(plane, pad), CutSettings(coordinates=coordinates))
        cutter.run()
        return cutter.cells.num_faces, time.process_time() - began

    cut(0.002, True)
    (small, plain), (same, quick) = cut(0.005, False), cut(0.005, True)
    regions, seconds = cut(0.02 if short else 0.04, True)
    return {
        "regions": regions, "cpu": seconds, "regions_per_second": regions / seconds, "small_regions": [small, same],
        "small_cpu": [plain, quick],
    }  # fmt: skip


def advisories() -> dict | None:
    """The slice of ACAS Xu 1-1 that the guide shows: its printed CPU seconds (tracing and self-check included), the
    first in this process and the median of five more; None without data."""
    if not os.environ.get("CUTAWAY_DATA"):
        return None
    from cutaway.network.sources import load_model

    file = Path(os.environ["CUTAWAY_DATA"]) / "vnncomp2022/acasxu/onnx/ACASXU_run2a_1_1_batch_2000.onnx"
    model = load_model(file).model
    plane = plane_of(np.zeros((1, 1, 5)), np.eye(5)[:2].reshape(2, 1, 1, 5))
    found = [slice_network(model, plane, rectangle(-0.35, 0.65, -0.5, 0.5)) for _ in range(6)]
    warm = float(np.median([f.cpu_seconds for f in found[1:]]))
    return {"regions": found[0].num_faces, "first_cpu": found[0].cpu_seconds, "warm_cpu": warm}


def cones() -> int:
    model = nn.Sequential(nn.Linear(2, 10, bias=False), nn.ReLU(), nn.Linear(10, 1)).double()
    return slice_network(model, domain=SQUARE).num_faces


def failures(rows: list[dict], extra: dict) -> list[str]:
    """Limits missed by a clear margin (timings: by more than a third)."""
    found = []
    for row in rows:
        if row["regions"] != row["naive_regions"]:
            found.append(f"{row['network']}: {row['regions']} regions, naive {row['naive_regions']}")
        if row["regions"] > 5000 and row["ratio"] < 3:
            found.append(f"{row['network']}: only {row['ratio']:.1f} times less CPU than the naive splitter")
        if not row["median_residual"] <= 1e-12:
            found.append(f"{row['network']}: median residual {row['median_residual']:.1e}")
    if extra["cones"] != 20:
        found.append(f"{extra['cones']} cones, not 20")
    deep = extra.get("ResNet-20")
    if deep and (deep["small_regions"][0] != deep["small_regions"][1] or deep["cpu"] > 300):
        found.append(f"ResNet-20: {deep}")
    big = extra.get("million")
    if big and (big["regions"] < 1e6 or big["cpu"] > 80 or big["peak_gb"] > 4.4 or big["euler"] != 1):
        found.append(f"million regions: {big}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    extra: dict = {"ACAS Xu 1-1": advisories(), "cones": cones()}
    if not options.short:
        extra["million"] = million()  # first, so that the peak memory is its own
    rows = [compare(*case, repeats=2 if options.short else 3) for case in cases(options.short)]
    deep = residual(options.short)
    if deep is not None:
        extra["ResNet-20"] = deep
    faults = failures(rows, extra)
    if options.json:
        print(json.dumps({"rows": rows, **extra, "failures": faults}))
        return bool(faults)
    print(
        f"{'network':28} {'regions':>9} {'naive s':>9} {'plain s':>9} {'compiled s':>11} "
        f"{'ratio':>7} {'regions/s':>11} residual"
    )
    for r in rows:
        print(
            f"{r['network']:28} {r['regions']:9,} {r['naive_cpu']:9.3f} {r['plain_cpu']:9.3f} "
            f"{r.get('compiled_cpu', float('nan')):11.3f} {r['ratio']:7.1f} {r['regions_per_second']:11,.0f} "
            f"{r['median_residual']:.1e}"
        )
    print(extra)
    print("all limits held" if not faults else "MISSED: " + "; ".join(faults))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
