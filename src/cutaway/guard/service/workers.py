"""Who computes: a thread of the server, or processes that are started again when they die or hang.

A batch whose process dies is given to another process, so a killed worker loses no accepted prompt; the process is
started again beside it and takes batches once it has loaded. It is forked from a process that has the libraries and
nothing else, so that this costs no import. While no process is loaded, a prompt waits ten seconds and is then refused
(`Absent`). Prompts travel over a pipe of our own and are never written anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cutaway.errors import CutawayError, WorkError

if TYPE_CHECKING:
    from cutaway.guard.evidence import Explainer
    from cutaway.guard.guardrail import Guardrail, PromptVerdict
    from cutaway.guard.service.metrics import Metrics

ATTEMPTS = 4
LOAD_SECONDS = 10.0  # seconds that a batch waits while no process is loaded
LIBRARIES = [  # imports are most of what loading costs
    "torch",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.modeling_utils",
    "cutaway.guard.folder",
    "cutaway.guard.evidence_file",
]
WARM_UP = ["Once upon a time there was a little girl."]  # the first pass is slow: not a client's
log = logging.getLogger("cutaway.guard")


class Absent(Exception):
    """No process is loaded, and none was within `LOAD_SECONDS`."""


class Workers(Protocol):
    """Scores batches, several at once up to `parallel`; `loaded` counts those that can answer now."""

    parallel: int

    @property
    def loaded(self) -> int:
        """How many can answer now."""
        ...

    async def start(self) -> None:
        """Return when a first worker has loaded; raises what loading raises."""
        ...

    async def score(self, texts: list[str]) -> list[PromptVerdict]:
        """Verdicts in order; raises what the guardrail raises."""
        ...

    async def explain(self, text: str) -> dict[str, Any]:
        """The verdict and what stands behind it (`evidence.Explainer`); raises what the guardrail raises."""
        ...

    def close(self) -> None:
        """Stop computing."""
        ...


class ThreadWorker:
    """Computes in one thread of this process. `explainer`: what answers `explain`, None where that is not offered."""

    parallel = 1

    def __init__(self, guard: Guardrail, explainer: Explainer | None = None) -> None:
        self.guard, self.explainer, self.loaded = guard, explainer, 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="guard")

    async def start(self) -> None:
        await self.score(WARM_UP)
        self.loaded = 1

    async def score(self, texts: list[str]) -> list[PromptVerdict]:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.guard.verdicts, texts)

    async def explain(self, text: str) -> dict[str, Any]:
        assert self.explainer is not None  # without one there is no such route
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.explainer, text)

    def close(self) -> None:
        self._pool.shutdown(wait=True)


class ProcessWorkers:
    """`count` processes, each with the guardrail in `folder` loaded. `seconds`: longest that a batch may take.
    `explain`: with what stands behind verdicts."""

    def __init__(
        self,
        folder: Path,
        count: int,
        metrics: Metrics,
        *,
        model: str | None = None,
        device: str = "cpu",
        seconds: float = 60.0,
        explain: bool = False,
    ) -> None:
        self.parallel, self.metrics, self.seconds = count, metrics, seconds
        context, start = process_context(), (str(folder), model, device, explain)
        self.processes = [WorkerProcess(context, start) for _ in range(count)]
        self._pool = ThreadPoolExecutor(2 * count, thread_name_prefix="guard")  # one asks while another loads
        self._idle: asyncio.Queue[WorkerProcess] = asyncio.Queue()
        self._tasks: set[asyncio.Task] = set()
        self._ready: set[WorkerProcess] = set()
        self._closing, self._lost = False, time.monotonic()
        metrics.workers_loaded.set_function(lambda: self.loaded)

    @property
    def loaded(self) -> int:
        return len(self._ready)

    async def start(self) -> None:
        loads = [self._background(self._first(p)) for p in self.processes]
        for load in loads:
            load.add_done_callback(lambda task: task.cancelled() or task.exception())  # one error is enough
        done, _ = await asyncio.wait(loads, return_when=asyncio.FIRST_COMPLETED)
        for load in done:
            load.result()

    async def score(self, texts: list[str]) -> list[PromptVerdict]:
        return await self._asked(texts)

    async def explain(self, text: str) -> dict[str, Any]:
        return await self._asked(text)

    async def _asked(self, texts: list[str] | str) -> Any:
        for _ in range(ATTEMPTS):
            process = await self._next()
            try:
                kind, value = await self._in_thread(process.ask, texts, self.seconds)
            except (EOFError, OSError):  # it died, or hung (TimeoutError)
                self._ready.discard(process)
                self._lost = time.monotonic()
                self._background(self._again(process))
                continue
            self._idle.put_nowait(process)
            if kind == "error":
                raise value
            return value
        raise WorkError(
            "the guardrail's workers",
            found=f"{ATTEMPTS} deaths on one batch",
            expected="an answer",
            remedy="give the service more memory, or a smaller batch",
        )

    async def _next(self) -> WorkerProcess:
        """A process that takes a batch; `Absent` where none has been loaded for LOAD_SECONDS."""
        while (left := LOAD_SECONDS - (0.0 if self._ready else time.monotonic() - self._lost)) > 0:
            with contextlib.suppress(TimeoutError):  # who is loaded may have died meanwhile
                async with asyncio.timeout(left):
                    return await self._idle.get()
        raise Absent

    def close(self) -> None:
        self._closing = True
        for process in self.processes:
            process.stop()
        self._pool.shutdown(wait=True)

    async def _first(self, process: WorkerProcess) -> None:
        try:
            await self._load(process)
        except (EOFError, OSError):
            await self._again(process)

    async def _load(self, process: WorkerProcess) -> None:
        """Wait until the process can answer, then let it take batches."""
        kind, value = await self._in_thread(process.receive)
        if kind == "error":
            raise value
        self._ready.add(process)
        self._idle.put_nowait(process)

    async def _again(self, process: WorkerProcess) -> None:
        """Start a dead process until it has loaded, more and more slowly."""
        pause = 0.5
        while not self._closing:
            self.metrics.worker_restarts.inc()
            await self._in_thread(process.restart)
            if self._closing:
                return process.stop()
            try:
                return await self._load(process)
            except (EOFError, OSError, CutawayError) as error:
                log.error("a worker did not load: %s", type(error).__name__)
            await asyncio.sleep(pause := min(30.0, 2 * pause))
        return None

    async def _in_thread(self, work, *arguments):
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    def _background(self, work) -> asyncio.Task:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def process_context() -> Any:
    """How processes start: forked from one that holds `LIBRARIES`, or anew where the system has no fork server."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    return context


