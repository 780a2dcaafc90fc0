"""Plain records that every floor uses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Something that was not read, and why: nothing is skipped in silence."""

    what: str
    reason: str
