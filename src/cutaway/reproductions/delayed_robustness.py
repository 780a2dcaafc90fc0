"""Delayed robustness: does a small network become robust long after it is accurate, and does geometry see it coming?

"Deep Networks Always Grok and Here is Why" (arXiv 2402.15555), its MNIST setting: 1,000 samples, ReLU network of depth
4 and width 200, squared error to one-hot targets, AdamW (rate 0.001, weight decay 0.01), batches of 200; on MNIST and
Fashion-MNIST, with BatchNorm and without weight decay beside it. How we differ: the released code's default is GELU;
attacks are in pixel units; the logits are not counted; local complexity is measured by the published count and by the
exact number of neurons whose boundary lies within the radius.

Definitions. Phases: as in `cutaway.training.phases`, of the mean count near training points. Clean plateau: the first
step at which test accuracy is within a point of its highest. Delayed rise: robust accuracy late (median over the last
half decade of steps) less that of the plateau (median from its start to the count's peak; before it, robust accuracy
has an early high and falls). Delay: the step from which half of that rise stays, over the plateau's step. Claims are
judged at the horizon that all seeds reach; the first seed goes on to 100,000 steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cutaway.reproductions._robustness_rise import Run, cut
from cutaway.reproductions._robustness_rows import ablation_rows, long_rows, phase_rows, robustness_rows, strong_rows
from cutaway.reproductions._robustness_runs import Plan, measured_run
from cutaway.reproductions.row import Row

SOURCE = "arXiv 2402.15555"
TITLE = "Delayed robustness of a small network trained long, and its local complexity"

LONG, COMMON, ABLATED = 100_000, 31_623, 17_783  # round(10^k/4)


def plans(seed: int = 0) -> list[Plan]:
    """The full form: three seeds of the plain network on both sets, the first to the long horizon; the ablations; a
    convolutional network on CIFAR-10 (JPEG copies), one seed."""
    found = []
    for data in ("mnist", "fashion-mnist"):
        found += [Plan(data=data, seed=seed, steps=LONG)]
        found += [Plan(data=data, seed=seed + k, steps=COMMON, per_decade=4) for k in (1, 2)]
        found += [
            Plan(data=data, seed=seed + k, steps=ABLATED, per_decade=4, variant=variant)
            for variant in ("batch-norm", "no weight decay")
            for k in (0, 1, 2)
        ]
    return [*found, images_plan(seed)]


def images_plan(seed: int) -> Plan:
    """CIFAR-10, 10,000 steps of a small convolutional network."""
    return Plan(
        data="cifar10-jpeg",
        network="cnn",
        seed=seed,
        steps=10_000,
        per_decade=4,
        width=8,
        depth=2,
        test=1000,
        attacked=200,
        judged=300,
        points=64,
        radii=(2 / 255, 4 / 255, 8 / 255, 16 / 255),
    )


def short_plan(seed: int) -> Plan:
    """Digits, 3,000 steps: descent and ascent; too short for what comes after."""
    return Plan(
        data="digits",
        seed=seed,
        steps=3000,
        per_decade=4,
        samples=300,
        width=100,
        batch_size=100,
        test=364,
        attacked=100,
        judged=100,
        proofs=20,
        points=64,
        lc_radii=(0.2, 1.0),
    )


def reproduce(
    *, short: bool, seed: int = 0, progress: Callable[[str], None] = print, folder: Path | None = None
) -> list[Row]:
    """Full: hours of one core; every run is kept in `folder` (runs/delayed-robustness) and read back when called
    again; the figure is drawn there. Short: one run on digits, half a minute."""
    if short:
        run = measured_run(short_plan(seed), None, progress)
        return phase_rows("digits", [run], claimed=("descent", "ascent"))
    folder = Path("runs/delayed-robustness") if folder is None else folder
    found = {plan: measured_run(plan, folder, progress) for plan in plans(seed)}
    return report(found, folder)


def report(found: dict[Plan, Run], folder: Path) -> list[Row]:
    """All rows from finished runs (any subset of the plans), and the figure."""
    from cutaway.reproductions._robustness_figure import draw_robustness

    rows: list[Row] = []
    draw_robustness(found, folder / "delayed-robustness.png")
    for data in dict.fromkeys(plan.data for plan in found):
        plain = [run for plan, run in found.items() if plan.data == data and plan.variant == "plain"]
        if not plain:
            continue
        if any(plan.data == data and plan.network != "mlp" for plan in found):
            rows += [replace(row, verdict="report", tolerance="shown as it is") for row in phase_rows(data, plain)]
            rows += [row for run in plain for row in long_rows(data, run, "2, 4, 8, 16 / 255", "8 / 255")]
            continue
        horizon = min(int(run["steps"][-1]) for run in plain)
        common = [cut(run, horizon) for run in plain]
        rows += phase_rows(data, common) + robustness_rows(data, common, horizon) + strong_rows(data, plain)
        longest = max(plain, key=lambda run: run["steps"][-1])
        if longest["steps"][-1] > horizon:
            rows += long_rows(data, longest)
        for variant in ("batch-norm", "no weight decay"):
            other = [run for plan, run in found.items() if plan.data == data and plan.variant == variant]
            if other:
                rows += ablation_rows(data, variant, other, plain)
    return rows
