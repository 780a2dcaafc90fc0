"""An appendable file of checked blocks that survives a kill at any moment.

    file   = magic (8 bytes), block, block, ...
    block  = length of the payload (uint32), CRC-32 of the payload (uint32), payload
    payload = one line of JSON, a newline, raw bytes that the JSON describes

A block counts only if it is whole and its checksum is right. What a kill leaves behind is at most one torn block at the
end: readers stop before it, and the next writer cuts it off. Integers are little-endian.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutaway.errors import FileError

MAGIC = b"cutaway1"
_HEAD = struct.Struct("<II")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block: what its JSON says, and the bytes behind it."""

    record: dict[str, Any]
    data: bytes = b""


class JournalWriter:
    """Appends blocks to `path`, each in one write; a torn end is cut off when the file is opened.

    Raises `FileError` where the disk is full or the folder cannot be written; a block that did not fit is taken back.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = not path.exists() or path.stat().st_size == 0
            self._file = path.open("wb" if fresh else "r+b", buffering=0)
            if fresh:
                self._write(MAGIC)
            else:
                _, end = _scan(path)
                self._file.truncate(end)
            self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise _unwritable(path, error) from error

    def append(self, record: dict[str, Any], data: bytes = b"") -> None:
        """Append one block; it is in the system's hands when this returns (a kill of the process cannot lose it)."""
        payload = json.dumps(record, allow_nan=True).encode() + b"\n" + data
        before = self._file.tell()
        try:
            self._write(_HEAD.pack(len(payload), zlib.crc32(payload)) + payload)
        except OSError as error:
            self._file.truncate(before)
            self._file.seek(before)
            raise _unwritable(self.path, error) from error

    def sync(self) -> None:
        """Onto the disk itself, so that even a power cut keeps it."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]


def read_blocks(path: Path) -> list[Block]:
    """All whole blocks of a journal; raises `FileError` for a file that is none, or of a newer format."""
    return _scan(path)[0]


def follow_blocks(path: Path) -> Iterator[list[Block]]:
    """The blocks that came since the last time it was asked, for watching a file that grows."""
    at = len(MAGIC)
    _scan(path, stop=True)
    while True:
        blocks, at = _read_from(path, at)
        yield blocks


def _scan(path: Path, *, stop: bool = False) -> tuple[list[Block], int]:
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        raise FileError(f"journal {str(path)!r}", found=type(error).__name__, expected="a tracker's journal") from error
    if head != MAGIC:
        newer = head[:-1] == MAGIC[:-1]
        raise FileError(
            f"journal {str(path)!r}",
            found=f"format {head[-1:].decode(errors='replace')}" if newer else "another kind of file",
            expected=f"format {MAGIC[-1:].decode()}, written by a tracker",
            remedy="update Cutaway" if newer else "",
        )
    return ([], len(MAGIC)) if stop else _read_from(path, len(MAGIC))


def _read_from(path: Path, at: int) -> tuple[list[Block], int]:
    blocks = []
    with path.open("rb") as file:
        file.seek(at)
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            payload = file.read(length)
            if len(payload) != length or zlib.crc32(payload) != checksum:
                break
            line, _, data = payload.partition(b"\n")
            blocks.append(Block(record=json.loads(line), data=data))
            at += _HEAD.size + length
    return blocks, at


def _unwritable(path: Path, error: OSError) -> FileError:
    return FileError(
        f"journal {str(path)!r}",
        found=error.strerror or str(error),
        expected="a writable folder with free space",
        remedy="free some space and go on with resume; what was recorded before is whole",
    )
