"""An optional log of decisions, one JSON line a prompt, without its text.

A line holds the time (UTC), the request's id (also in the answer), the path, the name of the key (never the key),
characters and tokens, the score, the threshold, the verdict and the certificate's status. The file is made readable
for its owner alone and is opened again when something has rotated it.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path

from cutaway.errors import InputError


class Decisions:
    """Writes decisions into `file`, or nowhere without one. Raises InputError for a file that cannot be written."""

    def __init__(self, file: Path | None = None) -> None:
        self._handler = None
        if file is None:
            return
        try:
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
            self._handler = WatchedFileHandler(file, encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"option --decisions {file}",
                found=error.strerror or str(error),
                expected="a file that can be written",
                remedy="name a file in a folder that may be written to",
            ) from error
        self._handler.setFormatter(logging.Formatter("%(message)s"))

    def write(self, **facts) -> None:
        """One line; a full disk is said on standard error and costs no answer."""
        if self._handler is not None:
            line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **facts})
            self._handler.handle(logging.makeLogRecord({"msg": line}))

    def close(self) -> None:
        if self._handler is not None:
            self._handler.close()
