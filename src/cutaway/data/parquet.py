"""Parquet read by columns and row groups, so that a few rows of a large file cost a few rows and one row group."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.errors import CutawayError, FileError
from cutaway.files import LARGEST, check_size


def parquet_columns(path: str | Path) -> tuple[list[str], dict[str, str], int]:
    """Names, NumPy kinds ("f", "i", "b", ... "O" for what is no number) and the number of rows; reads no row."""
    with _opened(path) as file:
        schema = file.schema_arrow
        return list(schema.names), {f.name: _kind(f.type) for f in schema}, file.metadata.num_rows


def parquet_rows(path: str | Path, columns: Sequence[str] | None, rows: Any = None) -> Any:
    """A pandas table of `columns` (None: all), of the rows with these numbers in that order (None: all).

    Memory: the chosen rows and one row group of those columns. Raises `FileError`, also where these take more than
    `LARGEST` bytes.
    """
    with _opened(path) as file:
        if rows is None:
            check_size(f"file {path}", sum(_sizes(file, columns)), LARGEST, "unpacked")
            return file.read(columns=None if columns is None else list(columns)).to_pandas()
        return _some(file, path, list(columns or file.schema_arrow.names), np.asarray(rows))


def _some(file, path, columns: list[str], rows: np.ndarray) -> Any:
    import pyarrow as arrow

    counts = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    starts, order, parts = np.cumsum([0, *counts]), np.argsort(rows, kind="stable"), []
    sizes = _sizes(file, columns)
    for i, (start, stop) in enumerate(itertools.pairwise(starts.tolist())):
        inside = rows[order][(rows[order] >= start) & (rows[order] < stop)]
        if len(inside):
            check_size(f"row group {i} of {path}", sizes[i], LARGEST, "unpacked")
            parts.append(file.read_row_group(i, columns=columns).take(arrow.array(inside - start)))
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
