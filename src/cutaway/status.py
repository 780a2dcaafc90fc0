"""What a result is worth, as an enum whose text is the remedy.

A bound is not a certificate, and neither is a sample: every figure and every reading carries one of these.
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Worth of a result, from strongest to weakest; `remedy` says what a reader may do with it."""

    EXACT = "exact"
    CERTIFIED = "certified"
    BOUND = "bound"
    ESTIMATE = "estimate"
    FALSIFIED = "falsified"
    UNKNOWN = "unknown"
    UNSUPPORTED = "unsupported"
    FAILED = "failed"

    @property
    def remedy(self) -> str:
        return _REMEDY[self]


_REMEDY = {
    Status.EXACT: "computed without approximation; quote it",
    Status.CERTIFIED: "proved for every point of the region; quote it with the region",
    Status.BOUND: "true on one side only; tighten the method to learn more",
    Status.ESTIMATE: "measured on a sample; quote it with its interval, take more samples to narrow it",
    Status.FALSIFIED: "a counterexample was found and replayed; look at the witness",
    Status.UNKNOWN: "neither shown nor refuted; give more time or rows, or a smaller region",
    Status.UNSUPPORTED: "the question does not apply to this network, or an operator is missing; see the coverage",
    Status.FAILED: "it was tried and raised an error, which is the reason; mend that and try again",
}
