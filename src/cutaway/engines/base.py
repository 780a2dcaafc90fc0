"""What every executor is: the interface, a task, and how arguments that all jobs share reach a worker once.

A worker outside this process runs `run_task`: it reads what is shared, caps its BLAS and torch threads, and calls the
function.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutaway.files import atomic


@dataclass(frozen=True, slots=True)
class Task:
    """A function, and at which places its shared arguments stand among all its arguments."""

    function: Callable[..., Any]
    places: tuple[int, ...]

    def call(self, varying: tuple, shared: tuple) -> Any:
        arguments = list(varying)
        for place, value in zip(self.places, shared):
            arguments.insert(place, value)
        return self.function(*arguments)


class Executor(ABC):
    """Runs tasks. room: how many jobs it wants in flight. pool_dies_as_one: whether a dead worker takes all jobs
    along."""

    room: int = 1
    pool_dies_as_one: bool = False

    @abstractmethod
    def submit(self, task: Task, varying: tuple, shared: tuple) -> Future:
        """Start a job; the future gives its result."""

    def died(self, error: BaseException) -> bool:
        """Whether this error says that the worker died, rather than that the job raised it."""
        return False

    def renew(self) -> None:
        """Leave a broken pool; the next submit opens a fresh one."""
        return

    def stop(self) -> None:
        """End all running jobs now."""
        return

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        """Give everything back."""
        self.stop()

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_error) -> None:
        self.shutdown()


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A pickled tuple in a file named after its contents; a worker reads it once."""

    path: str

    def get(self) -> tuple:
        return _read_shared(self.path)


@functools.lru_cache(maxsize=2)
def _read_shared(path: str) -> tuple:
    import pickle

    return pickle.loads(Path(path).read_bytes())


class Exchange:
    """A folder for shared arguments, made when needed. The last one put is remembered, so that many jobs cost one
    pickling."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self._given, self._folder = folder, None
        self._last: tuple[tuple, SharedFile] | None = None

    def put(self, shared: tuple) -> SharedFile | tuple:
        if not shared:
            return ()
        if self._last is not None and len(shared) == len(self._last[0]) and all(map(_is, shared, self._last[0])):
            return self._last[1]
        import cloudpickle

        content = cloudpickle.dumps(shared)
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="cutaway-", dir=self._given)
        path = Path(self._folder) / hashlib.sha256(content).hexdigest()
        if not path.exists():
            with atomic(path) as temporary:
                temporary.write_bytes(content)
        self._last = (shared, SharedFile(str(path)))
        return self._last[1]

    def close(self) -> None:
        self._last = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _is(a: Any, b: Any) -> bool:
    return a is b


def run_task(task: Task, varying: tuple, shared: Any, threads: int) -> Any:
    """In the worker: read what is shared, cap the threads, work."""
    arguments = shared.get() if isinstance(shared, SharedFile) else shared
    limit_threads(threads)
    return task.call(varying, arguments)


def limit_threads(threads: int) -> None:
    """At most `threads` BLAS, OpenMP and torch threads in this process, from now on."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(limits=threads)
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
