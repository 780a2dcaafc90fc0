"""An appendable file of checked blocks that survives a kill at any moment.

    file   = magic (8 bytes), block, block, ...
    block  = length of the payload (uint32), CRC-32 of the payload (uint32), payload
    payload = one line of JSON, a newline, raw bytes that the JSON describes

A block counts only if it is whole and its checksum is right. What a kill leaves behind is at most one torn block at the
end: readers stop before it, and the next writer moves it to a file of its own (`journal.bin.cut-OFFSET`). A damaged
block with whole ones behind it is skipped, and a warning says so: the next place where length and checksum agree is
looked for. Integers are little-endian.
"""

from __future__ import annotations

import json
import os
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutaway.errors import CutawayWarning, FileError
from cutaway.files import atomic

MAGIC = b"cutaway1"
_HEAD = struct.Struct("<II")
_START = re.compile(rb'\{"')  # of the JSON of a block


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalBlock:
    """One block: what its JSON says, and the bytes behind it."""

    record: dict[str, Any]
    data: bytes = b""


class JournalWriter:
    """Appends blocks to `path`, each in one write; a torn end is moved to a backup when the file is opened.

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
                _keep_end(path, end)
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

    def check_in_place(self) -> None:
        """Raises `FileError` where the file has another name now: what is written by name would be elsewhere."""
        try:
            there = os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))
        except OSError:
            there = False
        if not there:
            raise FileError(
                f"run folder {str(self.path.parent)!r}",
                found="a folder that was moved or deleted while it is written",
                expected="the folder in its place",
                remedy="move it back, or after the training",
            )

    def sync(self) -> None:
        """Onto the disk itself, so that even a power cut keeps it."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]


def read_blocks(path: Path) -> list[JournalBlock]:
    """All whole blocks of a journal; raises `FileError` for a file that is none, or of a newer format."""
    return _scan(path)[0]


def _scan(path: Path) -> tuple[list[JournalBlock], int]:
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        raise FileError(
            f"journal {str(path)!r}",
            found=type(error).__name__,
            expected="a tracker's journal",
            remedy="check the path, or copy the file again",
        ) from error
    if head != MAGIC and (head[:-1] == MAGIC[:-1] or _whole(path.read_bytes(), len(MAGIC)) is None):
        newer = head[:-1] == MAGIC[:-1]
        raise FileError(
            f"journal {str(path)!r}",
            found=f"format {head[-1:].decode(errors='replace')}" if newer else "another kind of file",
            expected=f"format {MAGIC[-1:].decode()}, written by a tracker",
            remedy="update Cutaway" if newer else "name the folder of a tracked run, or copy its journal again",
        )
    return _read_from(path, len(MAGIC))


def _read_from(path: Path, at: int) -> tuple[list[JournalBlock], int]:
    """The whole blocks from `at` on, and where the last of them ends; damage between them is warned of."""
    with path.open("rb") as file:
        file.seek(at)
        content = file.read()
    blocks, here, damage = [], 0, []
    while True:
        found = _whole(content, here)
        if found is None:
            next_one = _next_whole(content, here)
            if next_one is None:
                break
            damage.append((at + here, next_one - here))
            here = next_one
            continue
        block, here = found
        blocks.append(block)
    if damage:
        _warn_of(path, damage)
    return blocks, at + here


def _whole(content: bytes, at: int) -> tuple[JournalBlock, int] | None:
    """The block that begins at `at` and where it ends, or None where there is no whole one."""
    begin = at + _HEAD.size
    if begin > len(content):
        return None
    length, checksum = _HEAD.unpack_from(content, at)
    end = begin + length
    if end > len(content) or zlib.crc32(memoryview(content)[begin:end]) != checksum:
        return None
    line, _, data = content[begin:end].partition(b"\n")
    try:
        return JournalBlock(record=json.loads(line), data=data), end
    except (ValueError, RecursionError):
        return None


def _next_whole(content: bytes, at: int) -> int | None:
    """Where the first whole block after a damaged one at `at` begins."""
    for match in _START.finditer(content, at + _HEAD.size):
        begin = match.start() - _HEAD.size
        if begin > at and _whole(content, begin) is not None:
            return begin
    return None


def _warn_of(path: Path, damage: list[tuple[int, int]]) -> None:
    places = ", ".join(f"{size} bytes at {start}" for start, size in damage[:4])
    warnings.warn(
        CutawayWarning(
            f"journal {str(path)!r}",
            found=f"{len(damage)} damaged stretch{'es' if len(damage) > 1 else ''} ({places})",
            expected="whole blocks",
            remedy="all blocks round it were read; copy the file again if you have another copy",
        ),
        stacklevel=4,
    )


def _keep_end(path: Path, end: int) -> None:
    """What stands behind the last whole block goes to a file of its own before it is cut off."""
    with path.open("rb") as file:
        file.seek(end)
        torn = file.read()
    if torn:
        with atomic(path.with_name(f"{path.name}.cut-{end}")) as temporary:
            temporary.write_bytes(torn)


def _unwritable(path: Path, error: OSError) -> FileError:
    return FileError(
        f"journal {str(path)!r}",
        found=error.strerror or str(error),
        expected="a writable folder with free space",
        remedy="free some space and go on with resume; what was recorded before is whole",
    )
