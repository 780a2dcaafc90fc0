"""What may stand beside inputs and labels, one value a row: groups (of any kind) and second labels (of the classes).

A group is a category of the row that is no class: a hospital, a site, a writer. Values may be numbers or words; they
are numbered in ascending order and keep their words. A second label is another answer for the same row, by another
annotator for instance, and counts the same classes as the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cutaway.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from cutaway.data.dataset import Dataset

LABEL_NAMES = ("label", "labels", "y", "target", "targets", "class")
"""What a column of labels is called, in small letters."""


def as_values(values: Any) -> np.ndarray:
    """A tensor, array, column or list as an array of one axis more or less."""
    if isinstance(values, Tensor):
        return values.detach().cpu().numpy()
    return np.asarray(values)


def checked_groups(name: str, values: Any, count: int, names: Sequence[str] | None) -> tuple[Tensor, tuple[str, ...]]:
    """Group numbers (count,) int64 from 0, and the group's words; with `names` the values are numbers of those.

    Raises `InputError` for another shape, a row without a group, and numbers that are not whole.
    """
    what, found = f"groups of data set {name!r}", as_values(values)
    if found.shape != (count,):
        raise InputError(
            what, found=f"shape {found.shape}", expected=f"({count},), one group a row", remedy="give one group a row"
        )
    if names is not None:
        if found.dtype.kind not in "iu" or (count and (found.min() < 0 or found.max() >= len(names))):
            raise InputError(
                what,
                found=f"numbers outside the {len(names)} names",
                expected=f"whole numbers from 0 to {len(names) - 1}",
                remedy="leave out the names to have the groups numbered",
            )
        return torch.from_numpy(found.astype(np.int64)), tuple(names)
    _all_there(what, found)
    if found.dtype.kind == "f":
        if not np.array_equal(found, np.round(found)):
            raise InputError(
                what,
                found="numbers that are not whole",
                expected="categories",
                remedy="cut a measured quantity into bins first, for instance with pandas.cut",
            )
        found = found.astype(np.int64)
    if found.dtype.kind not in "iub":
        found = np.array([str(value) for value in found])
    words, numbers = np.unique(found, return_inverse=True)
    return torch.from_numpy(numbers.astype(np.int64).reshape(-1)), tuple(str(word) for word in words)


def second_labels(name: str, values: Any, classes: Sequence[str] | None) -> np.ndarray:
    """Second labels as class numbers, by the first labels' names where they are words; unchanged where they are
    numbers. Raises `InputError` for a row without one and for a word that is none of the classes."""
    what, found = f"second labels of data set {name!r}", as_values(values)
    _all_there(what, found)
    if found.dtype.kind == "f" and np.array_equal(found, np.round(found)):
        return found.astype(np.int64)
    if found.dtype.kind not in "OUS":
        return found
    number = {word: k for k, word in enumerate(classes or ())}
    odd = next((row for row, value in enumerate(found) if str(value) not in number), None)
    if odd is not None:
        raise InputError(
            f"{what}, row {odd}",
            found=repr(str(found[odd])),
            expected="one of the first labels' classes" + (f": {', '.join(number)}" if number else ", which have none"),
            remedy="number the classes of both columns the same way",
        )
    return np.array([number[str(value)] for value in found], dtype=np.int64)


def with_columns(data: Dataset, groups: Any = None, labels2: Any = None) -> Dataset:
    """The data set with these values beside its rows; None leaves what is there. Raises `InputError`."""
    kept: dict[str, Any] = {}
    if groups is not None:
        kept |= {"groups": groups, "group_names": None}
    if labels2 is not None:
        kept["labels2"] = torch.from_numpy(np.array(second_labels(data.name, labels2, data.class_names)))
    return replace(data, **kept) if kept else data


def first_twice(names: Sequence[str]) -> str | None:
    """The first name that is there a second time."""
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)


def told_of_columns(left: Sequence[str], label: str | None, inputs: Sequence[str] = ()) -> str:
    """What a data set's note says of a table's columns that are no numbers and no labels, of one without labels, and of
    `inputs` that hardly are meant as such: a second column of labels, one without a name."""
    some = ", ".join(map(str, left[:5])) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
    said = [f"left out, being no numbers: {some}"] if left else []
    if label is None:
        said.append("no column is called label, y, target or class: there are no labels")
    odd = [name for name in map(str, inputs) if name.lower() in LABEL_NAMES or name.startswith("Unnamed: ")]
    if odd:
        said.append(f"taken as inputs, like every column of numbers: {', '.join(odd[:5])}")
    return "; ".join(said)


def no_column(path, column: str, names: list[str]) -> InputError:
    """The error for a column that is not in a file, with the nearest that is."""
    hint = did_you_mean(column, names, "give one of them")
    return InputError(
        f"column {column!r} of {path}", found=f"columns {', '.join(names)}", expected="one of them", remedy=hint
    )


def no_columns(what: str, groups: str | None, labels2: str | None) -> None:
    """Raise `InputError` where a column is asked of data that has none beside inputs and labels."""
    for option, column in (("--groups", groups), ("--labels2", labels2)):
        if column is not None:
            raise InputError(
                f"option {option}",
                found=f"{column!r} for {what}, which holds inputs and labels alone",
                expected="data with columns: .npz, .csv or .parquet",
                remedy="save it as an .npz file with one more array",
            )


def _all_there(what: str, values: np.ndarray) -> None:
    missing = np.array([value is None or value != value for value in values.tolist()], dtype=bool)
    if missing.any():
        raise InputError(
            f"{what}, row {int(missing.argmax())}",
            found=f"no value ({int(missing.sum())} of {len(values)} rows)",
            expected="one for every row",
            remedy="drop these rows, or give them a value of their own such as 'unknown'",
        )
