"""When to stop: geometry alone, without labels, against early stopping on validation accuracy.

The paper (arXiv 2402.15555) says that local complexity tells when training is done and gives no rule; ours is
`cutaway.training.stopping.GeometryStop`. It watches local complexity on unlabelled points and is judged on the runs of
`delayed-robustness`: how much accuracy, clean and attacked, stopping there gives away against the best of the whole
run (regret), beside the usual rule and beside never stopping. Half of the test rows serve as validation set of the
usual rule, the other half gives all scores.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cutaway.reproductions._robustness_rise import RADIUS, Run
from cutaway.reproductions._robustness_runs import Plan, measured_run
from cutaway.reproductions.delayed_robustness import plans, short_plan
from cutaway.reproductions.row import Row
from cutaway.training.stopping import GeometryStop, ValidationStop, regret, stop_step

SOURCE = "arXiv 2402.15555"
TITLE = "A stopping rule from geometry alone, and its regret"


def reproduce(
    *, short: bool, seed: int = 0, progress: Callable[[str], None] = print, folder: Path | None = None
) -> list[Row]:
    """Full: the plain runs of `delayed-robustness` (read back from `folder`, runs/delayed-robustness, where they are
    finished, else hours of one core). Short: one seed on digits."""
    where = None if short else (folder or Path("runs/delayed-robustness"))
    chosen = [short_plan(seed)] if short else [p for p in plans(seed) if p.variant == "plain"]
    by_data: dict[str, list[tuple[Plan, Run]]] = {}
    for plan in chosen:
        by_data.setdefault(plan.data, []).append((plan, measured_run(plan, where, progress)))
    return [row for data, runs in by_data.items() for row in _rows(data, runs)]


def _rows(data: str, runs: list[tuple[Plan, Run]]) -> list[Row]:
    rows, given_away, stops, clean_lost = [], {}, {}, {}
    for name, stopper in RULES.items():
        stops[name], clean, robust = [], [], []
        for plan, run in runs:
            scores = run["clean_test"][:, 1::2].mean(axis=1)
            attacked = run["pgd_test"][:, min(RADIUS, len(plan.radii) - 1)].mean(axis=1)
            at = stopper(run)
            stops[name].append(at)
            clean.append(regret(run["steps"], scores, at))
            robust.append(regret(run["steps"], attacked, at))
        where = ", ".join(f"{s:,}" for s in stops[name])
        given_away[name], clean_lost[name] = float(np.mean(robust)), clean
        for what, values in (("clean", clean), ("robust", robust)):
            rows.append(
                Row(
                    quantity=f"{data}: {what} accuracy given away, {name} (stops at {where})",
                    paper=None,
                    ours=float(np.mean(values)),
                    low=float(np.min(values)),
                    high=float(np.max(values)),
                    tolerance="range over seeds",
                    verdict="report",
                )
            )
    geometry = [name for name in RULES if name.startswith("geometry")]
    best = min(given_away[name] for name in geometry)
    stopped = any(stops[name] != stops["never stopping"] for name in geometry)
    rows.append(
        Row(
            quantity=f"{data}: robust accuracy given away, the better geometry rule less never stopping",
            ours=best - given_away["never stopping"],
            tolerance="at most 0: stopping by geometry is no worse than going on"
            if stopped
            else "neither rule stopped before the end: nothing to compare",
            verdict=("pass" if best <= given_away["never stopping"] else "fail") if stopped else "report",
        )
    )
    worst = max(max(clean_lost[name]) for name in geometry)
    rows.append(
        Row(
            quantity=f"{data}: most clean accuracy given away by a geometry rule, of all runs",
            ours=worst,
            tolerance="at most 0.03: no rule stops while the network still learns",
            verdict="pass" if worst <= 0.03 else "fail",
        )
    )
    return rows


def _geometry(points: str) -> Callable[[Run], int]:
    return lambda run: stop_step(GeometryStop(), run["steps"], run[f"crossed_{points}"][:, 0].mean(axis=1))


def _validation(run: Run) -> int:
    return stop_step(ValidationStop(), run["steps"], run["clean_test"][:, ::2].mean(axis=1))


RULES: dict[str, Callable[[Run], int]] = {
    "geometry on test points": _geometry("test"),
    "geometry on random points": _geometry("random"),
    "validation accuracy": _validation,
    "never stopping": lambda run: int(run["steps"][-1]),
}
