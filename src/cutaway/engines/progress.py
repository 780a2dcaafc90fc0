"""Progress for people: one line that moves, on standard error, silent when that is no terminal or `quiet` is asked."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_lines(quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Gives note(text): what goes on now. A line that is done stays, with its seconds."""
    console = _console(quiet)
    if console is None:
        yield lambda _text: None
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
