"""Which columns of a table are inputs: those whose every cell is a number or missing.

A column of words is left out and the data set's note says so. A word among numbers is an error with its row and column:
leaving the whole column out for it would change what the network is asked.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cutaway.errors import InputError

LONGEST = 40  # characters of a cell that are shown
_CELLS = frozenset({"object", "str", "string"})  # types of a column whose cells are looked at one by one


@dataclass(slots=True)
class _Seen:
    """Cells that are there: numbers, numbers kept as text, true or false, other words; and the row and text of the
    first of the last two."""

    numbers: int = 0
    texts: int = 0
    truths: int = 0
    words: int = 0
    first: tuple[int, str] = (0, "")

    def odd(self, count: int, kind: str, row: int, text: object) -> None:
        """Take in `count` cells of this kind, the first of them in this row."""
        if not self.truths + self.words:
            shown = str(text)
            self.first = (row, shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}...")
        setattr(self, kind, getattr(self, kind) + count)

    def settled(self) -> tuple[int, int]:
        """How many are numbers and how many words. True and false are numbers where nothing else is there: whether a
        part of a file shows them as such must not depend on where parts begin."""
        numbers = self.numbers + self.texts
        if numbers or self.words:
            return numbers, self.words + self.truths
        return self.truths, 0


@contextlib.contextmanager
def no_more_fields() -> Iterator[None]:
    """Rows of more fields than the header are a `ValueError` where pandas reads with `index_col=False`: it would leave
    the last out, and without that take the first as the rows' names."""
    import pandas

    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)
        try:
            yield
        except pandas.errors.ParserWarning as warning:
            raise ValueError("rows of more fields than the header") from warning


class ColumnsSeen:
    """The columns of a table, looked at part after part.

    `typed`: the table has types of its own (a data frame), so that a column of text alone is meant as text, whatever it
    says; of a CSV file a text that says a number is one. Memory: a count a column.
    """

    def __init__(self, names: Sequence[str], where: str, *, typed: bool) -> None:
        self._seen = {name: _Seen() for name in names}
        self._where, self._typed = where, typed

    def look(self, frame: Any, start: int = 0) -> None:
        """Take in these columns of a frame whose first row has the number `start`."""
        from pandas.api import types

        part = frame[list(self._seen)]
        for seen, kind, count, name in zip(self._seen.values(), part.dtypes, part.count(), self._seen, strict=True):
            if not count:
                continue
            if types.is_bool_dtype(kind):
                at = int(part[name].notna().to_numpy().argmax())
                seen.odd(int(count), "truths", start + at, bool(part[name].iloc[at]))
            elif types.is_numeric_dtype(kind) and not types.is_complex_dtype(kind):
                seen.numbers += int(count)
            elif str(kind) in _CELLS:
                _cell_by_cell(seen, part[name], start)
            else:  # times, categories: never numbers
                seen.odd(int(count), "words", start, part[name].iloc[0])

    def inputs(self) -> list[str]:
        """The columns of numbers. Raises `InputError` for one in which a word stands among as many numbers or more."""
        return [name for name, seen in self._seen.items() if self._numeric(name, seen)]

    def left(self) -> list[str]:
        """The other columns, in words for a note: how many of their cells are numbers all the same."""
        return [self._told(name, seen) for name, seen in self._seen.items() if not self._numeric(name, seen)]

    def _numeric(self, name: str, seen: _Seen) -> bool:
        numbers, words = seen.settled()
        if 0 < words <= numbers:
            row, text = seen.first
            raise InputError(
                f"row {row} of {self._where}, column {name!r}",
                found=f"{text!r}, which is no number (so {words} of {numbers + words} cells)",
                expected="numbers in the whole column, or words in most of it",
                remedy="write a number there, leave the row out, or leave the column out",
            )
        return not words and not _meant_as_text(seen, self._typed)

    def _told(self, name: str, seen: _Seen) -> str:
        numbers, words = seen.settled()
        if words:
            return f"{name} (though {numbers} of {numbers + words} cells are)" if numbers else name
        return f"{name} (text that says numbers: convert it to have it read)"


def _meant_as_text(seen: _Seen, typed: bool) -> bool:
    return typed and seen.texts > 0 and not seen.numbers


def _cell_by_cell(seen: _Seen, values: Any, start: int) -> None:
    import pandas

    there = values.notna().to_numpy()
    cells = values.to_numpy(dtype=object)[there]
    try:
        found = np.asarray(pandas.to_numeric(pandas.Series(cells, dtype=object), errors="coerce"), dtype=float)
    except OverflowError:  # a whole number beyond float64
        found = np.array([_number(cell) for cell in cells])
    words, rows = np.isnan(found), start + np.flatnonzero(there)
    truths = np.array([isinstance(cell, bool | np.bool_) for cell in cells], dtype=bool)
    texts = np.array([isinstance(cell, str | bytes) for cell in cells], dtype=bool) & ~words
    seen.texts += int(texts.sum())
    seen.numbers += int((~words & ~truths & ~texts).sum())
    for odd, kind in sorted(((words, "words"), (truths, "truths")), key=lambda pair: int(pair[0].argmax())):
        if odd.any():
            at = int(odd.argmax())
            seen.odd(int(odd.sum()), kind, int(rows[at]), cells[at])


def _number(cell: Any) -> float:
    try:
        return float(cell)
    except OverflowError:
        return float("inf")
    except (TypeError, ValueError):
        return float("nan")


def as_inputs(frame: Any) -> np.ndarray:
    """ColumnsSeen of numbers (n, columns) in float32; missing cells are NaN, what float32 does not hold is infinite."""
    cells = np.array([str(kind) in _CELLS for kind in frame.dtypes], dtype=bool)
    found = np.empty(frame.shape, dtype=np.float32)
    with np.errstate(over="ignore"):
        found[:, ~cells] = frame.loc[:, ~cells].to_numpy(dtype=np.float32, na_value=np.nan)
        for k in np.flatnonzero(cells):
            values = frame.iloc[:, k]
            found[:, k] = [_number(cell) for cell in values.where(values.notna(), np.nan)]
    return found


def check_finite_cells(inputs: np.ndarray, names: Sequence[str], where: str, rows: np.ndarray | None = None) -> None:
    """Raises `InputError` for a cell of `inputs` (n, columns) without a finite number: row (`rows` numbers them) and
    column."""
    bad = ~np.isfinite(inputs)
    if not bad.any():
        return
    at, column = np.argwhere(bad)[0]
    count = int(bad.any(1).sum())
    raise InputError(
        f"row {at if rows is None else rows[at]} of {where}, column {str(names[column])!r}",
        found=("NaN or no value" if np.isnan(inputs[at, column]) else "infinity, or a number beyond float32's 3.4e38")
        + f" ({count} of {len(inputs)} rows are not finite)",
        expected="finite inputs",
        remedy="fill it in, leave the row out, or leave the column out",
    )
