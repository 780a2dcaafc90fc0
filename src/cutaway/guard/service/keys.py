"""The keys that requests must carry: one from the environment, any number from a file that may change while the
service runs.

A key file holds one key a line; blank lines and lines that begin with # do not count. It is read again when it has
changed, so that a new key is added, clients move, and the old one is removed, without a stop. A file that cannot be
read, or that holds no key, keeps the keys known last: no mistake in it opens the service.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import time
from pathlib import Path

from cutaway.errors import FileError

KEY_VARIABLE = "CUTAWAY_GUARD_KEY"
log = logging.getLogger("cutaway.guard")


class Keys:
    """Keys of one service. `asked` is False when no request needs one. Raises FileError for a file that is missing,
    is not UTF-8 or holds no key."""

    def __init__(self, file: Path | None = None) -> None:
        own = os.environ.get(KEY_VARIABLE, "")
        self._own = (own.encode(),) if own else ()
        self._file, self._stamp, self._looked = file, None, 0.0
        self._listed: tuple[bytes, ...] = ()
        if file is not None:
            self._stamp, self._listed = _stamp(file), _read(file)

    @property
    def asked(self) -> bool:
        return bool(self._own) or self._file is not None

    def name(self, given: bytes) -> str | None:
        """The name of a key that is right (8 hexadecimal digits of its sha256), else None; every key is compared in
        constant time."""
        self._refresh()
        right = [key for key in (*self._own, *self._listed) if hmac.compare_digest(given, key)]
        return hashlib.sha256(right[0]).hexdigest()[:8] if right else None

    def _refresh(self) -> None:
        now = time.monotonic()
        if self._file is None or now - self._looked < 1:
            return
        self._looked = now
        try:
            stamp = _stamp(self._file)
            if stamp != self._stamp:
                self._listed, self._stamp = _read(self._file), stamp
                log.info("keys read again: %d", len(self._listed))
        except (OSError, FileError):
            log.error("the key file cannot be used: the keys known last stay in force")


def _stamp(file: Path) -> tuple:
    try:
        found = file.stat()
    except OSError as error:
        raise FileError(f"key file {file}", found="no such file", remedy="check the path") from error
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(file: Path) -> tuple[bytes, ...]:
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(
            f"key file {file}",
            found="no readable text",
            expected="UTF-8, one key a line",
            remedy="save the file as UTF-8 text",
        ) from error
    found = tuple(line.encode() for line in lines if line and not line.startswith("#"))
    if not found:
        raise FileError(f"key file {file}", found="no key", expected="one key a line", remedy="write one into it")
    return found
