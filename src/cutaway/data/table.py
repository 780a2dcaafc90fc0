"""CSV tables read in parts, so that a few rows of a large file cost a few rows, their labels and one part."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.data.cells import ColumnsSeen, as_inputs, check_finite_cells, no_more_fields
from cutaway.data.columns import first_twice, no_column, told_of_columns
from cutaway.data.dataset import choose_rows
from cutaway.errors import CutawayError, FileError, InputError
from cutaway.files import check_size, room

PART_BYTES = 1 << 23  # of the file, about, that are looked at at once
MOST_COLUMNS = 100_000
COLUMN_BYTES = 5_000  # of memory that pandas takes for a column, whatever its rows


def csv_rows(
    path: str | Path, names: tuple[str, ...], *, num: int | None = None, seed: int = 0, **beside: str | None
) -> tuple[np.ndarray, Any, dict[str, Any], str]:
    """Numeric columns (rows, columns) in float32, the labels (numbers, names, or None), the columns named in
    `beside`, under its keys, and a note on what was left out, of a table with a header.

    The label column is the first that is called as one of `names`. A column is numeric where every value is a number
    or missing (`data.cells`). With `num`, that many rows as `choose_rows` draws them. Cost: the file is parsed twice;
    memory: the answer, the labels as numbers and one part. Raises `FileError` for what is no table or takes more than
    `files.room()` bytes, `InputError` for one without numbers, for a word among numbers, for a row without a label and
    for a number that is missing or not finite in a row that is taken.
    """
    with _told(path):
        columns, column = _columns(path, names)
        apart = {kind: name for kind, name in beside.items() if name is not None}
        for name in apart.values():
            if name not in columns:
                raise no_column(path, name, columns)
        column = None if column in apart.values() else column
        numeric, left, coded, count = _looked_through(path, columns, column, set(apart.values()))
        labels = coded.get(column)
        if not numeric:
            raise InputError(
                f"file {path}",
                found=f"columns {', '.join(columns[:8])}, none numeric",
                expected="numeric columns as inputs",
                remedy=_unnumbered(columns),
            )
        rows = None
        if num is not None:
            if not 1 <= num <= count:
                raise InputError(
                    f"data set {Path(path).stem!r}",
                    found=f"a request for {num} rows",
                    expected=f"1 to {count}",
                    remedy="give a number in this range",
                )
            rows = choose_rows(count, num, seed, None if labels is None else labels[0])
        check_size(f"file {path}", 4 * len(numeric) * (count if rows is None else len(rows)), room(), "unpacked")
        inputs = _values(path, columns, numeric, rows)
        check_finite_cells(inputs, numeric, str(path), rows)
    chosen = {k: words[codes if rows is None else codes[rows]] for k, (codes, words) in coded.items()}
    return (
        inputs,
        chosen.get(column),
        {kind: chosen[name] for kind, name in apart.items()},
        told_of_columns(left, column, numeric),
    )


def _unnumbered(columns: list[str]) -> str:
    """What to do about a table without a column of numbers."""
    if len(columns) == 1 and (mark := next((m for m in (";", "\t", "|") if m in columns[0]), None)):
        return f"separate its fields by commas instead of {mark!r}"
    return "encode categories and text as numbers first"


def _columns(path: str | Path, names: tuple[str, ...]) -> tuple[list[str], str | None]:
    import pandas

    with _Bounded(path) as file:
        count = _count_columns(file)
    if count > MOST_COLUMNS:
        raise FileError(
            f"file {path}",
            found=f"more than {MOST_COLUMNS:,} columns",
            expected=f"at most {MOST_COLUMNS:,}",
            remedy="leave columns out",
        )
    check_size(f"file {path}, {count:,} columns", COLUMN_BYTES * count, room(), "unpacked")
    with _Bounded(path) as file:
        columns = [str(c) for c in pandas.read_csv(file, nrows=0).columns]
    with _Bounded(path) as file:  # the names as they stand: pandas numbers those that are there twice
        head = pandas.read_csv(file, header=None, nrows=1, dtype=str).iloc[0].dropna().tolist()
    if twice := first_twice(head):
        raise FileError(
            f"file {path}",
            found=f"two columns called {twice!r}",
            expected="a name of its own for every column",
            remedy="rename one of them, or leave it out",
        )
    return columns, next((c for c in columns if c.lower() in names), None)


def _count_columns(file: io.FileIO) -> int:
    """Fields of the first record that is not blank, counted up to one more than are read: pandas would make objects
    of all of them first."""
    count, quoted, seen = 1, False, False
    while block := file.read(1 << 16):
        for number, piece in enumerate(block.replace(b"\r", b"\n").split(b'"')):
            quoted ^= number > 0
            seen |= number > 0
            for line in [piece] if quoted else piece.splitlines(keepends=True):
                count += 0 if quoted else line.count(b",")
                seen |= bool(line.strip())
                if count > MOST_COLUMNS or (seen and not quoted and line.endswith(b"\n")):
                    return count
    return count


def _looked_through(
    path: str | Path, columns: list[str], label: str | None, beside: set[str]
) -> tuple[list[str], list[str], dict[str | None, tuple[np.ndarray, np.ndarray]], int]:
    """Numeric columns, the words of those left out, label and those of `beside` as numbers and what these stand for,
    and the number of rows."""
    coded = {name: _Codes(path, f"column {name!r}") for name in beside}
    coded |= {} if label is None else {label: _Codes(path, f"label column {label!r}")}
    others, count = ColumnsSeen([c for c in columns if c not in coded], str(path), typed=False), 0
    for part in _parts(path, columns, dtype=dict.fromkeys(coded, str) or None):
        others.look(part, count)
        for name, codes in coded.items():
            codes.add(part[name], count)
        count += len(part)
    if not count:
        raise FileError(
            f"file {path}",
            found="no rows",
            expected="a header and at least one row",
            remedy="add rows below the header",
        )
    return others.inputs(), others.left(), {name: codes.all() for name, codes in coded.items()}, count


class _Codes:
    """A column's values as numbers, part after part."""

    def __init__(self, path: str | Path, what: str) -> None:
        self._path, self._what = path, what
        self._seen: dict[str, int] = {}
        self._parts: list[np.ndarray] = []

    def add(self, values: Any, start: int) -> None:
        import pandas

        missing = values.isna().to_numpy()
        if missing.any():
            raise InputError(
                f"row {start + int(missing.argmax())} of {self._path}",
                found=f"no value in {self._what}",
                expected="one in every row",
                remedy="drop these rows, or give them a value of their own",
            )
        codes, words = pandas.factorize(values)
        own = np.array([self._seen.setdefault(word, len(self._seen)) for word in words])
        self._parts.append(own[codes].astype(np.min_scalar_type(len(self._seen))))
        check_size(f"{self._what} of {self._path}", 100 * len(self._seen), room(), "unpacked")

    def all(self) -> tuple[np.ndarray, np.ndarray]:
        import pandas

        words = np.array(list(self._seen), dtype=object)
        with contextlib.suppress(ValueError):  # names stay names
            words = np.asarray(pandas.to_numeric(words))
        return np.concatenate(self._parts), words


