"""Learning rate by step: pure functions of the settings, so that a resumed run needs no scheduler state.

With T steps, peak rate r and s = step / T: constant r; cosine r (1 + cos pi s) / 2; step r decay^#{m : s >= m} over
the milestones m; one-cycle: cosine from r / 25 to r over the first 30 % and down to r / 250,000 (the shape of Smith
and Topin, arXiv 1708.07120, with torch's default ratios). A linear warm-up over the first W steps multiplies by
(step + 1) / W.
"""

from __future__ import annotations

import math

SCHEDULES = ("constant", "cosine", "step", "one-cycle")
_UP, _START, _END = 0.3, 25.0, 250_000.0


def learning_rate(
    step: int,
    *,
    steps: int,
    peak: float,
    schedule: str = "constant",
    warmup: int = 0,
    milestones: tuple[float, ...] = (0.5, 0.75),
    decay: float = 0.1,
) -> float:
    """The rate of the update number `step` (0 is the first) of `steps`; milestones are shares of `steps`."""
    share = step / steps
    rate = peak
    if schedule == "cosine":
        rate = _blend(peak, 0.0, share)
    elif schedule == "step":
        rate = peak * decay ** sum(share >= m for m in milestones)
    elif schedule == "one-cycle":
        if share < _UP:
            rate = _blend(peak / _START, peak, share / _UP)
        else:
            rate = _blend(peak, peak / _END, (share - _UP) / (1 - _UP))
    return rate * min(1.0, (step + 1) / warmup) if warmup > 0 else rate


def _blend(first: float, last: float, share: float) -> float:
    """Half a cosine from `first` to `last`."""
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2
