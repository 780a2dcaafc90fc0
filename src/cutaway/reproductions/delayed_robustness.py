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

import numpy as np

from cutaway.reproductions._robustness_marks import ATTACKS, MARKS, PROOF_RADII, paired
from cutaway.reproductions._robustness_runs import Plan, measured_run
from cutaway.reproductions.row import Row

SOURCE = "arXiv 2402.15555"
TITLE = "Delayed robustness of a small network trained long, and its local complexity"

LONG, COMMON, ABLATED = 100_000, 31_623, 17_783  # round(10^k/4)
RADIUS, LC_RADIUS = 2, 0  # positions of the attack radius 0.1 and of the local-complexity radius 0.05 in a plan
DELAY = 3.0
Run = dict[str, np.ndarray]


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
        batch=100,
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
    from cutaway.reproductions._robustness_figure import draw

    rows: list[Row] = []
    draw(found, folder / "delayed-robustness.png")
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


def cut(run: Run, last: int) -> Run:
    """The part of a run up to step `last`."""
    keep = run["steps"] <= last
    return {name: value[keep] if len(value) == len(keep) else value for name, value in run.items()}


def phase_rows(
    data: str, runs: list[Run], claimed: tuple[str, ...] = ("descent", "ascent", "second descent")
) -> list[Row]:
    """Which phases the published count near training, test and random points goes through, in how many of the runs."""
    from cutaway.training.phases import detect_phases

    rows = []
    for where in ("train", "test", "random"):
        phases = [detect_phases(run["steps"], run[f"crossed_{where}"][:, LC_RADIUS]) for run in runs]
        seen = {name: sum(p.phase(name).present for p in phases) for name in ("descent", "ascent", "second descent")}
        judged = where == "train"
        rows.append(
            Row(
                quantity=f"{data}: phases of the count near {where} points (of {len(runs)} runs)",
                paper=", then ".join(claimed),
                reference="published",
                ours=", ".join(f"{name} {count}" for name, count in seen.items()),
                tolerance="each in every run" if judged else "shown as it is",
                verdict=_verdict(all(seen[name] == len(runs) for name in claimed)) if judged else "report",
            )
        )
    rows.append(_turns(data, runs))
    agreement = [
        _rank_agreement(run["crossed_train"][:, LC_RADIUS].mean(axis=1), run["within_train"][:, LC_RADIUS].mean(axis=1))
        for run in runs
    ]
    mean, low, high = over_seeds(agreement)
    rows.append(
        Row(
            quantity=f"{data}: rank agreement over training of the published and the exact count",
            paper=None,
            ours=mean,
            low=low,
            high=high,
            tolerance="over 0.7",
            verdict=_verdict(mean > 0.7),
        )
    )
    return rows


def _turns(data: str, runs: list[Run]) -> Row:
    from cutaway.training.phases import onset

    said = []
    for run in runs:
        steps, counts = run["steps"], run["crossed_train"][:, LC_RADIUS].mean(axis=1)
        low, top = turns(run)
        fitted = onset(steps, run["clean_train"].mean(axis=1), level=0.99).step
        marks = "start {:.2f}, low {:.2f} at step {:,}, peak {:.2f} at {:,}, end {:.2f}; interpolates at {:,.0f}"
        said.append(marks.format(counts[0], counts[low], steps[low], counts[top], steps[top], counts[-1], fitted))
    return Row(
        quantity=f"{data}: the count near training points, by run",
        paper="peaks around interpolation",
        reference="published",
        ours=" | ".join(said),
        tolerance="shown as it is",
        verdict="report",
    )


def turns(run: Run) -> tuple[int, int]:
    """Positions of the count's low and of the peak after it, near training points."""
    from cutaway.training.phases import down_up_down

    _, low, top = down_up_down(run["crossed_train"][:, LC_RADIUS].mean(axis=1))
    return low, top


