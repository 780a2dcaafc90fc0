"""Data files of the user as a Dataset: .npz, .npy, .parquet, .csv and a folder of images by class.

uint8 arrays of three or four dimensions are images: (N, H, W), (N, H, W, C) or (N, C, H, W) become NCHW float32 in
[0, 1]. Floating-point arrays are taken as they stand. No file is ever unpickled.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cutaway.data.arrays import opened_npy, opened_npz, unreadable
from cutaway.data.cells import as_inputs, check_finite_cells
from cutaway.data.columns import LABEL_NAMES, no_column, no_columns, told_of_columns, with_columns
from cutaway.data.dataset import Dataset, choose_rows
from cutaway.data.frames import read_frame
from cutaway.data.images import SCALED, image_range, images_to_tensor, load_image_folder, told_of_scale
from cutaway.data.parquet import parquet_columns, parquet_labels, parquet_rows
from cutaway.data.table import csv_rows
from cutaway.data.text import TextSet
from cutaway.errors import CutawayError, FileError, InputError
from cutaway.files import check_size, room

TEXT_NAMES = ("text", "texts", "prompt", "sentence", "question", "content")
"""What a column of texts is called, in small letters."""

INPUT_KEYS, LABEL_KEYS = ("x", "inputs", "X", "images", "data"), ("y", "labels", "Y", "label", "targets")


def load_file(
    path: str | Path,
    *,
    split: str = "test",
    num: int | None = None,
    seed: int = 0,
    groups: str | None = None,
    labels2: str | None = None,
) -> Dataset:
    """Read a data file or an image folder by its suffix; `file.parquet:column` names the label column, `groups` and
    `labels2` an array or a column each. Raises FileError, InputError."""
    text, column = str(path), None
    if not Path(text).exists() and ".parquet:" in text:
        text, column = text.rsplit(":", 1)
    path = Path(text)
    if not path.exists():
        raise FileError(f"data file {path}", found="no such file or folder", remedy="check the path")
    beside: dict[str, Any] = {"groups": groups, "labels2": labels2}
    if path.is_dir() or path.suffix == ".npy":
        no_columns(str(path), groups, labels2)
    if path.is_dir():
        return load_image_folder(path, split=split, num=num, seed=seed)
    if path.suffix == ".npz":
        data = load_npz(path, split=split, **beside)
    elif path.suffix == ".npy":
        return load_npy(path, num=num, seed=seed)
    elif path.suffix == ".parquet":
        return load_parquet(path, label_column=column, num=num, seed=seed, **beside)
    elif path.suffix == ".csv":
        return load_csv(path, num=num, seed=seed, **beside)
    else:
        raise FileError(
            f"data file {path}",
            found=f"suffix {path.suffix or '(none)'}",
            expected=".npz, .npy, .parquet, .csv or a folder of images by class",
            remedy="convert it, for instance with numpy.savez(path, x=inputs, y=labels)",
        )
    return data if num is None else data.take(num, seed)


def load_csv(
    path: str | Path, *, num: int | None = None, seed: int = 0, groups: str | None = None, labels2: str | None = None
) -> Dataset:
    """A table with a header: numeric columns are inputs (N, columns), a column called label, y, target or class holds
    class numbers or names; `groups` and `labels2` name columns that are no inputs. Read in parts
    (`data.table.csv_rows`); raises what that and `as_dataset` raise."""
    from cutaway.data.anything import as_dataset

    inputs, labels, kept, note = csv_rows(path, LABEL_NAMES, num=num, seed=seed, groups=groups, labels2=labels2)
    data = as_dataset(inputs if labels is None else (inputs, labels), name=Path(path).stem, **kept)
    return replace(data, note="; ".join(filter(None, (data.note, note))))


def load_npz(
    path: str | Path, *, split: str = "test", groups: str | None = None, labels2: str | None = None
) -> Dataset:
    """Inputs under x_SPLIT, x, inputs, images or data; labels (optional) under y_SPLIT, y, labels or targets; class
    names under classes; groups and second labels under the names given, or these with _SPLIT.

    Raises `InputError` for a file without inputs and for arrays that are no numbers.
    """
    asked = {kind: key for kind, key in (("groups", groups), ("labels2", labels2)) if key is not None}
    try:
        with opened_npz(path) as archive:
            keys = list(archive.files)
            input_key = _first_key(keys, (f"x_{split}", f"X_{split}", *INPUT_KEYS))
            if input_key is None:
                raise InputError(
                    f"file {path}",
                    found=f"arrays {', '.join(keys) or 'none'}",
                    expected=f"inputs named x_{split}, x or inputs",
                    remedy="name the arrays x and y",
                )
            label_key = _first_key(
                keys, (f"y_{split}", f"Y_{split}") if input_key.endswith(f"_{split}") else LABEL_KEYS
            )
            inputs = archive[input_key]
            labels = archive[label_key] if label_key else None
            classes = _first_key(keys, ("classes", "class_names"))
            names = tuple(str(name) for name in archive[classes]) if classes else None
            beside = {kind: archive[_key(path, keys, key, split)] for kind, key in asked.items()}
    except CutawayError:
        raise
    except Exception as error:  # NumPy and zlib raise many kinds for damaged files
        raise unreadable(path, "npz", error) from error
    return with_columns(_from_arrays(Path(path).stem, inputs, labels, names), **beside)


def load_npy(path: str | Path, *, num: int | None = None, seed: int = 0) -> Dataset:
    """One array of inputs, without labels; only the chosen rows are read.

    Raises `InputError` for arrays that are no numbers and for more rows than there are.
    """
    try:
        inputs = opened_npy(path)
        if num is not None and inputs.ndim:
            inputs = inputs[choose_rows(len(inputs), _checked_num(path, num, len(inputs)), seed, None)]
        check_size(f"file {path}", inputs.size * inputs.dtype.itemsize, room())
    except CutawayError:
        raise
    except Exception as error:  # NumPy raises many kinds for damaged files
        raise unreadable(path, "npy", error) from error
    return _from_arrays(Path(path).stem, inputs, None, None)


def load_parquet(
    path: str | Path,
    *,
    label_column: str | None = None,
    columns: tuple[str, ...] | None = None,
    num: int | None = None,
    seed: int = 0,
    groups: str | None = None,
    labels2: str | None = None,
) -> Dataset:
    """Numeric columns as inputs (N, columns); `label_column` (default: one called label or y) holds class numbers or
    class names, `groups` and `labels2` name columns that are no inputs. With `num`, labels are read first, then only
    the row groups that hold chosen rows, one at a time.

    Raises `InputError` for a file without numeric columns, a column that is not numeric, and more rows than there are.
    """
    names, types, count = parquet_columns(path)
    if label_column is None:
        label_column = _first_key(names, LABEL_NAMES) or next((n for n in names if n.lower() in LABEL_NAMES), None)
    elif label_column not in names:
        raise no_column(path, label_column, names)
    beside = [column for column in (groups, labels2) if column is not None]
    for column in (*(columns or ()), *beside):
        if column not in names:
            raise no_column(path, column, names)
    asked = columns is not None
    if columns is None:
        columns = tuple(n for n in names if n not in (label_column, *beside) and types[n] in "fiub")
    if not columns:
        raise InputError(
            f"file {path}",
            found=f"no numeric column among {', '.join(names)}",
            expected="numeric columns as inputs",
            remedy="texts are read with cutaway.data.load_text",
        )
    missing = [c for c in columns if types[c] not in "fiub"]
    if missing:
        raise InputError(
            f"column {missing[0]!r} of {path}",
            found="no numbers",
            expected="numbers",
            remedy="leave the column out, or convert it to numbers",
        )
    numbers, classes = None, None
    if label_column is not None:
        numbers, classes = parquet_labels(path, label_column)
    rows = None
    if num is not None:
        rows = choose_rows(count, _checked_num(path, num, count), seed, numbers)
        numbers = None if numbers is None else numbers[rows]
    table = parquet_rows(path, [*columns, *beside], rows)
    numeric = as_inputs(table[list(columns)])
    check_finite_cells(numeric, columns, str(path), rows)
    inputs = torch.from_numpy(numeric)
    labels = None if numbers is None else torch.from_numpy(numbers.astype(np.int64))
    left = () if asked else [n for n in names if n not in (label_column, *beside, *columns)]
    note = told_of_columns(left, label_column, columns)
    data = Dataset(name=Path(path).stem, inputs=inputs, labels=labels, class_names=classes, note=note)
    kept = {k: table[column].to_numpy() for k, column in (("groups", groups), ("labels2", labels2)) if column}
    return with_columns(data, **kept)


def _checked_num(path, num: int, count: int) -> int:
    if not 1 <= num <= count:
        raise InputError(
            f"data set {Path(path).stem!r}",
            found=f"a request for {num} rows",
            expected=f"1 to {count}",
            remedy="give a number in this range",
        )
    return num


def load_text(
    path: str | Path, *, text_column: str = "text", label_column: str | None = "label", group_column: str | None = None
) -> TextSet:
    """Texts of a Parquet file with their labels (class names are sorted and numbered) and, if named, a column of
    groups. Raises InputError without such a column, FileError for what is no such file."""
    wanted = [column for column in (text_column, label_column, group_column) if column is not None]
    names, _, _ = parquet_columns(path)
    for column in wanted:
        if column not in names:
            raise no_column(path, column, names)
    table = parquet_rows(path, list(dict.fromkeys(wanted)))
    labels, classes = _label_column(path, table, label_column)
    groups = None if group_column is None else tuple(str(g) for g in table[group_column])
    return TextSet(
        name=Path(path).stem, texts=tuple(table[text_column]), labels=labels, class_names=classes, groups=groups
    )


def load_texts(path: str | Path, *, group_column: str | None = None) -> TextSet:
    """Texts of a table (.parquet, .csv) as people have them: its column text (prompt, sentence, question, content), or
    the only one of words; labels where it has a column label, groups if named.

    Raises `InputError` for a table in which no column is the texts, rows without one and labels that are none,
    `FileError` for what is no such table.
    """
    if Path(path).suffix.lower() not in (".parquet", ".csv"):
        raise FileError(
            f"texts {path}",
            found="no such file" if not Path(path).exists() else f"suffix {Path(path).suffix or '(none)'}",
            expected="a table (.parquet, .csv) with a column text, or token rows (.npz, .npy)",
            remedy="write one text a row under a header text, for instance with pandas",
        )
    table = read_frame(path, "texts")
    columns = [str(column) for column in table.columns]
    if group_column is not None and group_column not in columns:
        raise no_column(path, group_column, columns)
    words = [c for c in columns if c not in ("label", group_column) and all(isinstance(v, str) for v in table[c])]
    named = next((c for name in TEXT_NAMES for c in columns if c.lower() == name), None)
    column = named or (words[0] if len(words) == 1 else None)
    if column is None:
        raise InputError(
            f"texts {path}",
            found=f"columns {', '.join(columns)}",
            expected=f"one called {', '.join(TEXT_NAMES[:-1])} or {TEXT_NAMES[-1]}, or a single one of words",
            remedy="call the column of the texts text",
        )
    labels, classes = _label_column(path, table, "label" if "label" in columns else None)
    groups = None if group_column is None else tuple(str(group) for group in table[group_column])
    return TextSet(name=Path(path).stem, texts=tuple(table[column]), labels=labels, class_names=classes, groups=groups)


def _from_arrays(name: str, inputs: np.ndarray, labels: np.ndarray | None, classes: tuple[str, ...] | None) -> Dataset:
    if inputs.dtype.kind not in "fiub":
        raise InputError(
            f"inputs of data set {name!r}",
            found=f"dtype {inputs.dtype}",
            expected="numbers",
            remedy="convert them to numbers",
        )
    value_range, notes = None, []
    if inputs.dtype == np.uint8 and inputs.ndim in (3, 4):
        tensor, value_range = images_to_tensor(inputs), (0.0, 1.0)
        notes.append(SCALED)
    else:
        tensor = torch.from_numpy(np.ascontiguousarray(inputs.astype(np.float32)))
        value_range = image_range(tensor)
        notes += filter(None, [told_of_scale(tensor)])
    if labels is not None:
        if labels.dtype.kind in "US" and classes is None:
            classes, labels = _numbered(labels)
        if labels.dtype.kind not in "iu":
            raise InputError(
                f"labels of data set {name!r}",
                found=f"dtype {labels.dtype}",
                expected="integer class numbers",
                remedy="convert them to whole numbers",
            )
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        labels = labels.astype(np.int64)
    return Dataset(
        name=name,
        inputs=tensor,
        labels=None if labels is None else torch.from_numpy(labels),
        class_names=classes if labels is not None else None,
        value_range=value_range,
        note="; ".join(notes),
    )


def _numbered(labels: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Class names in the order of the alphabet, and the number of each row's."""
    words = labels.astype(str)
    classes, numbers = np.unique(words, return_inverse=True)
    return tuple(map(str, classes)), numbers.reshape(words.shape)


