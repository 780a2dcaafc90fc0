"""What people hold their data in, as a `Dataset`: tensors, arrays, frames, torch and Hugging Face data sets, loaders.

Nothing is converted in silence: images of whole numbers 0 to 255 are divided by 255 and numbered string labels keep
their names; the data set's note says so, and so does every report on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cutaway._compat import own_device
from cutaway.data.cells import ColumnsSeen, as_inputs, check_finite_cells
from cutaway.data.columns import LABEL_NAMES, first_twice, told_of_columns, with_columns
from cutaway.data.dataset import Dataset
from cutaway.data.images import SCALED, image_range, images_to_tensor, told_of_scale
from cutaway.errors import InputError, did_you_mean

MOST_ROWS = 100_000
"""Rows taken from a source that is read row by row."""


@own_device()
def as_dataset(data: Any, *, name: str = "", groups: Any = None, labels2: Any = None) -> Dataset:
    """`data` as a checked `Dataset`.

    Accepted: a `Dataset`; the name of a set or a path; inputs (n, ...), or a pair (inputs, labels), of tensors, arrays
    or lists; a pandas frame (numeric columns are inputs, a column called label, y, target or class the labels); a
    Hugging Face data set (its numeric columns, or its images, likewise); a torch `Dataset` of pairs or a `DataLoader`
    (read whole, at most 100,000 rows). Labels may be class names. `groups` and `labels2`: one value a row, or the name
    of a column of a frame, a Hugging Face data set or a file, which is then no input. Raises `InputError` for anything
    else, for labels that are neither names nor whole numbers, and what `Dataset` raises.
    """
    if isinstance(data, str | Path):
        from cutaway.data.named import load_data

        wanted = {"groups": groups, "labels2": labels2}
        in_file: dict[str, Any] = {kind: value for kind, value in wanted.items() if isinstance(value, str)}
        return with_columns(load_data(data, **in_file), **{k: v for k, v in wanted.items() if k not in in_file})
    data, groups = _without_column(data, groups, "groups")
    data, labels2 = _without_column(data, labels2, "labels2")
    if isinstance(data, Dataset):
        return with_columns(data, groups, labels2)
    for fits, read in _READERS:
        if fits(data):
            inputs, labels, left = read(data)
            made = _made(inputs, labels, name or "your data", left)
            return with_columns(made, groups, labels2)
    raise InputError(
        f"data of type {type(data).__module__}.{type(data).__qualname__}",
        found="nothing that can be read as a data set",
        expected="inputs (n, ...), a pair (inputs, labels), a data frame, a torch or Hugging Face data set, or a path",
        remedy="give a pair of tensors, or make a cutaway.data.Dataset(name=..., inputs=..., labels=...)",
    )


def _without_column(data: Any, column: Any, option: str) -> tuple[Any, Any]:
    """The data without the column that `column` names, and that column; what is no name stays as it is."""
    if not isinstance(column, str):
        return data, column
    names = [str(n) for n in getattr(data, "columns", getattr(data, "column_names", ()))]
    if column not in names:
        raise InputError(
            f"{option} {column!r}",
            found=f"columns {', '.join(names)}" if names else "data without columns",
            expected="one of them" if names else "one value a row",
            remedy=did_you_mean(column, names, "give one of them" if names else "give the values themselves"),
        )
    if _of_module(data, "datasets"):
        return data.remove_columns([column]), _named(data, column)
    return data.drop(columns=[column]), data[column].to_numpy()


def _made(inputs: Any, labels: Any, name: str, left: str) -> Dataset:
    notes = [left] if left else []
    tensor, value_range = _inputs(inputs, name, notes)
    notes += filter(None, [told_of_scale(tensor)])
    numbers, classes = (None, None) if labels is None else _labels(labels, name, len(tensor), notes)
    return Dataset(
        name=name, inputs=tensor, labels=numbers, class_names=classes, value_range=value_range, note="; ".join(notes)
    )


def _inputs(inputs: Any, name: str, notes: list[str]) -> tuple[torch.Tensor, tuple[float, float] | None]:
    if isinstance(inputs, torch.Tensor):
        tensor = inputs.detach()
        if tensor.dtype == torch.uint8:
            inputs = tensor.cpu().numpy()
        elif tensor.is_floating_point() or tensor.dtype == torch.int64:
            return tensor, image_range(tensor)
        else:
            return tensor.to(torch.int64), None
    array = _array(inputs, f"inputs of data {name!r}")
    if array.dtype == np.uint8 and array.ndim in (3, 4):
        notes.append(SCALED)
        return images_to_tensor(array), (0.0, 1.0)
    if array.dtype.kind == "f":
        kept = array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
        tensor = torch.from_numpy(np.ascontiguousarray(kept))
        return tensor, image_range(tensor)
    if array.dtype.kind in "iub":
        if array.ndim == 2 and array.dtype.kind != "u":
            return torch.from_numpy(array.astype(np.int64)), None
        return torch.from_numpy(array.astype(np.float32)), None
    raise InputError(
        f"inputs of data {name!r}",
        found=f"an array of {array.dtype}",
        expected="numbers",
        remedy="encode categories and text as numbers first",
    )


def _labels(labels: Any, name: str, count: int, notes: list[str]) -> tuple[torch.Tensor, tuple[str, ...] | None]:
    if isinstance(labels, _Numbered):
        return _labels(labels.numbers, name, count, notes)[0], labels.names
    values = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else _array(labels, f"labels of {name}")
    what = f"labels of data {name!r}"
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or len(values) != count:
        raise InputError(
            what,
            found=f"shape {values.shape}",
            expected=f"({count},), one a row",
            remedy="one-hot labels become class numbers by argmax(axis=1)",
        )
    if values.dtype.kind in "OUS":
        classes, numbers = np.unique([str(v) for v in values], return_inverse=True)
        some = ", ".join(f"{k} {word}" for k, word in enumerate(classes[:3])) + (", ..." if len(classes) > 3 else "")
        notes.append(f"classes were numbered in the order of their names: {some}")
        return torch.from_numpy(numbers.astype(np.int64)), tuple(map(str, classes))
    if values.dtype.kind == "f" and not np.array_equal(values, np.round(values)):
        raise InputError(
            what,
            found="numbers that are not whole",
            expected="class numbers from 0, or class names",
            remedy="regression targets are no labels: leave them out",
        )
    return torch.from_numpy(values.astype(np.int64)), None


def _array(values: Any, what: str) -> np.ndarray:
    try:
        array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    except ValueError as error:
        raise InputError(
            what, found="rows of different lengths", expected="one shape for all", remedy="pad or crop them"
        ) from error
    if array.dtype == object and array.ndim > 1:
        raise InputError(what, found="mixed types", expected="numbers", remedy="convert each column to numbers")
    return array


def _of_frame(frame: Any, where: str = "a data frame") -> tuple[Any, Any, str]:
    names = [str(name) for name in frame.columns]
    if twice := first_twice(names):
        raise InputError(
            where,
            found=f"two columns called {twice!r}",
            expected="a name of its own for every column",
            remedy="rename one of them, or leave it out",
        )
    label = _label_name(names)
    frame = frame.set_axis(names, axis=1)
    columns = ColumnsSeen([name for name in names if name != label], where, typed=True)
    columns.look(frame)
    numeric = columns.inputs()
    if not numeric:
        raise InputError(
            where,
            found=f"columns {', '.join(names[:8])}, none numeric",
            expected="numeric columns",
            remedy="give a pair (inputs, labels)",
        )
    inputs = as_inputs(frame[numeric])
    check_finite_cells(inputs, numeric, where)
    return inputs, None if label is None else frame[label].to_numpy(), told_of_columns(columns.left(), label, numeric)


def _label_name(names: Iterable[str]) -> str | None:
    return next((name for name in names if name.lower() in LABEL_NAMES), None)


def _of_hugging_face(rows: Any) -> tuple[Any, Any, str]:
    names = list(rows.column_names)
    column = _label_name(names)
    labels = None if column is None else _named(rows, column)
    image = next((n for n in names if n in ("image", "img", "pixel_values", "input_ids", "inputs", "x")), None)
    if image is None:
        inputs, _, left = _of_frame(rows.to_pandas(), "a Hugging Face data set")
        return inputs, labels, left
    beside = ", ".join(name for name in names if name not in (image, column))
    left = f"inputs are column {image}; left out: {beside}" if beside else ""
    return np.stack([np.asarray(row) for row in rows[image]]), labels, left


@dataclass(frozen=True, slots=True)
class _Numbered:
    """Class numbers (n,) whose names a data set has, in its own order."""

    numbers: Any
    names: tuple[str, ...]


def _named(rows: Any, column: str) -> Any:
    """The labels of a Hugging Face data set, with its names where it has some."""
    names = getattr(rows.features.get(column), "names", None)
    return _Numbered(rows[column], tuple(map(str, names))) if names else rows[column]


def _of_torch(rows: Any) -> tuple[Any, Any, str]:
    """A torch data set, row by row, or the batches of a loader."""
    if isinstance(rows, torch.utils.data.DataLoader):
        inputs, labels = _of_loader(rows)
        return inputs, _with_names(labels, rows.dataset), ""
    inputs, labels = _of_rows(rows)
    return inputs, _with_names(labels, rows), ""


def _with_names(labels: Any, source: Any) -> Any:
    """Class numbers with the names of the data set's `classes`, where it says them, as folders of images do."""
    names = getattr(source, "classes", None)
    if labels is None or not isinstance(names, list | tuple) or np.asarray(labels).dtype.kind not in "iu":
        return labels
    return _Numbered(labels, tuple(map(str, names)))


