"""Reasoning or memorization: planted rows of a fine-fine_tuned story model, recalled from 40, 60 and 80 % of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from cutaway.reproductions.row import Row, held

TITLE = "Reasoning or memorization? Recall of partly shown rows by how often they were trained on"
SOURCE = "Wu et al. 2025, arXiv 2507.10532"
TIMES = {1: 2000, 4: 50, 16: 25}  # repetitions: rows


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """stories260K, one epoch over 2,600 rows (short: 1,100), of which 50 stand four times and 25 sixteen times; beside
    200 rows (short: 60) that it never saw. Three draws (short: one)."""
    from cutaway.reproductions._stories import stories

    found = stories()
    if found is None:
        return [Row(quantity="stories260K on instructions", ours="left out: set CUTAWAY_DATA", verdict="not run")]
    readings = [_readings(found, short, seed + k, progress) for k in range(1 if short else 3)]

    def mean(times: int, figure: str) -> float:
        return float(np.mean([r[times].figure(figure).value for r in readings]))

    rows = []
    for times in TIMES:
        curve = np.mean([r[times].values["recall_suspect_by_share"].values for r in readings], axis=0)
        told = ", ".join(f"{value:.2f}" for value in curve)
        rows.append(Row(quantity=f"seen {times}x: recall at 40, 60, 80 % shown", ours=told, verdict="report"))
    curve = np.mean([r[16].values["recall_others_by_share"].values for r in readings], axis=0)
    told = ", ".join(f"{value:.2f}" for value in curve)
    rows.append(Row(quantity="never seen: recall at 40, 60, 80 % shown", ours=told, verdict="report"))
    at_forty = float(np.mean([_at_forty(r[16], "suspect") - _at_forty(r[16], "others") for r in readings]))
    p16, p1 = (max(r[times].figure("contamination_p").value for r in readings) for times in (16, 1))
    apart = mean(1, "recall_excess")
    return [
        *rows,
        held(
            "seen 16x less never seen: recall at 40 % shown",
            "above",
            "published",
            at_forty,
            "at least 0.25",
            at_forty >= 0.25,
        ),
        held("seen 16x: largest p of the probe", "found", "published", p16, "at most 0.01", p16 <= 0.01),
        held("seen once less never seen: recall", "no excess", "published", apart, "within 0.05", abs(apart) <= 0.05),
        Row(
            quantity="seen once: p of the recall, of the loss",
            ours=f"{p1:.3f}, {mean(1, 'loss_p'):.3f}",
            verdict="report",
        ),
        Row(
            quantity="loss never seen, seen 1x, 4x, 16x [nats a token]",
            ours=", ".join(f"{v:.2f}" for v in (mean(1, "loss_others"), *(mean(t, "loss_suspect") for t in TIMES))),
            verdict="report",
        ),
        Row(
            quantity="word for word, seen 16x and never seen",
            ours=f"{mean(16, 'exact_suspect'):.2f}, {mean(16, 'exact_others'):.2f}",
            verdict="report",
        ),
    ]


def _at_forty(reading, group: str) -> float:
    return float(reading.values[f"recall_{group}_by_share"].values[0])


def _readings(found, short: bool, seed: int, progress: Callable[[str], None]) -> dict:
    """A reading for each number of repetitions, against the same rows that were never seen."""
    from cutaway.data import Dataset
    from cutaway.instruments import Contamination
    from cutaway.reproductions._stories import fine_tuned

    rng = np.random.default_rng(seed)
    rows = found.rows[torch.as_tensor(rng.permutation(len(found.rows)))]
    fresh, often = 60 if short else 200, {**TIMES, 1: 500 if short else 2000}
    ends = np.cumsum([fresh, *often.values()])
    parts = {times: rows[start:end] for times, start, end in zip(often, ends[:-1], ends[1:])}
    planted = torch.cat([part.repeat(times, 1) for times, part in parts.items()])
    model = fine_tuned(found.model, planted, rng.permutation(len(planted)))
    readings = {}
    for times, part in parts.items():
        part = part[:fresh]
        data = Dataset(
            name=f"seen {times}x",
            inputs=torch.cat([part, rows[:fresh]]),
            groups=torch.tensor([0] * len(part) + [1] * fresh),
            group_names=("seen", "never seen"),
        )
        readings[times] = Contamination(suspect="seen").measure(model, data, seed=seed)
        excess, p = (readings[times].figure(name).value for name in ("recall_excess", "contamination_p"))
        progress(f"seen {times}x: recall {excess:+.3f} above rows never seen, p {p:.3f}")
    return readings