def robustness_rows(data: str, runs: list[Run], horizon: int) -> list[Row]:
    """The rise of robust accuracy after the clean plateau, its delay, and what it costs."""
    measured = [rise(run) for run in runs]
    delays = [m["delay"] for m in measured]
    gain, low, high = over_seeds([m["rise"] for m in measured])
    rows = [
        Row(
            quantity=f"{data}: PGD accuracy (0.1) late, up to step {horizon:,}, less that of the clean plateau",
            paper="rises long after the clean plateau",
            reference="published",
            ours=gain,
            low=low,
            high=high,
            tolerance="over 0.02 in every seed",
            verdict=_verdict(min(m["rise"] for m in measured) > 0.02),
        ),
        Row(
            quantity=f"{data}: step of half that rise over the step of the clean plateau, by seed",
            paper="about 10 and more",
            reference="published",
            ours=", ".join(f"{d:.3g}" for d in delays),
            tolerance=f"at least {DELAY:g} in every seed (inf: no rise)",
            verdict=_verdict(all(DELAY <= d < np.inf for d in delays)),
        ),
        Row(
            quantity=f"{data}: the count near training points peaks before half of the rise, by seed (steps)",
            paper="geometry moves first",
            reference="published",
            ours=", ".join(f"{m['peak']:,.0f} < {m['half']:,.0f}" for m in measured),
            tolerance="in every seed",
            verdict=_verdict(all(m["peak"] < m["half"] < np.inf for m in measured)),
        ),
    ]
    rises = [over_seeds([rise(run, k)["rise"] for run in runs])[0] for k in range(4)]
    rows.append(
        Row(
            quantity=f"{data}: the same rise at radii 0.03, 0.06, 0.1, 0.2",
            paper="at every radius",
            reference="published",
            ours=", ".join(f"{r:+.3f}" for r in rises),
            tolerance="shown as it is",
            verdict="report",
        )
    )
    for name, what in (
        ("early", "highest PGD accuracy (0.1) before the clean plateau"),
        ("plateau_level", "PGD accuracy (0.1) of the clean plateau"),
        ("late", f"PGD accuracy (0.1) late, up to step {horizon:,}"),
        ("clean_change", f"clean accuracy at step {horizon:,} less the highest before"),
        ("late_gain", "clean accuracy gained after the training set is interpolated (delayed generalisation)"),
        ("noise", f"accuracy under random noise of size 0.1 at step {horizon:,}"),
    ):
        mean, low, high = over_seeds([m[name] for m in measured])
        rows.append(
            Row(
                quantity=f"{data}: {what}",
                paper=None,
                ours=mean,
                low=low,
                high=high,
                tolerance="shown as it is",
                verdict="report",
            )
        )
    return rows


def strong_rows(data: str, runs: list[Run]) -> list[Row]:
    """What is left of the rise when all attacks are tried at both ends: at the start and the end of the clean plateau,
    the count's peak and the last step, on the same images; and what is proved there."""
    rows = [_left_of_the_rise(data, runs, mark) for mark in (0, 1, 2)]
    rows.append(
        Row(
            quantity=f"{data}: right under {', '.join(ATTACKS)} (each after those before it) at radius 0.1, by run",
            paper=None,
            ours=" | ".join(_attacks_at_marks(run) for run in runs),
            tolerance="the fall along a list is the weakness of the attacks before",
            verdict="report",
        )
    )
    if all("proved" in run for run in runs):
        radii = ", ".join(f"{radius:g}" for radius in PROOF_RADII)
        rows.append(
            Row(
                quantity=f"{data}: proved right at radii {radii}, plateau's start then last step, by run",
                paper=None,
                ours=" | ".join(_proved_at_ends(run) for run in runs),
                tolerance=f"of {runs[0]['proved'].shape[-1]} images",
                verdict="report",
            )
        )
    return rows


def _left_of_the_rise(data: str, runs: list[Run], mark: int) -> Row:
    """Paired over images; runs in which the mark is the last step say nothing and are left out."""
    apart = [run for run in runs if run["marks"][mark] != run["marks"][-1]]
    quantity = f"{data}: right under all attacks (0.1) at the last step less at the {MARKS[mark]}"
    if not apart:
        return Row(quantity=quantity, ours="the same step in every run", verdict="report")
    each = [paired(standing(run)[-1, RADIUS], standing(run)[mark, RADIUS]) for run in apart]
    mean, low, high = paired(*(np.concatenate([standing(run)[k, RADIUS] for run in apart]) for k in (-1, mark)))
    said = ", ".join(f"{m:+.3f} [{lo:+.3f}, {hi:+.3f}]" for m, lo, hi in each)
    return Row(
        quantity=quantity,
        paper="robust late",
        reference="published",
        ours=mean,
        low=low,
        high=high,
        tolerance=f"interval above 0 in every run; {standing(runs[0]).shape[-1]} images a run, paired: {said}",
        verdict=_verdict(all(lo > 0 for _, lo, _ in each)),
    )


def _attacks_at_marks(run: Run) -> str:
    shares = run["judged"][:, :, RADIUS].mean(axis=-1)
    return "; ".join(
        f"{name} (step {step:,}, clean {clean:.3f}) " + " ".join(f"{v:.3f}" for v in row)
        for name, step, clean, row in zip(MARKS, run["marks"], run["judged_clean"].mean(axis=1), shares)
    )


def _proved_at_ends(run: Run) -> str:
    return " then ".join(" ".join(f"{v:.3f}" for v in run["proved"][k].mean(axis=-1)) for k in (0, -1))


def standing(run: Run) -> np.ndarray:
    """`(marks, radii, n)` bool: right and broken by none of the attacks."""
    return np.asarray(run["judged"].all(axis=1))