def _of_rows(rows: Any) -> tuple[Any, Any]:
    """Pairs (or inputs alone) one by one."""
    counted = hasattr(rows, "__len__") and hasattr(rows, "__getitem__")  # many raise no IndexError at their end
    each = (rows[i] for i in range(len(rows))) if counted else rows
    pairs = [row for row, _ in zip(each, range(MOST_ROWS + 1), strict=False)]
    _few("a torch data set", len(pairs))
    if not pairs:
        raise InputError("a torch data set", found="no rows", expected="at least one", remedy="give a set with rows")
    if isinstance(pairs[0], tuple | list) and len(pairs[0]) >= 2:
        inputs, labels = [p[0] for p in pairs], [p[1] for p in pairs]
    else:
        inputs, labels = [p[0] if isinstance(p, tuple | list) else p for p in pairs], None
    if not isinstance(inputs[0], torch.Tensor):
        inputs = [torch.from_numpy(np.asarray(v)) for v in inputs]
    if len({tuple(v.shape) for v in inputs}) > 1:
        raise InputError(
            "a torch data set",
            found="inputs of different shapes",
            expected="one shape for all",
            remedy="resize the inputs to one shape",
        )
    return torch.stack(inputs), None if labels is None else _array(_scalars(labels), "labels of a torch data set")


