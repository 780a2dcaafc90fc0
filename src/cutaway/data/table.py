"""CSV tables read in parts, so that a few rows of a large file cost a few rows, their labels and one part."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.data.arrays import unreadable
from cutaway.data.dataset import choose_rows
from cutaway.errors import CutawayError, FileError, InputError
from cutaway.files import check_size, room

PART_BYTES = 1 << 23  # of the file, about, that are looked at at once
MOST_COLUMNS = 100_000


def csv_rows(
    path: str | Path, names: tuple[str, ...], *, num: int | None = None, seed: int = 0
) -> tuple[np.ndarray, Any]:
    """Numeric columns (rows, columns) in float32 and the labels (numbers, names, or None) of a table with a header.

    The label column is the first that is called as one of `names`. A column is numeric where every value is a number
    or missing. With `num`, that many rows as `choose_rows` draws them. Cost: the file is parsed twice; memory: the
    answer, the labels as numbers and one part. Raises `FileError` for what is no table or takes more than
    `files.room()` bytes, `InputError` for one without numbers and for a row without a label.
    """
    with _told(path):
        columns, column = _columns(path, names)
        numeric, labels, count = _looked_through(path, columns, column)
        if not numeric:
            raise InputError(
                f"file {path}",
                found=f"columns {', '.join(columns[:8])}, none numeric",
                expected="numeric columns as inputs",
                remedy="encode categories and text as numbers first",
            )
        rows = None
        if num is not None:
            if not 1 <= num <= count:
                raise InputError(
                    f"data set {Path(path).stem!r}", found=f"a request for {num} rows", expected=f"1 to {count}"
                )
            rows = choose_rows(count, num, seed, None if labels is None else labels[0])
        check_size(f"file {path}", 4 * len(numeric) * (count if rows is None else len(rows)), room(), "unpacked")
        inputs = _values(path, columns, numeric, rows)
    if labels is None:
        return inputs, None
    codes, words = labels
    return inputs, words[codes if rows is None else codes[rows]]


def _columns(path: str | Path, names: tuple[str, ...]) -> tuple[list[str], str | None]:
    import pandas

    with _Bounded(path) as file:
        columns = [str(c) for c in pandas.read_csv(file, nrows=0).columns]
    if len(columns) > MOST_COLUMNS:
        raise FileError(f"file {path}", found=f"{len(columns):,} columns", expected=f"at most {MOST_COLUMNS:,}")
    return columns, next((c for c in columns if c.lower() in names), None)


def _looked_through(
    path: str | Path, columns: list[str], column: str | None
) -> tuple[list[str], tuple[np.ndarray, np.ndarray] | None, int]:
    """Numeric columns, labels as numbers and what these stand for, and the number of rows."""
    import pandas

    numeric, seen, parts, count = set(columns) - {column}, {}, [], 0
    for part in _parts(path, columns, dtype={column: str} if column is not None else None):
        numeric &= {str(c) for c in part.select_dtypes("number").columns}
        if column is not None:
            missing = part[column].isna().to_numpy()
            if missing.any():
                raise InputError(
                    f"row {count + int(missing.argmax())} of {path}",
                    found=f"no value in label column {column!r}",
                    expected="a label in every row",
                )
            codes, words = pandas.factorize(part[column])
            own = np.array([seen.setdefault(word, len(seen)) for word in words])
            parts.append(own[codes].astype(np.min_scalar_type(len(seen))))
            check_size(f"labels of {path}", 100 * len(seen), room(), "unpacked")
        count += len(part)
    if not count:
        raise FileError(f"file {path}", found="no rows", expected="a header and at least one row")
    kept = [c for c in columns if c in numeric]
    if column is None:
        return kept, None, count
    words = np.array(list(seen), dtype=object)
    with contextlib.suppress(ValueError):  # names stay names
        words = np.asarray(pandas.to_numeric(words))
    return kept, (np.concatenate(parts), words), count


def _values(path: str | Path, columns: list[str], numeric: list[str], rows: np.ndarray | None) -> np.ndarray:
    found, start = [], 0
    for part in _parts(path, columns, usecols=numeric):
        values = part[numeric].to_numpy(dtype=np.float32)
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
        with pandas.read_csv(file, chunksize=rows, low_memory=False, **options) as parts:
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
            raise FileError(f"file {self.name}", found=f"one row of more than {room():,} bytes", expected="a table")
        return content


@contextlib.contextmanager
def _told(path: str | Path) -> Iterator[None]:
    try:
        yield
    except CutawayError:
        raise
    except FileNotFoundError as error:
        raise FileError(f"data file {path}", found="no such file", remedy="check the path") from error
    except (ValueError, OSError, OverflowError) as error:  # pandas' own errors are ValueErrors
        raise unreadable(path, "csv", error) from error
