"""Grokking without accuracy: the delay of the test loss grows with laziness and with misalignment."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

from cutaway.reproductions.row import Row, Verdict

SOURCE = "arXiv 2310.06110"
TITLE = "Lazy to rich: delay of the test loss on polynomial regression"


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """Delay (log10 of the ratio of steps to a tenth of the loss) on a grid of laziness and alignment; orders tested."""
    import numpy as np

    from cutaway.dynamics.lazy_rich import LazyRichSetting, train_lazy_rich

    lazier = (0.1, 0.25, 0.5) if short else (0.1, 0.5, 2.0)  # what the short runs are long enough to see
    grid = [(a, e) for a in lazier for e in (0.2, 1.0)]
    delays, floors, tests, moves = {}, {}, {}, {}
    for laziness, alignment in grid:
        runs = [
            train_lazy_rich(
                LazyRichSetting(
                    laziness=laziness, alignment=alignment, seed=seed + each, num_steps=1200 if short else 30_000
                )
            )
            for each in range(1 if short else 3)
        ]
        delays[laziness, alignment] = float(np.median([r.delay for r in runs]))
        floors[laziness, alignment] = float(np.median([r.delay_floor for r in runs]))
        tests[laziness, alignment] = float(np.median([r.test[-1] for r in runs]))
        moves[laziness, alignment] = float(np.median([r.movement[-1] for r in runs]))
        progress(f"alpha {laziness}, eps {alignment}: delay {delays[laziness, alignment]:.2f}")
    rows = []
    for laziness, alignment in grid:
        value = delays[laziness, alignment]
        rows.append(
            Row(
                quantity=f"delay, alpha {laziness}, eps {alignment} (weights move {moves[laziness, alignment]:.2f})",
                paper=None,
                ours=value if math.isfinite(value) else f"none: test stays at {tests[laziness, alignment]:.2f}",
                verdict="report",
            )
        )
    for alignment in (0.2, 1.0):
        series = [(delays[a, alignment], floors[a, alignment]) for a in lazier]
        ours = ", ".join(_delay_words(delay, floor) for delay, floor in series)
        rows.append(
            Row(
                quantity=f"delay grows with laziness at eps = {alignment}",
                paper="grows",
                reference="published",
                ours=ours,
                tolerance="order; report where runs are too short",
                verdict=order_verdict(series),
            )
        )
    ordered = [tests[a, 0.2] >= tests[a, 1.0] for a in lazier[1:]]
    rows.append(
        Row(
            quantity="misaligned start leaves the higher test loss at equal steps",
            paper="yes",
            reference="published",
            ours=str(all(ordered)),
            tolerance="order at alpha = {:g} and {:g}".format(*lazier[1:]),
            verdict="pass" if all(ordered) else "fail",
        )
    )
    less = moves[lazier[-1], 1.0] < moves[lazier[0], 1.0]
    rows.append(
        Row(
            quantity="weights move less the lazier the network",
            paper="yes",
            reference="published",
            ours=str(less),
            tolerance="order",
            verdict="pass" if less else "fail",
        )
    )
    return rows


def order_verdict(series: list[tuple[float, float]]) -> Verdict:
    """Whether delays rise, from pairs (delay, floor): a delay of inf is one that its run was too short to see, and is
    only known to be at least its floor. `fail` if a pair falls for certain, or if the least lazy network did not even
    fit its training data; `pass` if all rise for certain, else `report`."""
    if series[0][1] == -math.inf:
        return "fail"
    if any(later <= floor for (_, floor), (later, _) in itertools.combinations(series, 2)):
        return "fail"
    return "pass" if all(before < floor for (before, _), (_, floor) in itertools.pairwise(series)) else "report"


def _delay_words(delay: float, floor: float) -> str:
    if math.isfinite(delay):
        return f"{delay:.2f}"
    return f"above {floor:.2f}" if math.isfinite(floor) else "not seen"
