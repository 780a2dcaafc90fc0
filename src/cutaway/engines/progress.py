"""Progress for people, on standard error: one line that moves on a terminal, a line every ten seconds elsewhere, silent
where `quiet` is asked."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

EVERY = 10.0
"""Seconds between two lines where standard error is no terminal."""


@contextlib.contextmanager
def progress_lines(quiet: bool = False, every: float = EVERY) -> Iterator[Callable[[str], None]]:
    """Gives note(text): what goes on now. On a terminal a line that is done stays, with its seconds; elsewhere what
    goes on is told `every` so many seconds, so that a log shows that work goes on."""
    if quiet:
        yield lambda _text: None
        return
    console = _console(quiet)
    if console is None:
        with _told_every(every) as tell:
            yield tell
        return
    current: list[tuple[str, float]] = []

    def finish() -> None:
        if current:
            text, began = current.pop()
            console.print(f"  {text} [dim]{time.perf_counter() - began:.1f} s[/dim]", highlight=False)

    with console.status("") as status:

        def note(text: str) -> None:
            finish()
            safe = text.replace("[", "\\[")
            current.append((safe, time.perf_counter()))
            status.update(safe)

        yield note
        finish()


@contextlib.contextmanager
def _told_every(seconds: float) -> Iterator[Callable[[str], None]]:
    """A thread that prints the last note and how long it has been, until the work is done."""
    current, done = [("", time.perf_counter())], threading.Event()

    def tell() -> None:
        while not done.wait(seconds):
            text, began = current[-1]
            if text:
                print(f"  {text} ({time.perf_counter() - began:.0f} s so far)", file=sys.stderr, flush=True)

    thread = threading.Thread(target=tell, daemon=True, name="progress")
    thread.start()
    try:
        yield lambda text: current.append((text, time.perf_counter()))
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def progress_bar(total: int, text: str = "", quiet: bool = False) -> Iterator[Callable[[], None]]:
    """Gives advance(): one of `total` steps is done."""
    console = _console(quiet)
    if console is None:
        yield lambda: None
        return
    from rich.progress import Progress

    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(text.replace("[", "\\["), total=total)
        yield lambda: progress.advance(task)


def _console(quiet: bool):
    if quiet:
        return None
    from rich.console import Console

    console = Console(stderr=True)
    return console if console.is_terminal else None
