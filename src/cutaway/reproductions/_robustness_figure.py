"""The figure of the delayed-robustness runs: accuracies and both local complexities over log steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cutaway.files import atomic
from cutaway.reproductions._robustness_runs import Plan

COLOURS = {"train": "#4C78A8", "test": "#F58518", "random": "#54A24B"}
SHADES = ("#d9c7e8", "#b48fd0", "#8a56ae", "#5b2a86")


def draw_robustness(found: dict[Plan, dict[str, np.ndarray]], path: Path) -> Path:
    """One column a data set and variant, three rows: accuracy clean and attacked, published count, exact count; thin
    lines are seeds, thick lines their mean where all are there."""
    from matplotlib.figure import Figure

    columns: dict[tuple[str, str], list[Plan]] = {}
    for plan in found:
        columns.setdefault((plan.data, plan.variant), []).append(plan)
    figure = Figure(figsize=(3.6 * len(columns) + 0.6, 8.4), layout="constrained")
    axes: Any = figure.subplots(3, len(columns), sharex=True, squeeze=False)
    for column, ((data, variant), plans) in enumerate(columns.items()):
        runs = [found[plan] for plan in plans]
        top, published, exact = axes[:, column]
        kind = variant if plans[0].network == "mlp" else f"{plans[0].network}, PGD 2, 4, 8, 16 / 255"
        top.set_title(f"{data}\n{kind} ({len(runs)} seed{'s' if len(runs) > 1 else ''})", fontsize=10)
        _lines(top, runs, lambda run: run["clean_train"].mean(axis=1), "#bbbbbb", "train")
        _lines(top, runs, lambda run: run["clean_test"].mean(axis=1), "black", "test")
        for k, (radius, shade) in enumerate(zip(plans[0].radii, SHADES, strict=True)):
            _lines(top, runs, lambda run, k=k: run["pgd_test"][:, k].mean(axis=1), shade, f"test, PGD {radius:g}")
        for axis, count in ((published, "crossed"), (exact, "within")):
            for where, colour in COLOURS.items():
                _lines(axis, runs, lambda run, n=f"{count}_{where}": run[n][:, 0].mean(axis=1), colour, where)
        exact.set_xlabel("steps")
        top.set_ylim(-0.02, 1.02)
    for axis in axes[1:].flat:
        axis.set_ylim(0, None)
    for axis in axes.flat:
        axis.set_xscale("symlog", linthresh=1)
        axis.set_xlim(0, None)
        axis.grid(alpha=0.25, linewidth=0.5)
    radius = next(iter(found)).lc_radii[0]
    for row, text in enumerate(
        (
            "share of samples right",
            f"neurons that change sign\n(published, r = {radius:g})",
            f"boundaries within {radius:g}\n(exact)",
        )
    ):
        axes[row, 0].set_ylabel(text)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.legend(
        *axes[1, 0].get_legend_handles_labels(), loc="outside right center", fontsize=8, title="near points of"
    )
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")
    return path


def _lines(axis, runs, value, colour: str, label: str) -> None:
    """Thin lines for the seeds and their mean over the steps that all of them have."""
    for run in runs:
        axis.plot(run["steps"], value(run), color=colour, linewidth=0.7, alpha=0.6 if len(runs) > 1 else 1.0)
    shared = sorted(set.intersection(*(set(run["steps"].tolist()) for run in runs)))
    curves = [[value(run)[list(run["steps"]).index(step)] for step in shared] for run in runs]
    axis.plot(shared, np.mean(curves, axis=0), color=colour, linewidth=2.0, label=label)
