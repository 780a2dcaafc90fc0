"""One row of a reproduction's table: a quantity, what it is held against, ours, and whether they agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["pass", "fail", "report", "not run"]
Reference = Literal["published", "authors-code", "theory", "own"]
REFERENCES: dict[str, str] = {
    "published": "a table, figure or sentence of the paper",
    "authors-code": "what the authors' code, or data they ship, gives",
    "theory": "a closed form or a solver that is not ours",
    "own": "ours alone: a control, a limit, or an earlier run",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`paper` is the figure or claim held against ours (number or words), `reference` what kind it is, `ours` what came
    out, `low`/`high` its interval.

    `paper` is None exactly where `reference` is "own". `tolerance` says in words or as a number when the two agree.
    `verdict` is `pass`, `fail`, `report` where the figure cannot be compared on this scale and ours is shown as it is,
    or `not run` where what it takes is missing (`ours` says what).
    Raises ValueError for a figure of the paper without its reference, or a reference without a figure.
    """

    quantity: str
    paper: float | str | None = None
    reference: Reference = "own"
    ours: float | str
    low: float | None = None
    high: float | None = None
    tolerance: float | str = ""
    verdict: Verdict

    def __post_init__(self) -> None:
        if (self.paper is None) != (self.reference == "own"):
            raise ValueError(f"row {self.quantity!r}: a figure of a paper needs its kind of reference, ours has none")


def held(
    quantity: str, paper: float | str, reference: Reference, ours: float | str, tolerance: str, holds: bool
) -> Row:
    """A judged row: it passes where `holds`."""
    verdict = "pass" if holds else "fail"
    return Row(quantity=quantity, paper=paper, reference=reference, ours=ours, tolerance=tolerance, verdict=verdict)


def outcome(rows: list[Row]) -> Literal["passed", "failed", "nothing judged", "not run"]:
    """`passed` takes at least one row that could have failed, and none that did."""
    verdicts = {row.verdict for row in rows}
    if "fail" in verdicts:
        return "failed"
    if "pass" in verdicts:
        return "passed"
    return "not run" if verdicts == {"not run"} else "nothing judged"
