"""Tightness and cost of the bound engine.

    python benchmarks/bench_bounds.py [--short] [--json]

Needs CUTAWAY_DATA. Five measurements in one run, CPU seconds (one thread): the fully connected MNIST network 256x2,
batch 100, radius 0.02 and 0.1; the adversarially trained MNIST CNN, batch 100, radius 0.1; a CNN with max pooling,
maxima in one step beside maxima as pairs; sentence boxes of the safeNLP networks (CROWN on all, then how many of those
that optimised slopes leave open are closed by branch and bound within five minutes); the Lipschitz bound of
784-256-256-10. The limits are those of the project (images: the VNN-COMP ones with shifts by one pixel, rebuilt here
from the property files); `benchmarks/peers/auto_lirpa.py` measures auto_LiRPA on the same. Exits 1 when a limit is
missed.

The adversarially trained CNN is to take 3 CPU seconds, wanted where it took 2.5 (docs/certification.md); elsewhere the
same version takes up to 4.2. So its limit is a ratio measured in one run: 3 / 2.5 of the 335 forward passes of the same
100 images in float64 that it costs (315 to 350 in three runs on a loaded machine) are 400.
"""

from __future__ import annotations

import argparse
import copy
import csv
import gzip
import importlib.util
import json
import os
import re
import resource
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from cutaway.network.onnx import load_onnx
from cutaway.robustness.bounds.alpha import AlphaSettings, optimised_rows
from cutaway.robustness.bounds.network import BoundNetwork, bound_network
from cutaway.robustness.bounds.sweep import bound_rows, bounds_of_many, sweep
from cutaway.robustness.certified_share import margin_rows
from cutaway.robustness.lipschitz import lipschitz_bounds
from cutaway.robustness.query import Clause, Query
from cutaway.robustness.regions import Box, ball, box
from cutaway.robustness.verify.onnx_query import open_onnx
from cutaway.robustness.verify.problem import Problem
from cutaway.robustness.verify.search import witnesses_of_many
from cutaway.robustness.verify.verdict import VerifySettings
from cutaway.training.models import build_model


def vnncomp_images(folder: Path, count: int = 100) -> torch.Tensor:
    """Centres of the property boxes, then these shifted by one or two pixels, (count, 784, 1) in [0, 1]."""
    centres = []
    for path in sorted((folder / "vnnlib").glob("prop_*_0.03.vnnlib.gz")):
        text = gzip.decompress(path.read_bytes()).decode()
        low, high = (np.zeros(784), np.zeros(784))
        for sign, index, value in re.findall(r"\((<=|>=) X_(\d+) ([-\d.e]+)\)", text):
            (high if sign == "<=" else low)[int(index)] = float(value)
        image = np.where(
            low <= 0, np.where(high >= 1, 0.5, high - 0.03), np.where(high >= 1, low + 0.03, (low + high) / 2)
        )
        centres.append(np.clip(image, 0, 1).reshape(28, 28))
    shifts = sorted(((a, b) for a in range(-2, 3) for b in range(-2, 3)), key=lambda s: (abs(s[0]) + abs(s[1]), s))
    images = [np.roll(c, s, (0, 1)) for s in shifts for c in centres]
    return torch.tensor(np.array(images[:count])).reshape(-1, 784, 1)


