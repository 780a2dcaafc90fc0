"""One writer for a run folder: a file lock that the system gives back when its process dies, and a note of its holder.

`writer.lock` is locked (`filelock`), `writer.json` says by whom. A note that was left behind by a dead process is told.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from cutaway.errors import FileError
from cutaway.files import read_json, write_text
from cutaway.reading.provenance import now

PATIENCE = 10.0  # seconds that helpers of a dead process (workers of a data loader) may still hold its lock


class WriterLock:
    """Held from construction to `release`. `taken_over`: in words, whose lock was left behind, or empty.

    Raises `FileError` where another process, or another writer of this one, holds it, and where it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._note = folder / "writer.json"
        self._lock = FileLock(str(folder / "writer.lock"), thread_local=False)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            before = _read(self._note)
            self._lock.acquire(timeout=PATIENCE if before and not _alive(before) else 0)
        except Timeout as error:
            raise FileError(
                f"run folder {str(folder)!r}",
                found=f"another writer ({_words(_read(self._note))})",
                expected="one writer at a time",
                remedy="close the other tracker, or name another folder",
            ) from error
        except OSError as error:
            raise FileError(
                f"run folder {str(folder)!r}",
                found=(error.strerror or str(error)).lower(),
                expected="a folder that can be written",
                remedy="name another folder",
            ) from error
        self.taken_over = _words(before) if before else ""
        write_text(self._note, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now()}))

    def release(self) -> None:
        with contextlib.suppress(OSError):
            self._note.unlink(missing_ok=True)
        self._lock.release()


def _read(note: Path) -> dict[str, object]:
    try:
        content = read_json(note, "lock note", largest=10_000)
    except FileError:
        return {}
    return content if isinstance(content, dict) else {}


def _words(owner: dict[str, object]) -> str:
    return f"process {owner.get('pid', '?')} on {owner.get('host', '?')} since {owner.get('since', '?')}"


def _alive(owner: dict[str, object]) -> bool:
    """Whether the process may live; those of other machines cannot be asked."""
    pid = owner.get("pid")
    if owner.get("host") != socket.gethostname() or not isinstance(pid, int) or os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
