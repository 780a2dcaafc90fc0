"""Whether rows distilled by differentiating a training teach more than real ones, and more than class means.

MNIST at 14 x 14, networks 196-100-10, one row a class. The paper's own tables are of larger networks on colour images;
here its claims are held against random real rows, and against class means, which it does not show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from cutaway.reproductions.row import Row, held

SOURCE = "arXiv 2311.07025; arXiv 2311.17967"
TITLE = "Which ten rows stand for the data? Distillation through trainings and along trajectories"


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """Four ways through a training, one along trajectories, and the rule that says when a loss rests; the short form
    takes a third of the steps and of the rows."""
    learn, test = _halved("train", 1500 if short else 5000, seed), _halved("test", 300 if short else 2000, seed)
    return _taught(learn, test, 80 if short else 250, seed, progress) + rows_of_the_rule(100 if short else 200, seed)


def _halved(split: str, count: int, seed: int) -> Any:
    from cutaway.data import load_data

    data = load_data("mnist", split=split, num=count, seed=seed)
    return replace(data, inputs=nn.functional.avg_pool2d(data.inputs, 2))


def pixels_network(seed: int) -> nn.Module:
    """196-100-10, begun from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(196, 100), nn.ReLU(), nn.Linear(100, 10))


def _taught(learn: Any, test: Any, steps: int, seed: int, progress: Callable[[str], None]) -> list[Row]:
    from cutaway.outputs import distil_trajectory, distil_unrolled, plain_trainer, study_distilled
    from cutaway.outputs.distilled_study import DISTILLED, MEANS, REAL

    trainer = plain_trainer(pixels_network, steps=100, batch_size=64, learning_rate=0.01)
    made = {
        "random window": distil_unrolled(pixels_network, learn, steps=steps, seed=seed),
        "last window": distil_unrolled(pixels_network, learn, steps=steps, place="last", seed=seed),
        "whole training": distil_unrolled(pixels_network, learn, steps=steps // 3, window=20, seed=seed),
        "trajectories": distil_trajectory(pixels_network, learn, steps=2 * steps, seed=seed),
    }
    right, real, means = {}, 0.0, 0.0
    for name, found in made.items():
        taught = study_distilled(trainer, found.data, learn, test, draws=10, num_seeds=3, seed=seed)
        right[name] = float(taught[DISTILLED].right.mean())
        real, means = float(taught[REAL].right.mean()), float(taught[MEANS].right.mean())
        progress(f"{name}: {right[name]:.3f} of the test rows; class means {means:.3f}, real rows {real:.3f}")
    told = ", ".join(f"{name} {value:.3f}" for name, value in right.items())
    rows = [
        held(
            f"one row a class, {name}: share right from distilled rows less from random real rows",
            "distilled rows teach more than as many real ones",
            "published",
            right[name] - real,
            "at least 0.15",
            right[name] - real >= 0.15,
        )
        for name in ("random window", "trajectories")
    ]
    words = "share right, one row a class, by where the window lies, and along trajectories"
    ours = f"{told}; class means {means:.3f}, random real rows {real:.3f}"
    rows.append(Row(quantity=words, ours=ours, tolerance="class means are the honest rival", verdict="report"))
    rows.append(
        Row(
            quantity="trajectories less class means (the paper: galaxies)",
            paper="46 % from one distilled galaxy a class, 19.4 % from class means",
            reference="authors-code",
            ours=right["trajectories"] - means,
            verdict="report",
        )
    )
    return rows


def rows_of_the_rule(draws: int, seed: int) -> list[Row]:
    """How often the rule calls a loss resting that still falls, and how late it sees one that came to rest: noise of a
    twentieth of the fall, 400 values, asked every five."""
    import numpy as np

    from cutaway.evidence import trend_stop

    rng = np.random.default_rng(seed)

    def first(values: Any) -> int | None:
        asked = range(40, len(values) + 1, 5)
        return next((k for k in asked if trend_stop(values[:k]) == "resting"), None)

    noise = 0.05 * rng.standard_normal((2, draws, 400))
    falls, rests = np.linspace(1, 0, 400), np.concatenate([np.linspace(1, 0, 200), np.zeros(200)])
    false = sum(first(falls + some) is not None for some in noise[0]) / draws
    stops = [first(rests + some) or 400 for some in noise[1]]
    late = float(np.median(stops)) / 200 - 1
    return [
        Row(
            quantity="share of falling losses that the rule stops",
            ours=false,
            tolerance="at most 0.05",
            verdict="pass" if false <= 0.05 else "fail",
        ),
        Row(
            quantity="median delay of the stop, as a share of the steps until the loss came to rest",
            ours=late,
            tolerance="at most 0.2",
            verdict="pass" if 0 <= late <= 0.2 else "fail",
        ),
    ]