def margins(net, inputs, labels, radius: float, settings: AlphaSettings | None) -> dict:
    """Worst margins over the batch with CPU seconds."""
    rows = margin_rows(labels, 10, net.graph.output.shape)
    region = ball(inputs.double(), radius, float("inf"), low=0.0, high=1.0)
    begin = time.process_time()
    limits = sweep(net, region)
    found = (
        bound_rows(net, limits, region, rows)
        if settings is None
        else optimised_rows(net, region, rows, limits, settings)
    )
    worst = found.amin(1)
    return {
        "proved": int((worst > 0).sum()),
        "mean_worst_margin": float(worst.mean()),
        "batch": len(worst),
        "cpu_seconds": time.process_time() - begin,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


PASSES = 400
"""Forward passes that bounds of the adversarially trained CNN may cost."""


def pass_seconds(model: torch.nn.Module, inputs: torch.Tensor, count: int = 30) -> float:
    """CPU seconds of one forward pass in float64."""
    wide = copy.deepcopy(model).double()
    with torch.no_grad():
        wide(inputs.double())
        begin = time.process_time()
        for _ in range(count):
            wide(inputs.double())
    return (time.process_time() - begin) / count


def dense_network(data: Path) -> list[dict]:
    model = load_onnx(data / "vnncomp2022" / "mnist_fc" / "onnx" / "mnist-net_256x2.onnx")
    net = bound_network(model, model.example())
    images = vnncomp_images(data / "vnncomp2022" / "mnist_fc")
    with torch.no_grad():
        labels = model(images.float()).argmax(1)
    deep = AlphaSettings(depth="all", steps=20, learning_rate=0.1, shared=False, drop_solved=False)
    rows = []
    for radius, wanted in ((0.02, {"proved": 80, "mean": 0.46, "cpu": 8.0}), (0.1, {"mean": -8.1, "cpu": 40.0})):
        plain = margins(net, images, labels, radius, None)
        tight = margins(net, images, labels, radius, deep)
        met = tight["mean_worst_margin"] >= wanted["mean"] and tight["proved"] >= wanted.get("proved", 0)
        rows.append(
            {
                "name": f"mnist_fc 256x2 radius {radius} CROWN with IBP",
                **plain,
                "limit": None,
                "met": True,
            }
        )
        rows.append(
            {
                "name": f"mnist_fc 256x2 radius {radius} slopes",
                **tight,
                "limit": wanted,
                "met": met and tight["cpu_seconds"] <= 1.3 * wanted["cpu"],
            }
        )
    return rows


def adversarial_cnn(data: Path) -> dict:
    spec = importlib.util.spec_from_file_location("classifiers_load", data / "classifiers" / "load.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.load("mnist_cnn_a_adv")[0].eval()
    with np.load(data / "mnist" / "mnist.npz") as archive:
        images = torch.tensor(archive["x_test"][:150] / 255.0).reshape(-1, 1, 28, 28)
        truth = torch.tensor(archive["y_test"][:150].astype(np.int64))
    with torch.no_grad():
        right = (model(images.float()).argmax(1) == truth).nonzero().squeeze(1)[:100]
    net = bound_network(model, images[:1])
    before = pass_seconds(model, images[right])
    found = margins(net, images[right], truth[right], 0.1, AlphaSettings(steps=5))
    passes = found["cpu_seconds"] / ((before + pass_seconds(model, images[right])) / 2)
    return {
        "name": "mnist_cnn_a_adv radius 0.1",
        **found,
        "forward_passes": passes,
        "limit": {"proved": 95, "forward_passes": PASSES, "peak_mb": 1100},
        "met": found["proved"] >= 95 and passes <= PASSES,
    }


def pooling_cnn(data: Path, count: int, steps: int) -> list[dict]:
    """The reference CNN of width 8, trained here on noisy images, at radius 0.02: its maxima over windows bounded in
    one step, and as pairs on the first image alone."""
    with np.load(data / "mnist" / "mnist.npz") as archive:
        images = torch.tensor(archive["x_train"][:6000] / 255.0).float().reshape(-1, 1, 28, 28)
        truth = torch.tensor(archive["y_train"][:6000].astype(np.int64))
    model = build_model("cnn", (1, 28, 28), 10, width=8)
    adam = torch.optim.Adam(model.parameters(), 2e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(0, len(images), (64,), generator=generator)
        noisy = images[rows] + 0.1 * torch.randn(64, 1, 28, 28, generator=generator)
        adam.zero_grad()
        torch.nn.functional.cross_entropy(model(noisy), truth[rows]).backward()
        adam.step()
    model.eval()
    with torch.no_grad():
        right = (model(images[:200]).argmax(1) == truth[:200]).nonzero().squeeze(1)[:count]
    net = bound_network(model, images[:1])
    assert net.coarse is not None
    found = margins(net.coarse, images[right], truth[right], 0.02, None)
    first = margins(net.coarse, images[right[:1]], truth[right[:1]], 0.02, None)
    pairs = margins(net, images[right[:1]], truth[right[:1]], 0.02, None)
    ratio = pairs["cpu_seconds"] / first["cpu_seconds"]
    return [
        {
            "name": f"CNN with max pooling, {count} images, radius 0.02",
            **found,
            "first_image": {"margin": first["mean_worst_margin"], "cpu_seconds": first["cpu_seconds"]},
            "first_image_as_pairs": {"margin": pairs["mean_worst_margin"], "cpu_seconds": pairs["cpu_seconds"]},
            "times_less": ratio,
            "limit": {"times_less": 8.0},
            "met": ratio >= 8.0,
        }
    ]


def sentence_regions(data: Path, count: int) -> list[tuple[str, BoundNetwork, Box]]:
    """Boxes round points like those in the data, half for each network: its published boxes, moved by a tenth of their
    width."""
    table = list(csv.DictReader((data / "safenlp" / "verdicts.csv").read_text().splitlines()))
    with np.load(data / "safenlp" / "boxes.npz") as archive:
        boxes = torch.from_numpy(archive["box"].astype(np.float64))
    generator = torch.Generator().manual_seed(0)
    found = []
    for name in ("medical", "ruarobot"):
        source = boxes[[int(row["id"]) for row in table if row["dataset"] == name]]
        pick = torch.randint(0, len(source), (count // 2,), generator=generator)
        width = source[pick, :, 1] - source[pick, :, 0]
        move = 0.1 * width * torch.randn(width.shape, generator=generator, dtype=torch.float64)
        model = load_onnx(data / "safenlp" / f"{name}.onnx")
        found.append(
            (name, bound_network(model, model.example()), box(source[pick, :, 0] + move, source[pick, :, 1] + move))
        )
    return found


def sentence_boxes(data: Path, count: int, minutes: float) -> list[dict]:
    """CROWN on all boxes; then slopes for what it leaves open, then verdicts on what these leave open."""
    regions = sentence_regions(data, count)
    row = torch.tensor([[1.0, -1.0]]).double()
    for _, net, region in regions:
        shaped = row.reshape(1, *net.graph.output.shape)
        bounds_of_many(net, region.select(torch.arange(10)), shaped)  # first use of torch's matrix products
    begin = time.process_time()
    bounds = [bounds_of_many(net, r, row.reshape(1, *net.graph.output.shape)).squeeze(1) for _, net, r in regions]
    spent = time.process_time() - begin
    first = {
        "name": f"{count} sentence boxes, CROWN",
        "proved": sum(int((b > 0).sum()) for b in bounds),
        "batch": count,
        "cpu_seconds": spent,
        "limit": {"cpu": 0.2},
        "met": spent <= 0.26,
    }
    return [first, sentence_search(data, regions, bounds, minutes)]


def sentence_search(data: Path, regions: list, bounds: list[torch.Tensor], minutes: float) -> dict:
    """Boxes that optimised slopes leave open, one verdict each, until the minutes (CPU) are spent: what is left is not
    closed."""
    begin, waiting = time.process_time(), []
    for (name, net, region), found in zip(regions, bounds, strict=True):
        index = (~(found > 0)).nonzero().squeeze(1)
        part = region.select(index)
        shaped = torch.tensor([[1.0, -1.0]]).double().reshape(1, *net.graph.output.shape)
        tight = optimised_rows(net, part, shaped, sweep(net, part), AlphaSettings(depth="last", shared=False))
        left = index[~(tight.squeeze(1) > 0)]
        waiting += [(name, region.low[i], region.high[i]) for i in left.tolist()]
    slopes = time.process_time() - begin
    closed = {"certified": 0, "falsified": 0}
    problems = {name: open_onnx(data / "safenlp" / f"{name}.onnx") for name, _, _ in regions}
    begin, seen = time.process_time(), 0
    opened, waiting = len(waiting), _not_attacked(problems, waiting)
    attacked = opened - len(waiting)
    closed["falsified"] = attacked
    order = torch.randperm(len(waiting), generator=torch.Generator().manual_seed(1)).tolist()
    for i in order:
        rest = 60 * minutes - (time.process_time() - begin)
        if rest <= 0:
            break
        name, low, high = waiting[i]
        query = _question([(low, high)])
        settings = VerifySettings(timeout=min(rest, 10.0), restarts=1, attack_steps=10)
        verdict = problems[name].decide(query, settings)
        seen += 1
        if verdict.status.value in closed:
            closed[verdict.status.value] += 1
    share = sum(closed.values()) / max(1, opened)
    return {
        "name": f"{sum(len(b) for b in bounds)} sentence boxes, branch and bound on what slopes leave open",
        "crown_open": sum(int((~(b > 0)).sum()) for b in bounds),
        "slopes_open": opened,
        "slopes_cpu_seconds": slopes,
        "attacked_in_one_batch": attacked,
        "searched": seen,
        **closed,
        "closed_share": share,
        "cpu_seconds": time.process_time() - begin,
        "limit": {"closed_share": 0.5, "cpu": 60 * minutes},
        "met": share >= 0.5,
    }


def _question(boxes: list[tuple[torch.Tensor, torch.Tensor]]) -> Query:
    """Is there a point of a box with Y_0 <= Y_1?"""
    matrix, limits = torch.tensor([[1.0, -1.0]]).double(), torch.zeros(1).double()
    clauses = tuple(Clause(lower=low, upper=high, matrix=matrix, limits=limits) for low, high in boxes)
    return Query(clauses=clauses, num_inputs=30, num_outputs=2)


def _not_attacked(problems: dict, waiting: list) -> list:
    """Boxes for which an attack on all of them at once finds no witness that onnxruntime confirms."""
    left = []
    for name, opened in problems.items():
        own = [w for w in waiting if w[0] == name]
        if own:
            problem = Problem.of(opened.bounded, _question([(low, high) for _, low, high in own]), opened.replay)
            found = witnesses_of_many(problem)
            left += [w for i, w in enumerate(own) if i not in found]
    return left


def lipschitz() -> dict:
    generator = torch.Generator().manual_seed(0)
    sizes = (784, 256, 256, 10)
    weights = [torch.randn(b, a, generator=generator, dtype=torch.float64) / a**0.5 for a, b in pairwise(sizes)]
    begin = time.process_time()
    found = lipschitz_bounds(weights, steps=100)
    spent = time.process_time() - begin
    met = found.sampled <= found.optimised <= found.fast <= found.product and spent <= 20
    return {
        "name": "Lipschitz 784-256-256-10",
        "product": found.product,
        "fast": found.fast,
        "optimised": found.optimised,
        "sampled": found.sampled,
        "cpu_seconds": spent,
        "limit": {"order": "sampled <= optimised <= fast <= product", "cpu": 20.0},
        "met": met,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = Path(os.environ.get("CUTAWAY_DATA", ""))
    if not (data / "vnncomp2022").exists():
        print("not run: CUTAWAY_DATA does not name a folder with vnncomp2022", file=sys.stderr)
        return 2
    rows = [
        lipschitz(),
        *sentence_boxes(data, *((300, 0.25) if options.short else (10_000, 5.0))),
        adversarial_cnn(data),
        *(pooling_cnn(data, 4, 100) if options.short else pooling_cnn(data, 20, 300)),
    ]
    rows += dense_network(data)
    if options.json:
        print(json.dumps(rows))
    else:
        for row in rows:
            shown = {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items() if k not in ("name", "met")}
            print(f"{'ok  ' if row['met'] else 'MISS'} {row['name']}: {shown}")
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