def _label_column(path, table, column: str | None) -> tuple[torch.Tensor | None, tuple[str, ...] | None]:
    if column is None:
        return None, None
    values = table[column]
    if bool(values.isna().any()):
        row = int(np.nonzero(values.isna().to_numpy())[0][0])
        raise InputError(
            f"row {row} of {path}",
            found=f"no value in label column {column!r}",
            expected="a label in every row",
            remedy="fill in the label, or leave the row out",
        )
    if values.dtype.kind in "iub":
        return torch.from_numpy(values.to_numpy(dtype=np.int64).copy()), None
    if values.dtype.kind == "f":
        raise InputError(
            f"label column {column!r} of {path}",
            found="floating-point numbers",
            expected="class numbers or names",
            remedy="convert them to whole numbers or text",
        )
    classes, numbers = _numbered(values.astype(str).to_numpy(dtype=object).astype(str))
    return torch.from_numpy(numbers.astype(np.int64)), classes


def _key(path, keys: list[str], key: str, split: str) -> str:
    """The array of this name for the split, or for all."""
    found = _first_key(keys, (f"{key}_{split}", key))
    if found is None:
        raise no_column(path, key, keys)
    return found


def _first_key(keys: list[str], wanted: tuple[str, ...]) -> str | None:
    return next((key for key in wanted if key in keys), None)
