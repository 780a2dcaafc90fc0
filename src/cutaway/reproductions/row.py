"""One row of a reproduction's table: a published quantity, ours, and whether they agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["pass", "fail", "report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`paper` is the published figure or claim (number or words), `ours` what came out, `low`/`high` its interval.

    `tolerance` says in words or as a number when the two agree. `verdict` is `pass`, `fail`, or `report` where the
    published figure cannot be compared on this scale and ours is shown as it is.
    """

    quantity: str
    paper: float | str | None
    ours: float | str
    low: float | None = None
    high: float | None = None
    tolerance: float | str = ""
    verdict: Verdict
