"""The count of passes through a network, shared by all views on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Passes:
    """Forward and backward passes so far, in rows. A network, its float64 copy and its staged programs share one."""

    forward: int = 0
    backward: int = 0

    def count(self, forward: int = 0, *, backward: int = 0) -> None:
        """Add passes; those by `Network.forward`, `Parameters.rows` and `Sample.passes` are added already."""
        self.forward += forward
        self.backward += backward
