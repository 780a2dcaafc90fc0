"""Memory budgets: from `8GB` to bytes, and from bytes to rows in a chunk. KB, MB, GB, TB are powers of 1000, KiB ...
of 1024."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import re
import time
from pathlib import Path

from cutaway.errors import BudgetError, InputError

_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_FORM = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]?)(i?)(b?)\s*", re.IGNORECASE)


def parse_budget(text: str | int | float) -> int:
    """Bytes from "8GB", "1.5 GiB", "500MB" or a number of bytes. Raises InputError.

    >>> parse_budget("8GB"), parse_budget("1.5KiB"), parse_budget(1000)
    (8000000000, 1536, 1000)
    """
    match = _FORM.fullmatch(str(text))
    if match is None or (match[3] and not match[2]) or float(match[1]) <= 0:
        raise InputError(
            f"memory budget {text!r}", expected="a size such as 8GB, 500MB or 2GiB", remedy="write a number and a unit"
        )
    return int(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2].lower()])


def chunk_size(bytes_per_sample: float, budget: int, minimum: int = 1) -> int:
    """How many samples of this size fit in `budget` bytes; at least `minimum`. Raises BudgetError when not even these
    fit.

    >>> chunk_size(1000, 8500)
    8
    """
    fits = int(budget // max(bytes_per_sample, 1))
    if fits < minimum:
        raise BudgetError(
            "memory budget",
            found=f"{format_bytes(budget)}",
            expected=f"at least {format_bytes(minimum * bytes_per_sample)}, for {minimum} at a time",
            remedy=f"give --budget {format_bytes(minimum * bytes_per_sample * 1.1).replace(' ', '')} or more",
        )
    return fits


def require_room(what: str, needed: float, budget: int) -> None:
    """Raises BudgetError where `what` needs more than `budget` bytes whatever the chunks, with the smallest that would
    do.

    >>> require_room("accuracy", 1e9, 2_000_000_000)
    """
    if needed > budget:
        raise BudgetError(
            f"memory budget of {what}",
            found=format_bytes(budget),
            expected=f"at least {format_bytes(needed)}",
            remedy=f"give --budget {math.ceil(needed / 1e6)}MB or more",
        )


def default_budget() -> int:
    """Half of the memory that is free to this process now (a container's limit counts), in bytes; 2 GB where
    unknown."""
    free = [size for size in (_free_in_machine(), _free_in_container()) if size is not None]
    return max(min(free) // 2, 100_000_000) if free else 2_000_000_000


_EVERY = 0.5  # seconds between two returns: the pages are cleared anew when they are taken again
_given_back = -math.inf


def give_back_memory() -> None:
    """Return freed memory to the system, at most twice a second; where the C library has no such call, nothing happens.

    glibc keeps the holes between blocks of some megabytes: over many passes of a large network they come to hundreds
    of megabytes that no budget knows of. Cost: some milliseconds.
    """
    global _given_back
    now = time.monotonic()
    if now - _given_back < _EVERY:
        return
    _given_back = now
    with contextlib.suppress(AttributeError, OSError, TypeError):  # macOS, Windows, musl
        ctypes.CDLL(None).malloc_trim(0)


def format_bytes(size: float) -> str:
    """A size in words: 1.5 GB."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _free_in_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _free_in_container() -> int | None:
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = (folder / "memory.max").read_text().strip(), (folder / "memory.current").read_text()
        return None if limit == "max" else max(int(limit) - int(used), 0)
    except (OSError, ValueError):
        return None


def limit_memory(extra: int | None) -> None:
    """From here on this process may take `extra` bytes more than it has, then allocations fail; None lifts that.

    For child processes of ours, on Linux; elsewhere nothing happens and the sizes of chunks alone keep the budget."""
    status = Path("/proc/self/status")
    if not status.exists():
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    taken = re.search(r"VmData:\s+(\d+) kB", status.read_text())
    limit = hard if extra is None or taken is None else int(taken[1]) * 1024 + extra
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def peak_bytes() -> int:
    """Peak resident memory of this process so far, in bytes (0 where the system does not tell)."""
    try:
        import resource
        import sys
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
