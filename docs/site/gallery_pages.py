"""The pages that Cutaway writes, for the gallery: each function writes one into a folder. Docstring: heading, what it
shows, how one gets it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from gallery_readings import digits, plane_of_digits, trained
from torch import nn

from cutaway.comparing import against_first
from cutaway.data import load_data
from cutaway.geometry import slice_network
from cutaway.instruments import Accuracy, BoundaryDistance, LocalComplexity, RobustAccuracy, Sparsity
from cutaway.network import Network
from cutaway.report import write_comparison, write_report, write_training_page
from cutaway.report.explorer import write_explorer
from cutaway.scanning import ScanSettings, scan
from cutaway.training import LogSpaced, Tracker, open_training


def report(folder: Path) -> None:
    """A report

    The page of a scan: verdict, tiles beside what untrained networks give, one picture, every reading.

    `cutaway scan nets.py:make --weights net.safetensors --data digits`
    """
    network, data, _ = digits()
    with tempfile.TemporaryDirectory() as run:
        write_report(scan(network, data, Path(run) / "run"), folder / "report.html")


def comparison(folder: Path) -> None:
    """A comparison

    Two networks side by side: what changed beyond the intervals, and whether it is better or worse. Here one was
    trained for two passes over the digits, the other for thirty.

    `cutaway compare runs/before runs/after --out page.html`
    """
    network, data, _ = digits()
    early = Network(trained(epochs=2), data.inputs[:2], name="after 2 passes")
    asked = [Accuracy(), RobustAccuracy(), Sparsity(), BoundaryDistance()]
    with tempfile.TemporaryDirectory() as place:
        runs = [
            scan(n, data, Path(place) / str(i), instruments=asked, settings=ScanSettings(nulls=0))
            for i, n in enumerate((early, network))
        ]
        rows, notes = against_first(runs)
        write_comparison(runs, rows, notes, folder / "comparison.html")


def training(folder: Path) -> None:
    """A training

    What accuracy, robustness and local complexity did while a network learned, with phases and onsets.

    `cutaway report runs/mine` after a `Tracker` or `cutaway fit`
    """
    with tempfile.TemporaryDirectory() as place:
        here = os.getcwd()
        os.chdir(place)
        try:
            write_training_page(open_training(tracked(Path(place) / "run")), folder / "training.html")
        finally:
            os.chdir(here)


def tracked(run: Path) -> Path:
    """A fully connected network trained on digits for 500 steps, watched."""
    train, test = load_data("digits", split="train"), load_data("digits", split="test")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)
        )
        optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
        asked = [Accuracy(), LocalComplexity(num_points=64, num_directions=8), RobustAccuracy(steps=5, num_points=120)]
        with Tracker(asked, LogSpaced(500, 12), run, data={"train": train.take(200, 0), "test": test}) as tracker:
            tracker.step(model, 0)
            for step in range(1, 501):
                rows = torch.randint(0, len(train), (64,))
                optimiser.zero_grad()
                loss = nn.functional.cross_entropy(model(train.inputs[rows]), train.labels[rows])
                loss.backward()
                optimiser.step()
                tracker.step(model, step, loss=loss)
    return run


def explorer(folder: Path) -> None:
    """The explorer of a slice

    Every affine piece on the plane through a 3, a 5 and an 8: point at one for its map, at an edge for the neuron that
    made it.

    `cutaway slice nets.py:make --data digits --through 3,5,8`
    """
    result = slice_network(digits()[0].model, *plane_of_digits())
    write_explorer([result], folder / "explorer.html", title="digits", class_names=tuple("0123456789"))


PAGES = (report, comparison, training, explorer)
