"""What a scan will cost, and how to fit it into a time: from one small timed pass of every instrument.

Seconds are taken as linear in the number of rows. Where a pass of `FEW` rows is quick, larger ones follow, of four
times as many rows each; one that is not quick but took less than `ONCE` is made again, since it may have paid for what
happens once (imports). So an estimate is rather too high, and the replicates are counted again once the network itself
has been measured.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cutaway.data.dataset import spread_rows
from cutaway.errors import InputError
from cutaway.evidence.null import null_effort
from cutaway.instrument import Instrument
from cutaway.network import Network
from cutaway.wording import counted

if TYPE_CHECKING:
    from cutaway.data import Dataset

FEW = 8
"""Rows of the small pass; two a class where there are more classes."""

ONCE = 2.0
"""Seconds of a pass that may be what happens once, rather than its rows."""

SHARES = (1.0, 0.5, 0.25, 0.125, 0.0625)
"""Shares of the rows that a plan may take."""

LEAST = 19
"""Nulls below which rows are cut before nulls: the fewest that tell a figure at q = 0.1, where all figures differ."""

_UNITS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """Seconds of one instrument: `base` at `rows` rows, and `slope` for every row more."""

    rows: int
    base: float
    slope: float

    def __call__(self, rows: int) -> float:
        return max(self.base + self.slope * (rows - self.rows), self.base * min(1.0, rows / self.rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPlan:
    """How a scan fits its time: the share of the rows, the number of nulls, and the seconds that are expected of the
    network and of its nulls."""

    share: float
    nulls: int
    observed: float
    replicate: float

    @property
    def seconds(self) -> float:
        return self.observed + self.nulls * self.replicate

    def told(self) -> str:
        """The cost in a sentence."""
        nulls = f", {duration(self.nulls * self.replicate)} for {counted(self.nulls, 'null')}" if self.nulls else ""
        once = f"{duration(self.observed)} for the network"
        return f"This takes about {duration(self.seconds)} on one core: {once}{nulls}."


def parse_duration(text: str | float) -> float:
    """Seconds from `90s`, `10min`, `1.5h` or a number of seconds. Raises `InputError`.

    >>> parse_duration("10min"), parse_duration("1.5h"), parse_duration(30)
    (600.0, 5400.0, 30.0)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", str(text).lower())
    unit = _UNITS.get(match[2] or "s") if match else None
    if match is None or unit is None or float(match[1]) <= 0:
        raise InputError(
            f"time {text!r}", expected="a time such as 90s, 10min or 1h", remedy="write a number and a unit"
        )
    return float(match[1]) * unit


def duration(seconds: float) -> str:
    """A time in words: 40 s, 2.5 min, 3 h."""
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.2g} min" if seconds < 5400 else f"{seconds / 3600:.2g} h"


def cost_lines(chosen: Sequence[Instrument], network: Network, data: Dataset, patience: float) -> dict[str, CostLine]:
    """The line of every instrument that can be measured on a few rows. Cost: passes of `FEW` rows, then four times as
    many and so on, until one takes `patience` seconds or reads all that the instrument reads."""
    found = {}
    for instrument in chosen:
        try:
            found[instrument.name] = _line(instrument, network, data, patience)
        except Exception:  # what fails on a few rows says so when it is measured
            continue
    return found


def _line(instrument: Instrument, network: Network, data: Dataset, patience: float) -> CostLine:
    most = rows_read(instrument, len(data.inputs))
    rows = min(max(FEW, 2 * (data.num_classes or 0)), most)
    fewer = CostLine(rows=0, base=0.0, slope=0.0)
    while True:
        seconds = _timed(instrument, network, data, rows)
        if patience <= seconds < ONCE and rows < most:
            seconds = min(seconds, _timed(instrument, network, data, rows))
        if seconds >= patience or rows >= most:
            break
        fewer = CostLine(rows=rows, base=seconds, slope=0.0)
        rows = min(4 * rows, most)
    slope = max(0.0, seconds - fewer.base) / (rows - fewer.rows) or seconds / rows
    return CostLine(rows=rows, base=seconds, slope=slope)


