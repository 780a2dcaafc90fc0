"""`Reading`: the one shape of answer of all instruments.

A reading holds an `xarray.Dataset` with named dimensions and units, and beside it the few figures a reader wants first,
each with an interval, a p-value against a null, and a status that says what it is worth.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas
import xarray as xr

from cutaway import _late
from cutaway.errors import InputError
from cutaway.reading.provenance import Cost, Coverage, Provenance
from cutaway.reading.rank import Alternative, p_value
from cutaway.status import Status
from cutaway.wording import title

if TYPE_CHECKING:
    import altair


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of a reading.

    `low` and `high` bound it at confidence `level`, 1 where that is a bound and no matter of chance; `p_value` is its
    rank among what networks that learned nothing give (`alternative` says which direction counts as evidence, `none`
    that no null applies), `q_value` the same after control of the false-discovery rate. `null_median` is what the null
    gives, `null_draws` its finite draws. A figure that could not be computed is NaN, never zero.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    unit: str = "1"
    status: Status = Status.ESTIMATE
    alternative: Alternative = "two-sided"
    p_value: float | None = None
    q_value: float | None = None
    null_median: float | None = None
    null_count: int = 0
    null_draws: tuple[float, ...] = dataclasses.field(default=(), repr=False)
    long_name: str = ""

    @property
    def called(self) -> str:
        """What it is called in a sentence or a table."""
        return self.long_name or self.name.replace("_", " ")

    @property
    def sure(self) -> bool:
        """Whether `low` and `high` are bounds that hold without chance, not a confidence interval."""
        return self.low is not None and self.high is not None and self.level >= 1.0

    @property
    def error(self) -> float:
        """How far `low` or `high` is from the value, whichever is farther; NaN without them."""
        if self.low is None or self.high is None:
            return math.nan
        return max(self.high - self.value, self.value - self.low)

    def told(self) -> str:
        """`words: value unit, 95 % interval low to high (null median ..., p = ...)`; of a bound, `off by at most
        ...`."""
        value = "infinite" if self.value == math.inf else f"{self.value:.4g}"
        text = f"{self.called}: {value}" + ("" if self.unit == "1" else f" {self.unit}")
        if self.low is not None and self.high is not None and not math.isnan(self.low + self.high):
            ends = f"{100 * self.level:g} % interval {self.low:.4g} to {self.high:.4g}"
            text += f", off by at most {self.error:.2g}" if self.sure else f", {ends}"
        if self.p_value is not None:
            null = "" if self.null_median is None else f"null: {self.null_median:.4g}, "
            text += f" ({null}p = {self.p_value:.3g})"
        return text


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Reading:
    """Values, figures, status, coverage, cost and provenance of one measurement.

    `values`: `xarray.Dataset`; every variable carries the attributes `unit`, `long_name` and `kind` (`exact`,
    `lower_bound`, `upper_bound`, `estimate`). `reason` says why, when the status is `unsupported`.
    """

    values: xr.Dataset
    figures: tuple[Figure, ...]
    status: Status
    coverage: Coverage = field(default_factory=Coverage)
    cost: Cost = field(default_factory=Cost)
    provenance: Provenance
    reason: str = ""
    null: str = ""

    @property
    def instrument(self) -> str:
        return self.provenance.instrument

    def figure(self, name: str) -> Figure:
        """The figure called `name`; `InputError` lists the names there are."""
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise InputError(
            f"figure {name!r} of reading {self.instrument!r}",
            found="no such figure",
            expected="one of " + ", ".join(f.name for f in self.figures),
            remedy="give one of these names",
        )

    def against(self, null_readings: Iterable[Reading], *, null: str = "", limit: int | None = None) -> Reading:
        """This reading with a p-value and the null's median beside every figure; `null` is the null's name, by default
        the one that the null readings carry (`replicates` writes it there).

        `null_readings` are readings of the same instrument with the same parameters on networks (or labels) that have
        learned nothing. One-sided p = (1 + #{null at least as extreme}) / (B + 1); two-sided is twice the smaller
        one, at most 1. With `limit`, a figure stops counting at its `limit`-th exceedance (Besag and Clifford 1991):
        p = limit/draws. A NaN in the null counts as an exceedance; a figure that is NaN itself, or in every draw,
        gets no p-value.
        """
        draws: dict[str, list[float]] = {figure.name: [] for figure in self.figures}
        for other in null_readings:
            null = null or other.null
            by_name = {figure.name: figure.value for figure in other.figures}
            for name in draws:
                draws[name].append(by_name.get(name, math.nan))
        judged = []
        for figure in self.figures:
            values = np.asarray(draws[figure.name], dtype=float)
            finite = values[np.isfinite(values)]
            if bool(np.isnan(values).all()) or math.isnan(figure.value) or figure.alternative == "none":
                judged.append(figure)
                continue
            judged.append(
                dataclasses.replace(
                    figure,
                    p_value=p_value(figure.value, values, figure.alternative, limit=limit),
                    null_median=float(np.median(finite)) if finite.size else math.nan,
                    null_count=int(values.size),
                    null_draws=tuple(finite.tolist()),
                )
            )
        return dataclasses.replace(self, figures=tuple(judged), null=null)

    def with_q_values(self, q_values: Mapping[str, float]) -> Reading:
        """This reading with the q-values of a whole scan filled in."""
        return dataclasses.replace(
            self, figures=tuple(dataclasses.replace(f, q_value=q_values.get(f.name)) for f in self.figures)
        )

    def same_result(self, other: Reading, *, relative: float = 0.0, absolute: float = 0.0) -> bool:
        """Whether values and figures agree (cost and time aside) within the given tolerances."""
        if self.status != other.status or [f.name for f in self.figures] != [f.name for f in other.figures]:
            return False
        mine = [x for f in self.figures for x in (f.value, f.low, f.high, f.p_value)]
        theirs = [x for f in other.figures for x in (f.value, f.low, f.high, f.p_value)]
        if not all(_close(a, b, relative, absolute) for a, b in zip(mine, theirs, strict=True)):
            return False
        try:
            if relative == 0.0 and absolute == 0.0:
                xr.testing.assert_identical(self.values, other.values)
            else:
                xr.testing.assert_allclose(self.values, other.values, rtol=relative, atol=absolute)
        except AssertionError:
            return False
        return True

    def identical(self, other: Reading) -> bool:
        """Whether every field agrees: what a round trip through a file must give."""
        return self.same_result(other) and all(
            getattr(self, name) == getattr(other, name)
            for name in ("figures", "coverage", "cost", "provenance", "reason", "null")
        )

    def to_frame(self) -> pandas.DataFrame:
        """The figures as rows: instrument, name, value, low, high, unit, status, p_value, q_value, null_median."""
        columns = ("name", "value", "low", "high", "level", "unit", "p_value", "q_value", "null_median", "long_name")
        rows = [{c: getattr(f, c) for c in columns} | {"status": f.status.value} for f in self.figures]
        frame = pandas.DataFrame(rows, columns=[*columns, "status"])
        frame.insert(0, "instrument", self.instrument)
        return frame

    def __repr__(self) -> str:
        told = [self.status.value, *(f"{f.name}={f.value:.4g}" for f in self.figures[:3]), self.reason]
        return f"Reading({self.instrument}: {', '.join(filter(None, told))})"

    def _repr_html_(self) -> str:
        """The figures as a table, for notebooks."""
        return _late.attached("Reading._repr_html_")(self)

    def summary(self) -> str:
        """The reading in words, one figure a line; their names stand in `to_frame()`."""
        whose = self.provenance.model or "a network"
        lines = [f"{title(self.instrument)} of {whose}: {self.status.value} ({self.status.remedy})"]
        if self.reason:
            lines.append(f"  {self.reason}")
        lines += [f"  {figure.told()}" for figure in self.figures]
        if self.provenance.looks > 1:
            lines.append(f"  look {self.provenance.looks} at these rows: what earlier looks chose looks too good")
        if self.coverage.skipped:
            lines.append("  not read: " + "; ".join(f"{s.what} ({s.reason})" for s in self.coverage.skipped))
        return "\n".join(lines)

    def plot(self, path: str | Path | None = None) -> altair.TopLevelMixin:
        """The instrument's picture of this reading as an Altair chart; saved to `path` (.png, .svg, .html, .json) if
        given.
        """
        chart = _late.attached("Reading.plot")(self)
        if path is not None:
            chart.save(str(path), scale_factor=2.0 if str(path).endswith("png") else 1.0)
        return chart

    def save(self, path: str | Path) -> Path:
        """Write to one file; see `cutaway.reading.store`."""
        from cutaway.reading.store import save_reading

        return save_reading(self, path)

    @staticmethod
    def load(path: str | Path) -> Reading:
        """Read what `save` wrote."""
        from cutaway.reading.store import load_reading

        return load_reading(path)


def variable(
    values: Any, dims: Sequence[str], *, unit: str = "1", long_name: str, kind: str = "estimate"
) -> tuple[tuple[str, ...], np.ndarray, dict[str, str]]:
    """One variable of a reading's dataset, with the attributes that every variable carries.

    `values` has one axis for each of `dims`, any shape.
    """
    return tuple(dims), np.asarray(values), {"unit": unit, "long_name": long_name, "kind": kind}


def _close(a: float | None, b: float | None, relative: float, absolute: float) -> bool:
    if a is None or b is None:
        return a is None and b is None
    return bool(np.isclose(a, b, rtol=relative, atol=absolute, equal_nan=True))
