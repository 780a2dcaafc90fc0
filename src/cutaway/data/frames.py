"""A table of the user's as it stands, words and numbers: for what reads columns by name, not inputs and labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cutaway import files
from cutaway.data.cells import no_more_fields
from cutaway.data.columns import first_twice, no_column
from cutaway.data.parquet import parquet_rows
from cutaway.errors import FileError, InputError

if TYPE_CHECKING:
    import pandas
    from numpy.typing import NDArray

MISSING = ["", "nan", "NaN"]
"""What stands for no value in a CSV file; NA, null and None are words that a text may be."""

TRUE = ("true", "yes", "y", "1", "1.0", "right", "correct", "kept", "keep")
FALSE = ("false", "no", "n", "0", "0.0", "wrong", "incorrect", "dropped", "drop")


def read_frame(path: str | Path, what: str = "table", remedy: str = "") -> pandas.DataFrame:
    """The whole table of a .csv or .parquet file that fits `files.room()`. Raises `FileError` for a file that is not
    there, too large, damaged or of another kind; `what` names it there."""
    import pandas

    path = Path(path)
    if path.suffix.lower() == ".parquet":
        return parquet_rows(path, None)
    remedy = remedy or "give a .csv or .parquet file with a header"
    text = files.read_text(path, what, largest=files.room(), remedy="" if not path.exists() else remedy)
    try:
        with no_more_fields():
            words = {"keep_default_na": False, "na_values": MISSING}
            frame = pandas.read_csv(io.StringIO(text), low_memory=False, index_col=False, **words)
        if twice := first_twice(next(csv.reader(io.StringIO(text)), [])):
            raise ValueError(f"two columns called {twice!r}")
    except ValueError as error:
        raise FileError(
            f"{what} {path}",
            found=str(error)[:120],
            expected="a .csv or .parquet file, a header and rows of its fields",
            remedy=remedy,
        ) from error
    return frame


def column_of(frame: pandas.DataFrame, path: str | Path, wanted: str | None, usual: Sequence[str], option: str) -> str:
    """The column that `wanted` names, or the first that is called as one of `usual`; `option` is how a user names it.

    Raises `InputError` where there is none.
    """
    columns = [str(c) for c in frame.columns]
    if wanted is not None:
        if wanted not in columns:
            raise no_column(path, wanted, columns)
        return wanted
    found = next((c for name in usual for c in columns if c.lower() == name), None)
    if found is None:
        raise InputError(
            f"table {path}",
            found=f"columns {', '.join(columns)}",
            expected=f"one called {', '.join(usual[:-1])} or {usual[-1]}"
            if len(usual) > 1
            else f"one called {usual[0]}",
            remedy=f"name the column with {option}" if option.startswith("--") else f"call the column {option}",
        )
    return found


def flags(values: Any, where: str) -> NDArray[np.bool_]:
    """Yes or no (n,), from booleans, 0 and 1, or words (`TRUE`, `FALSE`). Raises `InputError` for a row of neither."""
    words = [str(v).strip().lower() for v in values]
    odd = next((row for row, word in enumerate(words) if word not in TRUE and word not in FALSE), None)
    if odd is not None:
        raise InputError(
            f"{where}, row {odd}",
            found="no value" if words[odd] in ("nan", "none", "") else repr(words[odd]),
            expected="1 or 0, true or false, yes or no",
            remedy="write one of these in every row",
        )
    return np.array([word in TRUE for word in words], dtype=bool)


def finite_numbers(values: Any, where: str) -> NDArray[np.float64]:
    """Numbers (n,) in float64. Raises `InputError` for a row with none, or one that is not finite."""
    import pandas

    found = np.asarray(pandas.to_numeric(pandas.Series(list(values)), errors="coerce"), dtype=float)
    bad = ~np.isfinite(found)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"{where}, row {row}",
            found=repr(list(values)[row]),
            expected="a finite number in every row",
            remedy="mend or drop these rows",
        )
    return found


def words_of(values: Any, where: str) -> list[str]:
    """Words (n,): whole numbers without a point. Raises `InputError` for a row without a value."""
    found = []
    for row, value in enumerate(values):
        if value is None or value != value or str(value) == "":
            raise InputError(
                f"{where}, row {row}",
                found="no value",
                expected="one in every row",
                remedy="drop these rows, or give them a value of their own",
            )
        whole = isinstance(value, float | np.floating) and float(value).is_integer()
        found.append(str(int(value) if whole else value))
    return found