def _timed(instrument: Instrument, network: Network, data: Dataset, rows: int) -> float:
    part = data.subset(spread_rows(len(data.inputs), rows, data.labels))
    if instrument.lacks(part):
        return 0.0
    began = time.perf_counter()
    instrument.measure(network, part, intervals=False)
    return time.perf_counter() - began


def rows_read(instrument: Instrument, rows: int) -> int:
    """How many of `rows` rows an instrument reads."""
    return min(rows, _points(instrument) or rows)


def _points(instrument: Instrument) -> int | None:
    return getattr(instrument, "num_points", None)


def planned(
    found: dict[str, CostLine], chosen: Sequence[Instrument], rows: int, nulls: int, within: float | None
) -> ScanPlan:
    """The plan with the most rows of those that have time for all `nulls` on a quarter of the rows or more; else of
    those that have time for `LEAST`; else the one with the most nulls.

    Without `within`: all rows and all nulls. Raises `InputError` where not even the network itself can be measured."""
    plans = [_plan(found, chosen, rows, nulls, share, within) for share in (SHARES if within else (1.0,))]
    for least, share in ((nulls, 0.25), (min(nulls, LEAST), 0.0)):
        for plan in plans:
            if plan.nulls >= least and plan.share >= share and (within is None or plan.seconds <= within):
                return plan
    if within is not None and plans[-1].observed > within:
        raise InputError(
            f"the time {duration(within)}",
            found="too little to measure the network once",
            expected=f"at least {duration(plans[-1].observed)}, for {SHARES[-1]:.0%} of the rows",
            remedy="give more with --within, fewer instruments with --only, or fewer rows with --num",
        )
    return max(plans, key=lambda plan: (plan.nulls, plan.share))


def _plan(
    found: dict[str, CostLine], chosen: Sequence[Instrument], rows: int, nulls: int, share: float, within: float | None
) -> ScanPlan:
    lined = [i for i in chosen if i.name in found]
    seconds = {i.name: found[i.name](max(1, round(share * rows_read(i, rows)))) for i in lined}
    observed = sum(seconds.values())
    replicate = sum((1 + null_effort(i.null)) * seconds[i.name] for i in lined if i.null)
    if within is not None and replicate > 0:
        nulls = nulls_in(within - observed, replicate, nulls)
    return ScanPlan(share=share, nulls=nulls, observed=observed, replicate=replicate)


def nulls_in(seconds: float, each: float, asked: int) -> int:
    """How many nulls of `each` seconds fit, at most `asked`."""
    return asked if each <= 0 else max(0, min(asked, int(seconds / each)))


def with_share(
    chosen: Sequence[Instrument], data: Dataset, share: float, seed: int
) -> tuple[list[Instrument], Dataset]:
    """The instruments and the data at a share of their rows: `num_points` of each, and rows drawn with the seed."""
    if share >= 1:
        return list(chosen), data
    rows = len(data.inputs)
    fewer: list[Any] = []
    for instrument in chosen:
        points = _points(instrument)
        wanted = max(FEW, round(share * min(points or rows, rows)))
        fewer.append(dataclasses.replace(instrument, num_points=min(points, wanted)) if points else instrument)
    few = max(FEW, 2 * (data.num_classes or 0), round(share * rows))
    return fewer, data.take(min(few, rows), seed)


def cut_words(plan: ScanPlan, asked: int, within: float, rows: int) -> str:
    """What a plan leaves out to keep to its time, in a sentence; empty where nothing."""
    left = []
    if plan.share < 1:
        left.append(f"{plan.share:.3g} of the rows ({max(FEW, round(plan.share * rows)):,} of {rows:,})")
    if plan.nulls < asked:
        left.append(f"{plan.nulls} of {asked} nulls")
    return f"To keep within {duration(within)}: {' and '.join(left)}." if left else ""
