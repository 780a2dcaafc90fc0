"""Boundary migration: do region boundaries move to the decision boundary once the network has long been accurate?

"Deep Networks Always Grok and Here is Why" (arXiv 2402.15555) says that after the peak of the local complexity near
training points regions migrate away from them and to the decision boundary, and shows it in pictures. Here it is a
number, on the MNIST setting of `delayed_robustness` (1,000 samples, ReLU network of depth 4 and width 200, squared
error, AdamW, batches of 200): the share of region boundaries on the way between training samples of different classes
that lies within a twentieth of the way from the change of class (`boundary-migration`), at the count's peak and at the
end, by three seeds. Peak: of the count near training points, as `cutaway.training.phases` fits it. A `Tracker` measures
both, so every run has a film (`cutaway report FOLDER`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cutaway.data import Dataset, load_data
from cutaway.instruments import BoundaryMigration, LocalComplexity
from cutaway.reproductions._robustness_rise import over_seeds
from cutaway.reproductions.row import Row
from cutaway.training.loop import TrainingSettings, train
from cutaway.training.models import mlp
from cutaway.training.phases import down_up_down
from cutaway.training.schedule import LogSpaced
from cutaway.training.store import TrainingRun, open_training
from cutaway.training.tracker import Tracker

SOURCE = "arXiv 2402.15555"
TITLE = "Region boundaries move to the decision boundary, as a number"

LONG = {"data": "mnist", "samples": 1000, "width": 200, "batch": 200, "steps": 31_623, "points": 24, "radius": 0.05}
SHORT = {"data": "digits", "samples": 300, "width": 40, "batch": 100, "steps": 600, "points": 3, "radius": 0.2}
FIGURES = ("near_share", "concentration", "distance_correlation")


def reproduce(
    *, short: bool, seed: int = 0, progress: Callable[[str], None] = print, folder: Path | None = None
) -> list[Row]:
    """Full: three seeds of MNIST, half an hour of one core, kept in `folder` (runs/boundary-migration). Short: one run
    on digits, too short for what the paper says; its row is the film's own course, judged for what must hold in any
    run (boundaries lie closer to the decision boundary than in the untrained network)."""
    if short:
        with ExitStack() as stack:
            kept = Path(stack.enter_context(tempfile.TemporaryDirectory())) if folder is None else folder
            return early_rows("digits", [tracked_run(SHORT, seed, kept / "digits", progress)])
    kept = Path("runs/boundary-migration") if folder is None else folder
    return late_rows("mnist", [tracked_run(LONG, seed + k, kept / f"mnist-{seed + k}", progress) for k in range(3)])


def tracked_run(plan: dict[str, Any], seed: int, folder: Path, progress: Callable[[str], None] = print) -> TrainingRun:
    """Train and watch, or read back the run that `folder` holds finished."""
    if (folder / "run.json").exists() and open_training(folder).finished:
        return open_training(folder)
    data = load_data(plan["data"], split="train", num=plan["samples"], seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = mlp(data.input_shape, 10, width=plan["width"], depth=4)
    settings = TrainingSettings(
        steps=plan["steps"],
        batch_size=plan["batch"],
        optimiser="adamw",
        learning_rate=1e-3,
        weight_decay=0.01,
        loss="mse",
        seed=seed,
    )
    progress(f"{folder.name}: {plan['steps']:,} steps")
    with watching(plan, data, folder) as tracker:
        train(model, data, settings, tracker=tracker)
    return open_training(folder)


def watching(plan: dict[str, Any], data: Dataset, folder: Path) -> Tracker:
    """The count near training points and the migration of boundaries between them, at log-spaced steps."""
    count = LocalComplexity(radius=plan["radius"], num_directions=25, num_points=128, num_counted=1)
    migration = BoundaryMigration(num_segments=100, num_slices=0)
    return Tracker([count, migration], LogSpaced(plan["steps"], plan["points"]), folder, data={"train": data})


def figure_courses(run: TrainingRun) -> dict[str, np.ndarray]:
    """`steps`, `count` and the figures of migration (T,) at the steps at which both were measured."""
    found = {s.figure: s for s in run.series.values() if s.figure in (*FIGURES, "local_complexity")}
    steps = np.array(sorted(set.intersection(*(set(s.steps.tolist()) for s in found.values()))))
    at = {name: s.value[np.searchsorted(s.steps, steps)] for name, s in found.items()}
    return {"steps": steps, "count": at.pop("local_complexity"), **at}


def late_rows(data: str, runs: Sequence[TrainingRun]) -> list[Row]:
    """From the count's peak to the end, over runs."""
    each = [figure_courses(run) for run in runs]
    tops = [down_up_down(course["count"])[2] for course in each]
    peaks = ", ".join(f"{int(course['steps'][top]):,}" for course, top in zip(each, tops, strict=True))
    rows = []
    for figure, words, sign in (
        ("near_share", "share of region boundaries within 0.05 of the decision boundary", 1),
        ("concentration", "their density there over that of the whole way", 1),
        ("distance_correlation", "rank correlation of their density with the distance to it", -1),
    ):
        moved = [float(course[figure][-1] - course[figure][top]) for course, top in zip(each, tops, strict=True)]
        mean, low, high = over_seeds(moved)
        said = "; ".join(
            f"{course[figure][0]:.3f} at the start, {course[figure][top]:.3f} at the peak, {course[figure][-1]:.3f}"
            for course, top in zip(each, tops, strict=True)
        )
        judged = figure == "near_share"
        good = all(sign * m > 0 for m in moved)
        claim = "rises" if sign > 0 else "falls"
        rows.append(
            Row(
                quantity=f"{data}: {words}, last step ({int(each[0]['steps'][-1]):,}) less the count's peak ({peaks})",
                paper=f"{claim}: regions migrate to the decision boundary",
                reference="published",
                ours=mean,
                low=low,
                high=high,
                tolerance=f"{claim} in every seed ({said})" if judged else f"shown as it is ({said})",
                verdict="report" if not judged else "pass" if good else "fail",
            )
        )
    return rows


def early_rows(data: str, runs: Sequence[TrainingRun]) -> list[Row]:
    """From the untrained network to the end of short runs."""
    each, rows = [figure_courses(run) for run in runs], []
    for figure, words, sign in (
        ("concentration", "density of region boundaries at the decision boundary over that of the whole way", 1),
        ("distance_correlation", "rank correlation of their density with the distance to it", -1),
    ):
        moved = [sign * float(course[figure][-1] - course[figure][0]) for course in each]
        rows.append(
            Row(
                quantity=f"{data}: {words}, untrained then trained",
                paper="boundaries near the decision boundary",
                reference="published",
                ours="; ".join(f"{course[figure][0]:.3f} then {course[figure][-1]:.3f}" for course in each),
                tolerance="rises in every run" if sign > 0 else "falls in every run",
                verdict="pass" if min(moved) > 0 else "fail",
            )
        )
    return rows
