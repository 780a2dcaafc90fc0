"""Readers of the published file formats of the named sets: idx (MNIST, Fashion-MNIST) and the CIFAR-10 archive.

Everything is bytes in, uint8 arrays out. The CIFAR batches are pickles; they are read by an unpickler that can build
NumPy arrays and nothing else, so that a file with other contents is refused instead of run.
"""

from __future__ import annotations

import gzip
import io
import math
import pickle
import struct
import tarfile
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from cutaway.errors import FileError
from cutaway.files import check_size, read_bytes, room

LARGEST_BATCH = 100_000_000  # bytes; a published one has 31 million
CIFAR_FOLDER = "cifar-10-batches-py"
CIFAR_BATCHES = {"train": tuple(f"data_batch_{k}" for k in range(1, 6)), "test": ("test_batch",)}


def read_idx(path: str | Path) -> np.ndarray:
    """An idx file of unsigned bytes (gzipped or plain): magic 0 0 8 ndim, ndim big-endian sizes, then the data, row
    by row."""
    try:
        raw = read_bytes(path, largest=room())
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(room() + 1)
            check_size(f"file {path}", len(raw), room(), "unpacked")
    except (OSError, EOFError, zlib.error) as error:
        raise _broken(path, "idx", str(error)) from error
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise _broken(path, "idx", f"magic number {raw[:4].hex()}")
    ndim = raw[3]
    start = 4 + 4 * ndim
    if len(raw) < start:
        raise _broken(path, "idx", "its head is cut off")
    shape = struct.unpack(f">{ndim}I", raw[4:start])
    size = math.prod(shape)
    if len(raw) - start != size:
        raise _broken(path, "idx", f"{len(raw) - start} bytes of data, {size} announced")
    return np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(shape)


def read_cifar_archive(path: str | Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32) and labels (N,) of one split of cifar-10-python.tar.gz, in the official order. Nothing is
    unpacked to disk."""
    images, labels = [], []
    try:
        with tarfile.open(path, "r:gz") as archive:
            for batch in CIFAR_BATCHES[split]:
                member = archive.extractfile(f"{CIFAR_FOLDER}/{batch}")
                if member is None:
                    raise _broken(path, "CIFAR-10 archive", f"{batch} is not a file")
                content = read_cifar_batch(member.read(LARGEST_BATCH), f"{path}, member {batch}")
                images.append(content[0])
                labels.append(content[1])
    except (tarfile.TarError, OSError, EOFError, KeyError, zlib.error) as error:
        raise _broken(path, "CIFAR-10 archive", str(error)) from error
    return np.concatenate(images), np.concatenate(labels)


def read_cifar_batch(raw: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """One pickled batch: a dictionary with data (N, 3072) uint8, channel by channel, and labels (N)."""
    try:
        content = _ArrayUnpickler(io.BytesIO(raw), encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises many kinds
        raise _broken(where, "CIFAR-10 batch", str(error)) from error
    data = content.get(b"data", content.get("data")) if isinstance(content, dict) else None
    labels = content.get(b"labels", content.get("labels")) if isinstance(content, dict) else None
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise _broken(where, "CIFAR-10 batch", "no uint8 data of shape (N, 3072)")
    if labels is None or len(labels) != len(data):
        raise _broken(where, "CIFAR-10 batch", f"no {len(data)} labels")
    return data.reshape(-1, 3, 32, 32), np.asarray(labels, dtype=np.uint8)


def _empty_array(_kind, shape, dtype) -> np.ndarray:
    if shape not in ((0,), 0):  # NumPy's own pickles fill an empty one
        raise pickle.UnpicklingError(f"an array of shape {shape!r} without contents"[:200])
    return np.ndarray.__new__(np.ndarray, shape, dtype)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return text.encode(encoding)


class _Never:
    """Stands for `numpy.ndarray`, which the pickle names but never calls."""

    def __new__(cls, *_args) -> _Never:
        raise pickle.UnpicklingError("it makes an array of its own size")


class _ArrayUnpickler(pickle.Unpickler):
    """Knows four names, all that a pickled NumPy array needs, and maps them to functions of this file."""

    _known: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"): _empty_array,
        ("numpy._core.multiarray", "_reconstruct"): _empty_array,
        ("numpy", "ndarray"): _Never,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _encode,
    }

    def find_class(self, module: str, name: str):
        try:
            return self._known[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which image data never needs") from None


def _broken(path, kind: str, reason: str) -> FileError:
    return FileError(
        f"file {path}",
        found=f"not a usable {kind} file ({reason})",
        expected=f"the published {kind} file",
        remedy="delete it and load the data set again",
    )
