"""Work in a child process that ends with its time, whatever it is doing then.

A kernel of torch or a loop of C++ does not look at a deadline. So the child computes and this process only waits: past
the deadline and `GRACE` it ends the child. Messages are pickled frames over the child's own pipes; what its code
prints goes to standard error. The child ends when its pipe closes, so also when this process is killed.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

from cutaway.errors import CutawayError, WorkError, failure

GRACE = 0.5
"""Seconds past the deadline for work that looks at the clock itself and has an answer to give."""


class Overdue(Exception):
    """The time was over before an answer came; `last` is the last progress line."""

    def __init__(self, last: str) -> None:
        self.last = last
        super().__init__(last)


class Watched:
    """A child process for one call after another, started when needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._frames: queue.SimpleQueue = queue.SimpleQueue()

    def call(self, function: str, *arguments: Any, deadline: float, progress: Callable[[str], None]) -> Any:
        """function(*arguments, deadline=..., progress=...) in the child; `function` is "module:name".

        deadline: as `time.monotonic()` counts, start-up included. Raises Overdue, what the function raises (a
        CutawayError, OSError or MemoryError as it is, others as WorkError) and WorkError where the process dies."""
        last = "starting"
        try:
            self._send((function, arguments, deadline))
            while True:
                kind, value = self._frames.get(timeout=max(deadline + GRACE - time.monotonic(), 0))
                if kind == "progress":
                    last = value
                    progress(value)
                elif kind == "done":
                    return value
                else:
                    raise value
        except queue.Empty:
            self.close()
            raise Overdue(last) from None
        except BaseException:
            self.close()
            raise

    def _send(self, message: Any) -> None:
        if self._process is None:
            start = f"import sys; sys.path[:] = {sys.path!r}; import cutaway.engines.watched as w; w.serve_child()"
            command = [sys.executable, "-P", "-c", start]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._frames = queue.SimpleQueue()
            self._reader = threading.Thread(target=_collect, args=(self._process, self._frames), daemon=True)
            self._reader.start()
        assert self._process.stdin is not None
        _write(self._process.stdin, message)

    def close(self) -> None:
        """End the child at once; the next call starts another."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        process.wait()
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        self._reader.join()

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_error) -> None:
        self.close()


def _collect(process: subprocess.Popen, frames: queue.SimpleQueue) -> None:
    """Every frame of the child, and at its end the error that it has died."""
    assert process.stdout is not None
    try:
        while True:
            frames.put(pickle.load(process.stdout))
    except Exception:
        found = f"its process ended with code {process.wait()}"
        remedy = "if memory ran out, give a smaller --budget"
        frames.put(("raised", WorkError("the work", found=found, expected="an answer", remedy=remedy)))
    process.stdout.close()


def _write(pipe: BinaryIO | Any, message: Any) -> None:
    try:
        pipe.write(pickle.dumps(message))
        pipe.flush()
    except BrokenPipeError:  # the reader's end says why
        return


def serve_child() -> None:
    """The child's loop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who closes the pipe
    answers, questions = os.fdopen(os.dup(1), "wb"), os.fdopen(os.dup(0), "rb")
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(questions, waiting), daemon=True).start()
    while True:
        name, arguments, deadline = waiting.get()
        _write(answers, _answer(name, arguments, deadline, lambda text: _write(answers, ("progress", text))))


def _listen(questions: BinaryIO, waiting: queue.SimpleQueue) -> None:
    while True:
        try:
            waiting.put(pickle.load(questions))
        except EOFError:
            os._exit(0)


def _answer(name: str, arguments: tuple, deadline: float, progress: Callable[[str], None]) -> tuple[str, Any]:
    module, _, function = name.partition(":")
    try:
        return "done", getattr(importlib.import_module(module), function)(
            *arguments, deadline=deadline, progress=progress
        )
    except (CutawayError, OSError, MemoryError) as error:
        return "raised", error
    except Exception as error:
        traceback.print_exc()
        return "raised", WorkError(
            "the work",
            found=failure(error),
            expected="an answer",
            remedy="try again with more memory or time; report it with the model if it stays",
        )
