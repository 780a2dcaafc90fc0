"""Parquet read by columns and row groups, so that a few rows of a large file cost a few rows and one row group."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.data.columns import first_twice
from cutaway.errors import CutawayError, FileError, InputError
from cutaway.files import check_size, room

BATCH = 1 << 16  # rows that are read at once


def parquet_columns(path: str | Path) -> tuple[list[str], dict[str, str], int]:
    """Names, NumPy kinds ("f", "i", "b", ... "O" for what is no number) and the number of rows; reads no row."""
    with _opened(path) as file:
        schema = file.schema_arrow
        if twice := first_twice(schema.names):
            raise FileError(
                f"file {path}",
                found=f"two columns called {twice!r}",
                expected="a name of its own for every column",
                remedy="rename one of them, or leave it out",
            )
        return list(schema.names), {f.name: _kind(f.type) for f in schema}, file.metadata.num_rows


def parquet_rows(path: str | Path, columns: Sequence[str] | None, rows: Any = None) -> Any:
    """A pandas table of `columns` (None: all), of the rows with these numbers in that order (None: all).

    Memory: the chosen rows and one row group of those columns. Raises `FileError`, also where these take more than
    `files.room()` bytes.
    """
    with _opened(path) as file:
        if rows is None:
            check_size(f"file {path}", sum(_sizes(file, columns)), room(), "unpacked")
            return file.read(columns=None if columns is None else list(columns)).to_pandas()
        return _some(file, path, list(columns or file.schema_arrow.names), np.asarray(rows))


def parquet_labels(path: str | Path, column: str) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Class numbers of all rows, in the smallest integers that hold them, and, where the column holds names, their
    sorted names.

    Memory: the numbers and one batch of rows. Raises `InputError` for a row without a label and for floating-point
    numbers.
    """
    numbers: dict[str, int] = {}
    parts, row = [], 0
    with _opened(path) as file:
        for batch in file.iter_batches(BATCH, columns=[column]):
            values = batch.column(0)
            if values.null_count:
                raise _no_label(
                    row + int(np.nonzero(values.is_null().to_numpy(zero_copy_only=False))[0][0]), path, column
                )
            parts.append(_class_numbers(values, numbers, path, column))
            row += len(batch)
    found = np.concatenate(parts) if parts else np.zeros(0, np.uint8)
    if not numbers:
        return found, None
    names = sorted(numbers)
    place = np.empty(len(names), dtype=np.min_scalar_type(len(names)))
    place[[numbers[name] for name in names]] = np.arange(len(names))
    return place[found], tuple(names)


def _class_numbers(values, numbers: dict[str, int], path, column: str) -> np.ndarray:
    """One batch; `numbers` counts the names in the order in which they come."""
    import pyarrow as arrow

    if arrow.types.is_floating(values.type):
        raise InputError(
            f"label column {column!r} of {path}",
            found="floating-point numbers",
            expected="class numbers or names",
            remedy="convert them to whole numbers or text",
        )
    if arrow.types.is_integer(values.type) or arrow.types.is_boolean(values.type):
        found = values.to_numpy(zero_copy_only=False)
        return found.astype(np.result_type(np.min_scalar_type(found.min()), np.min_scalar_type(found.max())))
    coded = values.cast(arrow.string()).dictionary_encode()
    own = [numbers.setdefault(name, len(numbers)) for name in coded.dictionary.to_pylist()]
    return np.asarray(own, dtype=np.min_scalar_type(len(numbers)))[coded.indices.to_numpy()]


def _no_label(row: int, path, column: str) -> InputError:
    return InputError(
        f"row {row} of {path}",
        found=f"no value in label column {column!r}",
        expected="a label in every row",
        remedy="fill in the label, or leave the row out",
    )


def _some(file, path, columns: list[str], rows: np.ndarray) -> Any:
    import pyarrow as arrow

    order, parts, start = np.argsort(rows, kind="stable"), [], 0
    ordered = rows[order]
    for i, size in enumerate(_sizes(file, columns)):
        stop = start + file.metadata.row_group(i).num_rows
        if np.searchsorted(ordered, start) < np.searchsorted(ordered, stop):
            check_size(f"row group {i} of {path}", size, room(), "unpacked")
            for batch in file.iter_batches(BATCH, row_groups=[i], columns=columns):
                first, last = np.searchsorted(ordered, [start, start + len(batch)])
                parts.append(arrow.Table.from_batches([batch]).take(arrow.array(ordered[first:last] - start)))
                start += len(batch)
        start = stop
    return arrow.concat_tables(parts).to_pandas().iloc[np.argsort(order)]


def _sizes(file, columns: Sequence[str] | None) -> list[int]:
    """Unpacked bytes of the columns, by row group."""
    sizes = []
    for i in range(file.num_row_groups):
        group = file.metadata.row_group(i)
        chosen = [group.column(k) for k in range(group.num_columns)]
        chosen = [c for c in chosen if columns is None or c.path_in_schema.split(".")[0] in columns]
        sizes.append(sum(max(c.total_uncompressed_size, group.num_rows) for c in chosen))
    return sizes


def _kind(kind: Any) -> str:
    import pyarrow as arrow

    if arrow.types.is_decimal(kind):
        return "f"
    try:
        return np.dtype(kind.to_pandas_dtype()).kind
    except (NotImplementedError, TypeError):
        return "O"


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except FileNotFoundError as error:
        raise FileError(f"data file {path}", found="no such file", remedy="check the path") from error
    except CutawayError:
        raise
    except Exception as error:  # arrow raises many kinds for damaged files
        raise FileError(
            f"file {path}",
            found=f"not a complete parquet file ({str(error).splitlines()[0][:200] if str(error) else error!r})",
            expected="a readable parquet file",
            remedy="it may be truncated: copy or download it again",
        ) from error
