"""Jobs on a Dask cluster: a scheduler's address, or a cluster of processes on this machine when there is none (extra
`dask`).

Dask starts a job anew on another worker when its own dies, up to its `allowed-failures`; after that the job counts as
died here.
"""

from __future__ import annotations

import hashlib
import pickle
import threading
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutaway.engines.base import Executor, Task, run_task
from cutaway.engines.local import usable_cores
from cutaway.errors import InputError, MissingExtra

CONNECT_SECONDS = 10


class DaskExecutor(Executor):
    """Two jobs in flight for each worker thread. Shared arguments are scattered to the workers once."""

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        try:
            import distributed
        except ImportError as error:
            raise MissingExtra.of("distributed", "dask") from error
        self._cluster: Any = None
        self._client: Any
        if address is None:
            quiet: dict[str, Any] = {"dashboard_address": None}
            self._cluster = distributed.LocalCluster(
                n_workers=workers or usable_cores(),
                threads_per_worker=1,
                processes=True,
                **quiet,
            )
            self._client = distributed.Client(self._cluster, set_as_default=False)
        else:
            self._client = self._connect(distributed, address)
        self._pool = self._client.get_executor(pure=False)
        self._scattered: tuple[tuple, Any] | None = None

    @staticmethod
    def _connect(distributed, address: str):
        try:
            if Path(address).is_file():
                return distributed.Client(scheduler_file=address, timeout=CONNECT_SECONDS, set_as_default=False)
            return distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(
                f"dask scheduler {address!r}",
                found=f"no answer ({type(error).__name__})",
                expected="the address of a running scheduler, tcp://host:port, or a scheduler file",
                remedy="start one with: dask scheduler",
            ) from error

    @property
    def room(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Follows the cluster, which may grow and shrink."""
        return 2 * max(1, sum(self._client.nthreads().values()))

    def submit(self, task: Task, varying: tuple, shared: tuple) -> Future:
        import cloudpickle

        return self._pool.submit(run_packed, cloudpickle.dumps((task, varying)), self._scatter(shared))

    def _scatter(self, shared: tuple) -> Any:
        if not shared:
            return ()
        if self._scattered is None or not _same(self._scattered[0], shared):
            self._scattered = (shared, self._client.scatter(Parcel.of(shared), broadcast=True, hash=False))
        if self._scattered[1].status in ("lost", "cancelled", "error"):
            self._scattered = None
            return self._scatter(shared)
        return self._scattered[1]

    def died(self, error: BaseException) -> bool:
        from distributed.scheduler import KilledWorker

        return isinstance(error, (KilledWorker, CancelledError))

    def stop(self) -> None:
        """Cancel what is queued or running here; the cluster goes on living."""
        self._pool.shutdown(wait=False)
        self._pool = self._client.get_executor(pure=False)

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait=wait)
        self._scattered = None
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


@dataclass(frozen=True, slots=True)
class Parcel:
    """The shared arguments, pickled here (Dask's own pickling refers to modules that only we have), opened once by
    each thread."""

    content: bytes
    digest: str

    @staticmethod
    def of(shared: tuple) -> Parcel:
        import cloudpickle

        content = cloudpickle.dumps(shared)
        return Parcel(content, hashlib.sha256(content).hexdigest())

    def open(self) -> tuple:
        """Each thread has its own copy: a job may put hooks on the shared network."""
        if getattr(_opened, "digest", None) != self.digest:
            _opened.contents, _opened.digest = pickle.loads(self.content), self.digest
        return _opened.contents


_opened = threading.local()


def run_packed(packed: bytes, parcel: Parcel | tuple) -> Any:
    """In the worker: unpack the job and what it shares, and run it with one BLAS thread."""
    task, varying = pickle.loads(packed)
    return run_task(task, varying, parcel.open() if isinstance(parcel, Parcel) else parcel, 1)


def _same(a: tuple, b: tuple) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b))