def rise(run: Run, radius: int = RADIUS) -> dict[str, float]:
    """What robust accuracy (at one of the plan's radii) and clean accuracy do after the clean plateau, for one run."""
    from cutaway.training.phases import onset

    steps, clean = run["steps"].astype(float), run["clean_test"].mean(axis=1)
    robust = run["pgd_test"][:, radius].mean(axis=1)
    at = int(np.argmax(clean >= clean.max() - 0.01))
    top = min(max(turns(run)[1], at + 2), len(steps) - 1)
    level = float(np.median(robust[at : top + 1]))
    late = float(np.median(robust[steps >= steps[-1] / 10**0.5]))
    half = onset(steps[top:], robust[top:], level=(level + late) / 2).step if late > level else np.inf
    fitted = onset(steps, run["clean_train"].mean(axis=1), level=0.99).step
    known = int(min(np.searchsorted(steps, fitted), len(steps) - 1))
    return {
        "plateau": float(steps[at]),
        "plateau_level": level,
        "late": late,
        "rise": late - level,
        "end_rise": float(robust[-1]) - level,
        "half": half,
        "delay": half / max(float(steps[at]), 1.0),
        "peak": float(steps[turns(run)[1]]),
        "early": float(robust[: at + 1].max()),
        "clean_change": float(clean[-1] - clean.max()),
        "late_gain": float(clean[-1] - clean[known]),
        "noise": float(run["noise_test"][-1, radius].mean()),
    }


def long_rows(data: str, run: Run, radii: str = "0.03, 0.06, 0.1, 0.2", main: str = "0.1") -> list[Row]:
    """One seed at its last step, shown as it is."""
    last, m = int(run["steps"][-1]), rise(run)
    clean, pgd = run["clean_test"].mean(axis=1), run["pgd_test"].mean(axis=2)
    since = f"PGD ({main}) since the clean plateau {m['rise']:+.2f}, clean since its highest {m['clean_change']:+.3f}"
    said = f"clean {clean[-1]:.3f}; PGD at {radii}: " + ", ".join(f"{v:.2f}" for v in pgd[-1])
    said += "; all attacks: " + ", ".join(f"{v:.2f}" for v in standing(run)[-1].mean(axis=1))
    ends = ", ".join(f"{s} {run[f'crossed_{s}'][-1, LC_RADIUS].mean():.2f}" for s in ("train", "test", "random"))
    return [
        Row(
            quantity=f"{data}: one seed at step {last:,}",
            paper="robust, few neurons near data",
            reference="published",
            ours=f"{said}; count {ends}; {since}",
            tolerance="shown as it is",
            verdict="report",
        )
    ]


def ablation_rows(data: str, variant: str, runs: list[Run], plain: list[Run]) -> list[Row]:
    """Robust accuracy above its plateau and what is left of the count, at the last step of the shorter runs with
    BatchNorm or without weight decay, against the plain network at the same step."""
    horizon = min(int(run["steps"][-1]) for run in runs)
    ours, base = ([cut(run, horizon) for run in part] for part in (runs, plain))
    mean, low, high = over_seeds([m["end_rise"] for m in map(rise, ours)])
    usual = over_seeds([m["end_rise"] for m in map(rise, base)])[0]
    left, usually = (over_seeds([_left(run) for run in part])[0] for part in (ours, base))
    suppressed = variant == "batch-norm"
    seeds = f"{len(runs)} seed{'s' if len(runs) > 1 else ''}"
    return [
        Row(
            quantity=f"{data}, {variant}: PGD accuracy (0.1) at step {horizon:,} less that of the clean plateau",
            paper="BatchNorm suppresses the rise" if suppressed else "weight decay moves it",
            reference="published",
            ours=mean,
            low=low,
            high=high,
            tolerance=f"shown as it is; plain {usual:+.3f}; {seeds}",
            verdict="report",
        ),
        Row(
            quantity=f"{data}, {variant}: count near training points at step {horizon:,} over its peak",
            paper="BatchNorm suppresses the descent" if suppressed else "weight decay moves it",
            reference="published",
            ours=left,
            tolerance=f"shown as it is; plain {usually:.2f}; {seeds}",
            verdict="report",
        ),
    ] + [
        replace(row, quantity=row.quantity.replace(data, f"{data}, {variant}"), verdict="report")
        for row in strong_rows(data, runs)
    ]


def _left(run: Run) -> float:
    counts = run["crossed_train"][:, LC_RADIUS].mean(axis=1)
    return float(counts[-1] / counts[turns(run)[1]])


def over_seeds(values: list[float]) -> tuple[float, float | None, float | None]:
    """Mean and its 95 % t interval over seeds, cut to [-1, 1], where all these figures live (none for one seed)."""
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None, None
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, max(mean - half, -1.0), min(mean + half, 1.0)


def _verdict(good: bool):
    return "pass" if good else "fail"


def _rank_agreement(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(a, b)[0])  # pyright: ignore[reportArgumentType]