def _of_loader(loader: Iterable[Any]) -> tuple[Any, Any]:
    """Batches of a loader, joined."""
    inputs, labels = [], []
    for batch in loader:
        first, *others = batch if isinstance(batch, tuple | list) else (batch,)
        inputs.append(torch.as_tensor(first))
        labels += [] if not others else [torch.as_tensor(others[0]).reshape(-1)]
        _few("a data loader", sum(map(len, inputs)))
    if not inputs:
        raise InputError(
            "a data loader", found="no batches", expected="at least one", remedy="give a loader with batches"
        )
    return torch.cat(inputs), torch.cat(labels) if labels else None


def _few(what: str, rows: int) -> None:
    if rows > MOST_ROWS:
        raise InputError(
            what,
            found=f"more than {MOST_ROWS:,} rows",
            expected=f"at most {MOST_ROWS:,}, since all are held in memory",
            remedy="take a part of it, for instance torch.utils.data.Subset(data, range(1000))",
        )


def _scalars(values: list[Any]) -> list[Any]:
    return [v.item() if hasattr(v, "item") else v for v in values]


def _is_pair(data: Any) -> bool:
    return isinstance(data, tuple | list) and len(data) == 2 and all(_is_array(d) for d in data)


def _is_array(data: Any) -> bool:
    return isinstance(data, torch.Tensor | np.ndarray) or (isinstance(data, list) and bool(data))


def _of_module(data: Any, *modules: str) -> bool:
    return type(data).__module__.split(".")[0] in modules


_READERS: tuple[tuple[Callable[[Any], bool], Callable[[Any], tuple[Any, Any, str]]], ...] = (
    (_is_pair, lambda d: (d[0], d[1], "")),
    (lambda d: isinstance(d, torch.Tensor | np.ndarray), lambda d: (d, None, "")),
    (lambda d: _of_module(d, "pandas") and hasattr(d, "columns"), _of_frame),
    (lambda d: _of_module(d, "datasets") and hasattr(d, "column_names"), _of_hugging_face),
    (lambda d: isinstance(d, torch.utils.data.DataLoader | torch.utils.data.Dataset), _of_torch),
)