def _values(path: str | Path, columns: list[str], numeric: list[str], rows: np.ndarray | None) -> np.ndarray:
    found, start = [], 0
    for part in _parts(path, columns, usecols=numeric):
        values = as_inputs(part[numeric])
        if rows is not None:
            first, last = np.searchsorted(rows, [start, start + len(part)])
            values = values[rows[first:last] - start]
        found.append(values)
        start += len(part)
    return np.concatenate(found)


def _parts(path: str | Path, columns: list[str], **options: Any) -> Iterator[Any]:
    """Frames of as many rows as take about `PART_BYTES` of the file each."""
    import pandas

    with _Bounded(path) as file:
        head = file.read(min(1 << 20, room()))
        length = len(head) / max(head.count(b"\n"), 1)
        file.seek(0)
        file.part_done()
        rows = max(1, int(min(PART_BYTES / max(length, 1), (PART_BYTES >> 1) / len(columns))))
        reader: Any = pandas.read_csv(file, chunksize=rows, low_memory=False, index_col=False, **options)
        with no_more_fields(), reader as parts:
            for part in parts:
                file.part_done()
                part.columns = [str(c) for c in part.columns]
                yield part


class _Bounded(io.FileIO):
    """A file of which at most `room()` bytes are read for one part."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, "rb")
        self._left = room()

    def part_done(self) -> None:
        self._left = room()

    def read(self, size: int | None = -1, /) -> bytes:  # pyright: ignore[reportIncompatibleMethodOverride]
        content = super().read(-1 if size is None else size)
        self._left -= len(content)
        if self._left < 0:
            raise FileError(
                f"file {self.name}",
                found=f"one row of more than {room():,} bytes",
                expected="a table",
                remedy="check that the file is a table and its quotes are closed",
            )
        return content


@contextlib.contextmanager
def _told(path: str | Path) -> Iterator[None]:
    try:
        yield
    except CutawayError:
        raise
    except FileNotFoundError as error:
        raise FileError(f"data file {path}", found="no such file", remedy="check the path") from error
    except UnicodeDecodeError as error:
        raise FileError(
            f"file {path}",
            found=f"bytes that are no UTF-8 ({error.reason})",
            expected="a table in UTF-8",
            remedy="save it in UTF-8",
        ) from error
    except (ValueError, OSError, OverflowError) as error:  # pandas' own errors are ValueErrors
        raise FileError(
            f"file {path}",
            found=" ".join(str(error).split())[:200] or type(error).__name__,
            expected="a table: a header, and rows of as many fields separated by commas",
            remedy="mend these rows, or save the table again",
        ) from error
