"""What becomes of trackers that nobody closed when the process ends: what they were told is written, and the exception
that ended the process is theirs."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from typing import Protocol


class Open(Protocol):
    """What is asked of a tracker."""

    def flush(self) -> None: ...

    def close(self, failed: str = "") -> None: ...


_OPEN: weakref.WeakKeyDictionary[Open, int] = weakref.WeakKeyDictionary()


def watch(tracker: Open) -> None:
    """At the end of this process (not of one that it forks), `tracker` is flushed, or failed."""
    if not _OPEN:
        atexit.unregister(_at_exit)
        atexit.register(_at_exit)  # now, so that it comes before what the tracker needs is taken down
    _OPEN[tracker] = os.getpid()


def let_go(tracker: Open) -> None:
    """`tracker` was closed."""
    _OPEN.pop(tracker, None)


def _at_exit() -> None:
    error = getattr(sys, "last_value", None)  # set where the interpreter reports an uncaught exception
    for tracker, process in list(_OPEN.items()):
        if process != os.getpid():
            continue
        if error is not None:
            tracker.close(failed=f"{type(error).__name__}: {error}")
        else:
            tracker.flush()
