"""A reading's file opened as data: its Zarr store is checked array by array and unpacked before zarr sees it.

zarr looks up the codecs that a store names, and one of them unpickles; a store may also announce arrays of any size.
`checked_store` lets through what `Reading.save` writes: numbers and texts, packed by Blosc or not at all, of sizes that
the memory holds, and nothing else.
"""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.errors import FileError
from cutaway.files import LARGEST, check_size, check_zip, parse_json

EXPECTED, REMEDY = "a file written by Reading.save", "measure again, or restore the file from a copy"
MOST_CHUNKS = 100_000
TEXTS = [{"id": "vlen-utf8"}]
HEADER = 16  # bytes of a Blosc block's header


def checked_store(path: str | Path, *, largest: int = LARGEST) -> dict[str, bytes]:
    """Key to bytes of a Zarr format 2 store without codecs, from the zip at `path`. Raises `FileError`.

    Memory: the unpacked reading, of at most `largest` bytes, and its packed bytes.
    """
    where = f"reading {str(path)!r}"
    check_zip(path, where, kind="reading", largest=largest, remedy=REMEDY)
    with zipfile.ZipFile(path) as archive:
        packed = {member.filename: _member(archive, member, where) for member in archive.infolist()}
    made, left = {}, largest
    for name, content in packed.items():
        folder, _, last = name.rpartition("/")
        if last in (".zgroup", ".zattrs"):
            _json(content, f"{where}, {name}")
            made[name] = content
        elif last == ".zarray":
            left -= _array(folder, content, packed, made, f"{where}, {name}", left)
    return made


def _array(folder: str, content: bytes, packed, made: dict[str, bytes], where: str, left: int) -> int:
    """Puts one array, unpacked, into `made`; its size in bytes."""
    record = _json(content, where)
    dtype, shape, chunks = _layout(record, where)
    size = _size(dtype, shape, where, left) + _size(dtype, chunks, where, left)
    if (count := math.prod(-(-n // c) for n, c in zip(shape, chunks))) > MOST_CHUNKS:
        raise FileError(where, found=f"{count:,} chunks", expected=f"at most {MOST_CHUNKS:,}", remedy=REMEDY)
    made[f"{folder}/.zarray"] = json.dumps(record | {"compressor": None}).encode()
    for name, block in packed.items():
        inside, _, last = name.rpartition("/")
        if inside == folder and not last.startswith("."):
            made[name] = _block(block, record["compressor"], dtype, math.prod(chunks), f"{where}, chunk {last}", left)
            size += len(made[name])
    return size


def _layout(record: Any, where: str) -> tuple[np.dtype, list[int], list[int]]:
    """dtype, shape and chunks; `FileError` for any codec but those of `Reading.save`."""
    try:
        filters, packer = record["filters"], record["compressor"]
        named = [str(c.get("id")) for c in [*(filters or []), *([packer] if packer else [])]]
        dtype, shape, chunks = np.dtype(str(record["dtype"])), list(record["shape"]), list(record["chunks"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(where, found=f"no array ({error})", expected=EXPECTED, remedy=REMEDY) from error
    texts = dtype.kind == "O"
    if (filters or None) != (TEXTS if texts else None) or (packer and packer.get("id") != "blosc"):
        found = "codecs " + (", ".join(map(repr, named)) or "none") + (" for objects" if texts else "")
        raise FileError(where, found=found, expected="texts or numbers packed by blosc", remedy=REMEDY)
    whole = all(type(n) is int and n >= 0 for n in shape) and all(type(n) is int and n > 0 for n in chunks)
    if len(shape) != len(chunks) or len(shape) > 32 or not whole or record.get("zarr_format") != 2:
        raise FileError(where, found=f"shape {shape} in chunks {chunks}"[:200], expected=EXPECTED, remedy=REMEDY)
    return dtype, shape, chunks


def _size(dtype: np.dtype, shape: list[int], where: str, left: int) -> int:
    size = math.prod(shape) * dtype.itemsize
    check_size(where, size, left, "unpacked")
    return size


def _block(block: bytes, packer: Any, dtype: np.dtype, numbers: int, where: str, left: int) -> bytes:
    """One chunk unpacked: as many numbers or texts as a chunk has."""
    if packer:
        check_size(where, int.from_bytes(block[4:8], "little"), left, "unpacked")
        if len(block) < HEADER or int.from_bytes(block[12:16], "little") != len(block):
            raise FileError(where, found="a broken block", expected=EXPECTED, remedy=REMEDY)
        from numcodecs.blosc import decompress

        try:
            block = bytes(decompress(block))
        except (RuntimeError, ValueError) as error:
            raise FileError(where, found=f"a broken block ({error})", expected=EXPECTED, remedy=REMEDY) from error
    found = int.from_bytes(block[:4], "little") * dtype.itemsize if dtype.kind == "O" else len(block)
    if found != numbers * dtype.itemsize:
        raise FileError(where, found=f"{len(block)} bytes for {numbers} values", expected=EXPECTED, remedy=REMEDY)
    return block


def _json(content: bytes, where: str) -> Any:
    return parse_json(content.decode("utf-8", errors="replace"), where, remedy=REMEDY)


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> bytes:
    try:
        return archive.read(member)
    except Exception as error:  # a wrong checksum, an unknown compression, a password
        raise FileError(where, found=f"a broken member ({error})", expected=EXPECTED, remedy=REMEDY) from error
