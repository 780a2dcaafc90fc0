"""Where `cutaway slice` cuts: the plane of --through and --axes, and files of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cutaway.errors import FileError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from cutaway.cli.subject import Subject
    from cutaway.data import Dataset
    from cutaway.geometry.plane import Plane


def anchors_of(through: str, subject: Subject) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """The inputs, the names of their labels, and the names of all classes."""
    if through.endswith(".npy"):
        return numbers_of(through), (), ()
    try:
        rows = [int(part) for part in through.split(",")]
    except ValueError as error:
        raise InputError(
            "option --through",
            found=through,
            expected="FILE.npy, or row numbers such as 3,5,8",
            remedy="give a file of points or row numbers",
        ) from error
    if subject.data is None:
        raise InputError(
            "option --through",
            found=f"row numbers {through} without --data",
            expected="--data NAME",
            remedy="add --data NAME",
        )
    chosen = subject.rows()
    if max(rows) >= len(chosen.inputs) or min(rows) < 0:
        raise InputError(
            "option --through",
            found=through,
            expected=f"rows from 0 to {len(chosen.inputs) - 1} of {subject.data}",
            remedy="give row numbers in this range",
        )
    if not 1 <= len(rows) <= 3:
        raise InputError(
            "option --through", found=f"{len(rows)} rows", expected="one, two or three", remedy="give one to three rows"
        )
    return chosen.inputs[rows].numpy(), _labels(chosen, rows), tuple(chosen.class_names or ())


def _labels(data: Dataset, rows: Sequence[int]) -> tuple[str, ...]:
    """The labels of these rows, by name where the data has names."""
    if data.labels is None:
        return ()
    names = data.class_names
    return tuple(names[int(k)] if names else str(int(k)) for k in data.labels[list(rows)])


SHOWN = 200
"""Rows of a data set that a slice along two inputs marks at most."""


def plane_of_axes(axes: str, through: str | None, subject: Subject) -> tuple[Plane, np.ndarray, tuple[str, ...]]:
    """The plane of --axes, the square that holds the inputs, and the names of all classes.

    Its anchors are the inputs of --through, or the first rows of --data where the input has no more than these two
    numbers: others lie beside the plane."""
    import dataclasses

    from cutaway.geometry.framing import square_holding
    from cutaway.geometry.plane import plane_along

    try:
        first, second = (int(part) for part in axes.split(","))
    except ValueError as error:
        raise InputError(
            "option --axes", found=axes, expected="i,j", remedy="give two places of the flat input, such as 0,1"
        ) from error
    if through is not None:
        inputs, labels, names = anchors_of(through, subject)
        plane = dataclasses.replace(plane_along((first, second), inputs), labels=labels)
        return plane, square_holding(plane), names
    if subject.data is None:
        raise InputError(
            "option --axes",
            found="neither --data nor --through",
            expected="inputs that say where the other numbers stand",
            remedy="add --data NAME, or --through FILE.npy",
        )
    chosen = subject.rows()
    plane = plane_along((first, second), chosen.inputs.numpy())
    rows = range(min(len(chosen.inputs), SHOWN) if chosen.inputs[0].numel() == 2 else 0)
    marked = dataclasses.replace(plane, anchors=plane.anchors[: len(rows)], labels=_labels(chosen, rows))
    return marked, square_holding(plane), tuple(chosen.class_names or ())


def numbers_of(name: str) -> np.ndarray:
    """The real numbers of a .npy file."""
    import numpy as np

    from cutaway.data.arrays import read_npy

    found = read_npy(name)
    if not np.issubdtype(found.dtype, np.number) or np.iscomplexobj(found):
        raise FileError(
            f"file {name!r}",
            found=f"type {found.dtype}",
            expected="a .npy file of real numbers",
            remedy="save it as floats with numpy.save",
        )
    return found


def four_numbers(text: str) -> tuple[float, float, float, float]:
    """xmin, xmax, ymin, ymax."""
    try:
        a, b, c, d = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            "option --domain",
            found=text,
            expected="xmin,xmax,ymin,ymax or FILE.npy",
            remedy="give four numbers or a file",
        ) from error
    return a, b, c, d