class WorkerProcess:
    """One process at the other end of a pipe."""

    def __init__(self, context: Any, start: tuple) -> None:
        self._context, self._arguments = context, start
        self._launch()

    def _launch(self) -> None:
        self.pipe, far = self._context.Pipe()
        self.process = self._context.Process(target=_work, args=(far, *self._arguments), daemon=True)
        self.process.start()
        far.close()

    def receive(self) -> tuple[str, Any]:
        """What the process says next; EOFError or OSError when it is gone."""
        return self.pipe.recv()

    def ask(self, texts: list[str] | str, seconds: float) -> tuple[str, Any]:
        """Send a batch, or one text to explain, and wait; EOFError or OSError when the process is gone, TimeoutError
        when it hangs."""
        self.pipe.send(texts)
        if not self.pipe.poll(seconds):
            raise TimeoutError
        return self.pipe.recv()

    def restart(self) -> None:
        self.stop()
        self._launch()

    def stop(self) -> None:
        """End the process before its pipe, so that a thread that reads from it returns."""
        self.process.kill()
        self.process.join()
        with contextlib.suppress(OSError):
            self.pipe.close()


def _work(pipe: Any, folder: str, model: str | None, device: str, explain: bool) -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides when to stop
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    import torch

    from cutaway.guard.evidence import Explainer
    from cutaway.guard.evidence_file import read_evidence
    from cutaway.guard.folder import load_guardrail

    torch.set_num_threads(1)
    try:
        guard = load_guardrail(folder, model=model, device=device)
        guard.verdicts(WARM_UP)
        explainer = Explainer(guard, read_evidence(folder, guard)) if explain else None
    except CutawayError as error:
        return pipe.send(("error", error))
    gc.collect()
    gc.freeze()  # a full collection of what is loaded would hold a batch up for a quarter of a second
    pipe.send(("ready", None))
    while True:
        try:
            texts = pipe.recv()
        except (EOFError, OSError):
            return None
        try:
            if isinstance(texts, str):
                assert explainer is not None  # without one there is no such route
                pipe.send(("explained", explainer(texts)))
            else:
                pipe.send(("verdicts", guard.verdicts(texts)))
        except CutawayError as error:
            pipe.send(("error", error))
        except Exception as error:  # its text might hold the prompt
            pipe.send(
                (
                    "error",
                    WorkError(
                        "the guardrail's worker",
                        found=f"a {type(error).__name__}",
                        remedy="read the log above for its cause, and start the service again",
                    ),
                )
            )
