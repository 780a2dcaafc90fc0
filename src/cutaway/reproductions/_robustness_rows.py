"""The rows of the delayed-robustness study, from finished runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cutaway.reproductions._robustness_marks import JUDGES, MARKS, PROOF_RADII, paired
from cutaway.reproductions._robustness_rise import (
    LC_RADIUS,
    RADIUS,
    Run,
    cut,
    left_of_peak,
    over_seeds,
    rank_agreement,
    rise,
    standing,
    turns,
)
from cutaway.reproductions.row import Row
from cutaway.training.story import DELAY


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
        rank_agreement(run["crossed_train"][:, LC_RADIUS].mean(axis=1), run["within_train"][:, LC_RADIUS].mean(axis=1))
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
            quantity=f"{data}: right under {', '.join(JUDGES)} (each after those before it) at radius 0.1, by run",
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
    left, usually = (over_seeds([left_of_peak(run) for run in part])[0] for part in (ours, base))
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


def _verdict(good: bool):
    return "pass" if good else "fail"
