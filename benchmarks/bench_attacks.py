"""Attacks beside foolbox at equal steps: how many rows fall, at which CPU cost.

    python benchmarks/bench_attacks.py [--short] [--json]

Needs CUTAWAY_DATA and foolbox. On the adversarially trained MNIST CNN of the data (and, in the long form, the CIFAR one
trained against 2/255), the first test images that are right: success rate of each attack, ours re-judged by the base
class and foolbox's re-judged here, and CPU seconds of both in one run (one thread). foolbox has no APGD and no square
attack: these stand beside its PGD. For attacks that look for the smallest change the median change stands beside. Exits
with 1 when ours finds fewer than foolbox's by more than one row in a hundred, or costs more than 1.5 times as much at
equal steps.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from cutaway.data import Dataset
from cutaway.network import Network
from cutaway.robustness.attacks import Attack, make_attack

CASES = [
    # ours, norm, radius as a multiple of the network's (None: as far as it takes), steps, our options, foolbox's class
    ("fgsm", "inf", 1.0, None, {}, "LinfFastGradientAttack", {}),
    ("pgd", "inf", 1.0, 40, {"stop_early": True}, "LinfProjectedGradientDescentAttack", {"steps": 40}),
    ("apgd", "inf", 1.0, 40, {}, "LinfProjectedGradientDescentAttack", {"steps": 40}),
    ("pgd", "2", 15.0, 40, {"stop_early": True}, "L2ProjectedGradientDescentAttack", {"steps": 40}),
    ("apgd", "2", 15.0, 40, {}, "L2ProjectedGradientDescentAttack", {"steps": 40}),
    ("deepfool", "2", None, 50, {}, "L2DeepFoolAttack", {"steps": 50}),
    ("deepfool", "inf", None, 50, {}, "LinfDeepFoolAttack", {"steps": 50}),
    ("boundary", "2", None, 500, {}, "BoundaryAttack", {"steps": 500}),
]


def classifiers(data: Path):
    """The module of the data folder that builds its classifiers."""
    spec = importlib.util.spec_from_file_location("classifiers_load", data / "classifiers" / "load.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def right_rows(model: torch.nn.Module, images: np.ndarray, labels: np.ndarray, count: int, name: str) -> Dataset:
    """The first `count` rows that the network gets right."""
    inputs, truth = torch.tensor(images / 255.0, dtype=torch.float32), torch.tensor(labels.astype(np.int64))
    with torch.no_grad():
        rows = (model(inputs).argmax(1) == truth).nonzero().squeeze(1)[:count]
    return Dataset(name=name, inputs=inputs[rows], labels=truth[rows], num_classes=10, value_range=(0.0, 1.0))


def networks(data: Path, short: bool):
    """Triples (network, rows, linf radius)."""
    load = classifiers(data).load
    model = load("mnist_cnn_a_adv")[0].eval()
    with np.load(data / "mnist" / "mnist.npz") as archive:
        rows = right_rows(model, archive["x_test"][:400, None], archive["y_test"][:400], 100, "mnist_cnn_a_adv")
    yield Network(model, rows.inputs[:2]), rows, 0.2
    if not short:
        model = load("cifar_cnn_a_adv")[0].eval()
        with np.load(data / "cifar10" / "cifar10_exact.npz") as archive:
            images = archive["x_test"].transpose(0, 3, 1, 2)
            rows = right_rows(model, images, archive["y_test"], 300, "cifar_cnn_a_adv")
        yield Network(model, rows.inputs[:2]), rows, 2 / 255


def timed(run: Callable):
    begin = time.process_time()
    result = run()
    return result, time.process_time() - begin


def ours(attack: Attack, network: Network, rows: Dataset):
    found, seconds = timed(lambda: attack.attack(network, rows))
    return found.success, found.distance, seconds


def theirs(foolbox, name: str, options: dict, network: Network, rows: Dataset, norm: str, radius: float | None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        model = foolbox.PyTorchModel(network.model, bounds=(0, 1))
        attack = getattr(foolbox.attacks, name)(**options)
        (_, points, _), seconds = timed(lambda: attack(model, rows.inputs, rows.labels, epsilons=radius))
    with torch.no_grad():
        success = network.model(points).argmax(1) != rows.labels
    change = (points - rows.inputs).flatten(1)
    return success, change.norm(dim=1) if norm == "2" else change.abs().amax(1), seconds


def compare(foolbox, network: Network, rows: Dataset, radius: float, case) -> dict:
    name, norm, multiple, steps, extra, peer, options = case
    attack = make_attack(name, radius=100.0 if multiple is None else radius * multiple, norm=norm, steps=steps, **extra)
    success, distance, seconds = ours(attack, network, rows)
    cap = None if attack.minimal else attack.radius
    other, far, spent = theirs(foolbox, peer, options, network, rows, norm, cap)
    row = {
        "name": f"{rows.name} {name} l{norm}" + ("" if cap is None else f" {cap:.3g}") + f" {steps or 1} steps",
        "success": float(success.float().mean()),
        "foolbox_success": float(other.float().mean()),
        "cpu_seconds": seconds,
        "foolbox_cpu_seconds": spent,
        "foolbox": peer,
    }
    met = row["success"] >= row["foolbox_success"] - 0.01 and seconds <= 1.5 * spent + 0.1
    if cap is None:
        both = success & other
        row |= {"change": float(distance[both].median()), "foolbox_change": float(far[both].median())}
        met = met and row["change"] <= 1.05 * row["foolbox_change"]
    return row | {"met": met}


def main(arguments: list[str] | None = None) -> int:
    """Measure and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = Path(os.environ.get("CUTAWAY_DATA", ""))
    if not (data / "classifiers").exists():
        print("not run: CUTAWAY_DATA does not name a folder with classifiers", file=sys.stderr)
        return 2
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import foolbox
    except ImportError:
        print("not run: foolbox, the peer of this benchmark, is not installed", file=sys.stderr)
        return 2
    rows = []
    for network, images, radius in networks(data, options.short):
        square = make_attack("square", radius=radius, steps=200 if options.short else 1000)
        success, _, seconds = ours(square, network, images)
        for case in CASES:
            rows.append(compare(foolbox, network, images, radius, case))
        rows.append(
            {
                "name": f"{images.name} square linf {radius:.3g} {square.steps} queries",  # type: ignore[attr-defined]
                "success": float(success.float().mean()),
                "cpu_seconds": seconds,
                "foolbox": "has none",
                "met": True,
            }
        )
    if options.json:
        print(json.dumps(rows))
    else:
        for row in rows:
            shown = {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items() if k not in ("name", "met")}
            print(f"{'ok  ' if row['met'] else 'MISS'} {row['name']}: {shown}")
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
