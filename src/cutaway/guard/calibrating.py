"""A guardrail moved to another source of prompts: the detector stays, the threshold is set from harmless rows of it.

The rate holds for prompts like the calibration rows (see `threshold`). On another source it does not: there the same
threshold may flag one in a hundred or one in two. A hundred harmless prompts of the new source mend that; what they
cannot mend is how well harmful ones are told apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cutaway.errors import InputError
from cutaway.guard.guardrail import Guardrail
from cutaway.guard.rows import from_lists, prompt_fingerprint
from cutaway.guard.threshold import Threshold, calibrate
from cutaway.reading.intervals import proportion_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibration:
    """`before`, `threshold`: the threshold before and now. `rows` rows set it. `seen_before`: share of those rows
    above the
    old threshold. `others` more rows, `flagged` of them above the new one, with the Clopper-Pearson interval at 95 %
    (NaN without others)."""

    before: Threshold
    threshold: Threshold
    rows: int
    seen_before: float
    others: int
    flagged: int
    low: float
    high: float

    def told(self) -> dict[str, Any]:
        """As a payload: `threshold`, `fpr` seen on the other rows (None without), and the rest."""
        share = self.flagged / self.others if self.others else None
        return {
            "threshold": self.threshold.logit,
            "before": self.before.logit,
            "asked": self.threshold.rate,
            "rows": self.rows,
            "seen_before": self.seen_before,
            "others": self.others,
            "fpr": share,
            "fpr_low": None if share is None else self.low,
            "fpr_high": None if share is None else self.high,
        }

    def words(self) -> list[str]:
        """The same in sentences."""
        lines = [
            f"threshold (logit) {self.threshold.logit:.4f}, {self.before.logit:.4f} before, from {self.rows} harmless "
            f"rows: the old one flagged {self.seen_before:.3f} of them"
        ]
        if self.others:
            lines.append(
                f"asked: {self.threshold.rate:g}; seen on {self.others} others: {self.flagged / self.others:.3f} "
                f"(95 % {self.low:.3f} to {self.high:.3f})"
            )
        return lines


def recalibrate(
    guard: Guardrail, harmless: Sequence[str], *, rate: float | None = None, num: int | None = None, seed: int = 0
) -> Recalibration:
    """Set the threshold of a fitted guardrail from harmless prompts that it has not seen; `num` of them, drawn with
    `seed`, the others tell the rate seen. Changes `threshold_`, `rate`, `seen_` and `notes_`.

    Repeats and rows seen in fitting are left out. One forward pass a prompt. Raises InputError for too few rows for the
    rate, and where none is left.
    """
    rows = from_lists(list(harmless), np.zeros(len(harmless), dtype=np.int64), name="the harmless rows")
    rows = rows.deduplicated().without(set(guard.seen_), "in the fitting data", plain=guard.plain)
    if num is not None and num < 1:
        raise InputError("num", found=str(num), expected="at least 1", remedy="leave it out to use all rows")
    logits, rate = guard.decision_function(rows.texts), guard.rate if rate is None else rate
    order = np.random.default_rng(seed).permutation(len(rows))
    mine, others = order[:num], order[len(order) if num is None else num :]
    before, now = guard.threshold_, calibrate(logits[mine], rate)
    hits = int((logits[others] > now.logit).sum())
    low, high = proportion_interval(hits, len(others)) if len(others) else (math.nan, math.nan)
    guard.threshold_, guard.rate = now, rate
    prints = (prompt_fingerprint(rows.texts[i], plain=guard.plain) for i in mine)
    guard.seen_ = tuple(sorted({*guard.seen_, *prints}))
    few = now.warning()
    kept = [n for n in guard.notes_ if not n.startswith("the threshold rests on")]
    told: list[str] = [*kept, *rows.notes, *([few] if few else [])]
    guard.notes_ = tuple(dict.fromkeys(told))
    return Recalibration(
        before=before,
        threshold=now,
        rows=len(mine),
        seen_before=float((logits[mine] > before.logit).mean()),
        others=len(others),
        flagged=hits,
        low=low,
        high=high,
    )
