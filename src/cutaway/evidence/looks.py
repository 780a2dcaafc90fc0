"""How often held-out rows were looked at: a log that only grows, shared by processes, kept over restarts.

`looks.jsonl` is a head line (which rows, which settings), then a line a look. Every line carries the hash of the one
before it, so that a line that was taken out or changed is found. A line is on the disk before its answer is told.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cutaway.data import Dataset
from cutaway.errors import FileError, InputError
from cutaway.files import parse_json, read_bytes
from cutaway.reading.provenance import now

NAME = "looks.jsonl"
FORMAT = "cutaway looks 1"
PATIENCE = 60.0  # seconds to wait for another process that is looking


class LookLog:
    """The log in `folder` for the held-out rows `data`; made where there is none.

    `settings`: what must be the same in every process and run, kept in the head. Raises `InputError` where the log is
    of other rows or settings, `FileError` where it was changed or cannot be written. Cost: one hash of the data.
    """

    def __init__(self, folder: str | Path, data: Dataset, settings: Mapping[str, Any] | None = None) -> None:
        self.folder, self.path = Path(folder), Path(folder) / NAME
        wanted = {"format": FORMAT, "data": data.name, "rows": len(data), "fingerprint": data.fingerprint()}
        wanted |= dict(settings or {})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        self._lock = FileLock(str(self.folder / "looks.lock"))
        with self._held():
            if not self.path.exists() or self.path.stat().st_size == 0:
                self._append({**wanted, "began": now()}, "")
            self.head = self._entries()[0][0]
        self._check(wanted, data, settings is None)

    def __len__(self) -> int:
        """Looks so far, those of other processes included."""
        with self._held():
            return len(self._entries()[0]) - 1

    def entries(self) -> tuple[dict[str, Any], ...]:
        """The looks so far, oldest first."""
        with self._held():
            return tuple(self._entries()[0][1:])

    def look(self, what: str, decide: Callable[[tuple[dict[str, Any], ...]], Mapping[str, Any]] | None = None) -> dict:
        """Record one look, and return its line with `look`, its number (from 1).

        `decide` is given all looks before it, while no other process can look, and returns what is to be kept.
        """
        with self._held():
            entries, last = self._entries()
            made = dict(decide(tuple(entries[1:]))) if decide is not None else {}
            entry = {"look": len(entries), "what": what, **made, "time": now()}
            self._append(entry, last)
            return entry

    def _held(self):
        try:
            return self._lock.acquire(timeout=PATIENCE)
        except Timeout as error:
            raise FileError(
                f"log {str(self.path)!r}",
                found=f"another process that holds it for {PATIENCE:g} s",
                expected="looks one after the other",
                remedy="wait for that process, or end it",
            ) from error
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def _append(self, entry: dict[str, Any], last: str) -> None:
        line = json.dumps({**entry, "after": last}).encode() + b"\n"
        try:
            with self.path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def _entries(self) -> tuple[list[dict[str, Any]], str]:
        """All whole lines, checked against each other, and the hash of the last; a torn end, whose answer nobody was
        told, is cut off."""
        content = read_bytes(self.path, "log of looks")
        whole = content.rfind(b"\n") + 1
        if not whole:
            raise FileError(
                f"log of looks {str(self.path)!r}",
                found=f"{len(content)} bytes and no whole line",
                expected="a head line",
                remedy="restore the file; if nobody has looked yet, remove it",
            )
        if whole < len(content):
            os.truncate(self.path, whole)
        entries, last = [], ""
        for number, line in enumerate(content[:whole].splitlines()):
            entry = parse_json(line.decode("utf-8", "replace"), f"line {number + 1} of {str(self.path)!r}")
            if not isinstance(entry, dict) or entry.get("after") != last or entry.get("look", 0) != number:
                raise FileError(
                    f"line {number + 1} of {str(self.path)!r}",
                    found="a line that does not follow the one before it",
                    expected="a log that was only written by Cutaway, line behind line",
                    remedy="restore the file; looks that are not counted make every later figure too good",
                )
            entries.append(entry)
            last = hashlib.sha256(line).hexdigest()
        return entries, last

    def _check(self, wanted: dict[str, Any], data: Dataset, any_settings: bool) -> None:
        kept = {k: v for k, v in self.head.items() if k not in ("look", "after", "began")}
        if self.head.get("format") != FORMAT or kept.get("fingerprint") != wanted["fingerprint"]:
            raise InputError(
                f"log of looks {str(self.path)!r}",
                found=f"looks at {kept.get('rows', '?')} other rows, of data {kept.get('data', '?')!r}",
                expected=f"looks at these {len(data)} rows of data {data.name!r}",
                remedy="give the held-out rows that the log is of, or another folder for a new log",
            )
        differ = [] if any_settings else [k for k in wanted if kept.get(k) != wanted[k]]
        if differ:
            raise InputError(
                f"log of looks {str(self.path)!r}",
                found=", ".join(f"{k} = {kept.get(k)!r}" for k in differ),
                expected=", ".join(f"{k} = {wanted[k]!r}" for k in differ),
                remedy="open it with the settings that it began with: they cannot change while the same rows are asked",
            )


def _unwritable(folder: Path, error: OSError) -> FileError:
    return FileError(
        f"log of looks in {str(folder)!r}",
        found=(error.strerror or str(error)).lower(),
        expected="a folder that can be written",
        remedy="free some space or name another folder; no answer was given",
    )
