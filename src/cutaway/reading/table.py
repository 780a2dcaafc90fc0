"""`Table`: variables, intervals and figures of one reading, packed as they are computed.

    table = context.table({"sample": rows})
    table.mean("region_radius", radius, dims=["sample"], unit="input units", long_name="distance to the edge")

keeps the variable `region_radius(sample)` and makes the figure `region_radius`, the mean with its bootstrap interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, Unpack, cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from cutaway.reading.intervals import bootstrap_interval, mean_interval, median_interval, proportion_interval
from cutaway.reading.rank import Alternative
from cutaway.reading.reading import Figure, variable
from cutaway.status import Status

Band = tuple[float, float]


class Words(TypedDict, total=False):
    """What a figure says beside its number; see `Figure`."""

    unit: str
    long_name: str
    alternative: Alternative
    status: Status
    level: float


class ColumnWords(Words, total=False):
    """What else is said of a figure that is made of a number a row; see `Table`."""

    dims: Sequence[str]
    column: str
    each: str
    kind: str


class Table:
    """Collects `values` (an `xarray.Dataset`) and `figures`.

    `coords`: coordinates by dimension. `seed` and `resamples` (0: none) are those of the bootstrap; all intervals are
    of level 0.95. In every method `dims` keeps the numbers behind the figure as a variable, called `column` (by default
    as the figure), described by `each` (by default as the figure) and of the given `kind`; of bounds it makes a bound.
    """

    def __init__(self, coords: Mapping[str, Any] | None = None, *, seed: int = 0, resamples: int = 400) -> None:
        self.seed, self.resamples = seed, resamples
        self._coords, self._variables, self._figures = dict(coords or {}), {}, []

    @property
    def values(self) -> xr.Dataset:
        return xr.Dataset(self._variables, self._coords)

    @property
    def figures(self) -> tuple[Figure, ...]:
        return tuple(self._figures)

    def coordinate(self, dim: str, values: Any) -> None:
        """The coordinates along `dim`."""
        self._coords[dim] = values

    def keep(
        self,
        name: str,
        values: Any,
        dims: Sequence[str] = (),
        *,
        long_name: str,
        unit: str = "1",
        kind: str = "estimate",
    ) -> None:
        """The variable `name(dims)`."""
        self._variables[name] = variable(values, dims, unit=unit, long_name=long_name, kind=kind)

    def figure(self, name: str, value: float, band: Band | None = None, **words: Unpack[Words]) -> None:
        """The figure `name`, with the interval `band`; `level=1.0` where that bounds it without chance."""
        low, high = band if band is not None else (None, None)
        self._figures.append(Figure(name=name, value=float(value), low=low, high=high, **words))

    def number(self, name: str, value: float, *, kind: str = "estimate", **words: Unpack[Words]) -> None:
        """One number of the whole network, as figure and as variable without dimensions."""
        self.keep(name, value, long_name=_told(name, words), unit=words.get("unit", "1"), kind=kind)
        self.figure(name, value, **words)

    def mean(self, name: str, values: ArrayLike, **words: Unpack[ColumnWords]) -> None:
        """Mean over samples of `values` (n,), with its bootstrap interval."""
        values = np.asarray(values)
        band = mean_interval(values, seed=self.seed, resamples=self.resamples)
        self._spread(name, values, float(values.mean()), band, words)

    def rate(self, name: str, hits: ArrayLike, **words: Unpack[ColumnWords]) -> None:
        """Share of `hits` (n,), zeros and ones, with its Clopper-Pearson interval."""
        hits = np.asarray(hits)
        band = proportion_interval(round(float(hits.sum())), len(hits))
        self._spread(name, hits, float(hits.mean()), band, words)

    def median(self, name: str, values: ArrayLike, **words: Unpack[ColumnWords]) -> None:
        """Median over samples of `values` (n,), with its interval by order statistics."""
        values = np.asarray(values)
        self._spread(name, values, float(np.median(values)), median_interval(values), words)

    def statistic(
        self,
        name: str,
        function: Callable[[NDArray[Any]], float],
        rows: int,
        *,
        fewer: int = 1,
        rescaled: bool = False,
        **words: Unpack[Words],
    ) -> None:
        """`function(indices)` of all `rows`, with its bootstrap interval over rows, widened to hold the value.

        `fewer`: by how much to divide the number of resamples. `rescaled`: as `about` in `bootstrap_interval`.
        """
        value = float(function(np.arange(rows)))
        low, high = bootstrap_interval(
            function, rows, seed=self.seed, resamples=self.resamples // fewer, about=value if rescaled else None
        )
        self.figure(name, value, (min(low, value), max(high, value)), **words)

    def means(
        self,
        name: str,
        values: ArrayLike,
        dims: Sequence[str],
        *,
        long_name: str,
        unit: str = "1",
        band: str = "",
        fewer: int = 2,
        within: Band | None = None,
    ) -> None:
        """Means over samples of `values` (n, k) as the variable `name(dims)`, with the bootstrap intervals `band_low`
        and `band_high` (`band` is `name` by default), cut to `within`; no figure."""
        values = np.asarray(values)
        resamples = self.resamples // fewer
        bands = [mean_interval(column, seed=self.seed, resamples=resamples) for column in values.T]
        if within is not None:
            bands = [(max(low, within[0]), min(high, within[1])) for low, high in bands]
        self.keep(name, values.mean(axis=0), dims, long_name=long_name, unit=unit)
        self._ends(band or name, bands, dims, unit)

    def class_means(
        self,
        name: str,
        values: ArrayLike,
        labels: NDArray[Any],
        dims: Sequence[str],
        *,
        long_name: str,
        unit: str = "1",
    ) -> None:
        """Means of `values` (n, k) over the samples of each class as the variable `name(class, dims)`; no figure."""
        values, classes = np.asarray(values), np.unique(labels)
        means = [values[labels == c].mean(axis=0) for c in classes]
        self.coordinate("class", classes)
        self.keep(name, means, ["class", *dims], unit=unit, long_name=long_name)

    def rates(
        self,
        name: str,
        hits: NDArray[Any],
        counts: NDArray[Any],
        dims: Sequence[str],
        *,
        long_name: str,
        band: str = "",
    ) -> None:
        """Shares `hits / counts` (k,), NaN for a count of 0, as a variable with Clopper-Pearson intervals; no
        figure."""
        share = np.divide(hits, counts, out=np.full(len(hits), np.nan), where=counts > 0)
        self.keep(name, share, dims, long_name=long_name)
        self._ends(band or name, [proportion_interval(int(h), int(n)) for h, n in zip(hits, counts)], dims, "1")

    def _ends(self, name: str, bands: Sequence[Band], dims: Sequence[str], unit: str) -> None:
        ends = np.array(bands, dtype=float).reshape(len(bands), 2)
        for side, end, kind in (("low", ends[:, 0], "lower_bound"), ("high", ends[:, 1], "upper_bound")):
            text = f"{'lower' if side == 'low' else 'upper'} end of its interval"
            self.keep(f"{name}_{side}", end, dims, unit=unit, long_name=text, kind=kind)

    def _spread(self, name: str, values: NDArray[Any], value: float, band: Band, words: ColumnWords) -> None:
        """The figure `name` of `values`, which are kept as a column where `words` name dimensions."""
        plain = cast(Words, {k: v for k, v in words.items() if k in Words.__annotations__})
        kind = words.get("kind", "estimate")
        if (dims := words.get("dims")) is not None:
            text = words.get("each") or _told(name, plain)
            self.keep(words.get("column") or name, values, dims, long_name=text, unit=words.get("unit", "1"), kind=kind)
        self.figure(name, value, band, **_worth(kind, plain))


def _told(name: str, words: Words) -> str:
    return words.get("long_name", "") or name.replace("_", " ")


def _worth(kind: str, words: Words) -> Words:
    """`words` with the status that a statistic of numbers of this kind has, where none is given."""
    return words if "status" in words or not kind.endswith("_bound") else {**words, "status": Status.BOUND}
