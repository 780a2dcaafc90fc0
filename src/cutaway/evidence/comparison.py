"""How far the score of what was tuned by comparisons on some rows may be from fresh rows.

Source: Labiad et al. 2025 (arXiv 2507.01752).
"""

from __future__ import annotations

import math

from cutaway.errors import InputError


def comparison_bound(rounds: int, ways: int, rows: int, delta: float = 0.05) -> float:
    """Largest difference between the mean loss on the `rows` that a search compared on and on fresh ones, with
    probability 1 - `delta` or more: sqrt((b ln k + ln(2 / delta)) / (2 n)) for b = `rounds` comparisons of k = `ways`
    outcomes on n = `rows` independent rows, losses in [0, 1].

    All numbers. A search that sees its rows by comparisons alone can end at no more than k^b models, whatever it
    compares and however it proposes, and the bound holds for all of these at once. It counts every comparison that was
    ever made on these rows: restarts, thresholds and prompts that were tried, a tie where it is an outcome of its own
    (k = 3). 0 rounds: Hoeffding's inequality for one model. At 1 or more it says nothing. Exact value of a bound.
    Raises `InputError` for numbers outside their range. Source: Labiad et al. 2025 (arXiv 2507.01752); their privacy
    claim is not ours.

    >>> [round(comparison_bound(b, 2, 7473), 3) for b in (150, 1200)]
    [0.085, 0.236]
    """
    if not (rounds >= 0 and ways >= 2 and rows >= 1 and 0 < delta < 1):
        raise InputError(
            "bound of a tuning by comparisons",
            found=f"{rounds} rounds of {ways} ways on {rows} rows, delta {delta:g}",
            expected="rounds at least 0, ways at least 2, rows at least 1, delta above 0 and below 1",
            remedy="count every comparison ever made on these rows",
        )
    return math.sqrt((rounds * math.log(ways) + math.log(2 / delta)) / (2 * rows))


def rounds_within(gap: float, ways: int, rows: int, delta: float = 0.05) -> int:
    """The most comparisons that keep `comparison_bound` at or below `gap`; -1 where no model can be judged so well.

    All numbers; exact. Raises `InputError` as `comparison_bound`, and for a gap that is not positive. Source: as there.
    """
    comparison_bound(0, ways, rows, delta)
    if not gap > 0:
        raise InputError("gap of a tuning", found=f"{gap:g}", expected="above 0", remedy="give a share such as 0.05")
    return max(-1, math.floor((2 * rows * gap**2 - math.log(2 / delta)) / math.log(ways) + 1e-9))
