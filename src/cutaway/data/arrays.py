"""NumPy files: the one place that opens them, never unpickling and never past the room that was given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cutaway.errors import CutawayError, FileError
from cutaway.files import check_size, check_zip, room

COPY = "it may be truncated: copy or download it again"


def opened_npy(path: str | Path) -> np.ndarray:
    """The array of a .npy file, read from the disk where it is used. Raises `FileError` for pickles and for what is no
    array."""
    try:
        found = np.load(path, allow_pickle=False, mmap_mode="r")
    except FileNotFoundError as error:
        raise FileError(
            f"file {path}", found="no such file", expected="a .npy file of numbers", remedy="check the path"
        ) from error
    except Exception as error:  # NumPy raises many kinds for damaged files
        raise unreadable(path, "npy", error) from error
    if not isinstance(found, np.ndarray):
        found.close()
        raise unreadable(path, "npy", ValueError("no array"))
    return found


def read_npy(path: str | Path) -> np.ndarray:
    """The array of a .npy file in memory, within `files.room()`. Raises `FileError`."""
    found = opened_npy(path)
    check_size(f"file {path}", found.size * found.dtype.itemsize, room())
    return np.array(found)


@contextlib.contextmanager
def opened_npz(path: str | Path) -> Iterator[np.lib.npyio.NpzFile]:
    """The arrays of a .npz file, together within `files.room()` when unpacked. Raises `FileError`, also for what is
    found when they are read inside."""
    try:
        check_zip(path, f"file {path}", kind="npz file", largest=room(), remedy=COPY)
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            yield archive
    except CutawayError:
        raise
    except Exception as error:  # NumPy and zlib raise many kinds for damaged files
        raise unreadable(path, "npz", error) from error


def unreadable(path, kind: str, error: Exception) -> FileError:
    """The error for a file that its library could not read."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "pickle" in reason.lower():
        return FileError(
            f"file {path}",
            found="pickled objects",
            expected="plain numeric arrays",
            remedy="save it again without object arrays",
        )
    return FileError(
        f"file {path}",
        found=f"not a complete {kind} file ({reason})",
        expected=f"a readable {kind} file",
        remedy=COPY,
    )
