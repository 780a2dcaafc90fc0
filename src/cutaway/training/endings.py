"""What becomes of trackers that nobody closed when the process ends: what they were told is written, and the exception
that ended the process is theirs. And of runs whose writer was killed when there was no step left."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from pathlib import Path
from typing import Protocol

from cutaway.training.run_writer import RunWriter
from cutaway.training.store import open_training, read_training_record


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


def nothing_left(folder: Path, failed: str = "") -> None:
    """Mark a run `finished` (or `failed`, with the reason) whose writer was killed after its last step, so that a
    tracker that goes on with it was told of no step. A missing or a finished run stays as it is. Raises `FileError` for
    a folder that is no run or that another writer holds."""
    if not (folder / "run.json").exists():
        return
    writer = RunWriter(folder, dict(read_training_record(folder)), resume=True)
    try:
        run = open_training(folder)
        if not run.finished:
            more = {"reason": failed} if failed else {}
            writer.event(max(run.last_step, 0), "failed" if failed else "finished", **more)
            writer.journal.sync()
    finally:
        writer.close()


def _at_exit() -> None:
    error = getattr(sys, "last_value", None)  # set where the interpreter reports an uncaught exception
    for tracker, process in list(_OPEN.items()):
        if process != os.getpid():
            continue
        if error is not None:
            tracker.close(failed=f"{type(error).__name__}: {error}")
        else:
            tracker.flush()
