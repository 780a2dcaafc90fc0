"""Who computes: a thread of the server, or processes that are started again when they die.

A batch whose process dies is given to another process (or to the same one, started again), so a killed worker loses no
accepted prompt. Prompts travel over a pipe of our own and are never written anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cutaway.errors import CutawayError, WorkError

if TYPE_CHECKING:
    from cutaway.guard.guardrail import Guardrail, Verdict
    from cutaway.guard.service.metrics import Metrics

ATTEMPTS = 4


class Workers(Protocol):
    """Scores batches, several at once up to `parallel`."""

    parallel: int

    async def score(self, texts: list[str]) -> list[Verdict]:
        """Verdicts in order; raises what the guardrail raises."""
        ...

    def close(self) -> None:
        """Stop computing."""
        ...


class ThreadWorker:
    """Computes in one thread of this process."""

    parallel = 1

    def __init__(self, guard: Guardrail) -> None:
        self.guard = guard
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="guard")

    async def score(self, texts: list[str]) -> list[Verdict]:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.guard.verdicts, texts)

    def close(self) -> None:
        self._pool.shutdown(wait=True)


class ProcessWorkers:
    """`count` processes, each with the guardrail in `folder` loaded."""

    def __init__(
        self, folder: Path, count: int, metrics: Metrics, *, model: str | None = None, device: str = "cpu"
    ) -> None:
        self.parallel, self.metrics = count, metrics
        self._start = (str(folder), model, device)
        self._context = multiprocessing.get_context("spawn")
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="guard")
        self._idle: asyncio.Queue[_Process] = asyncio.Queue()
        self.processes = [_Process(self._context, self._start) for _ in range(count)]
        for process in self.processes:
            self._idle.put_nowait(process)

    async def score(self, texts: list[str]) -> list[Verdict]:
        loop = asyncio.get_running_loop()
        for _ in range(ATTEMPTS):
            process = await self._idle.get()
            try:
                kind, value = await loop.run_in_executor(self._pool, process.ask, texts)
            except (EOFError, OSError):
                self.metrics.count("guard_worker_restarts_total")
                await loop.run_in_executor(self._pool, process.restart)
                continue
            finally:
                self._idle.put_nowait(process)
            if kind == "error":
                raise value
            return value
        raise WorkError("the guardrail's workers", found=f"{ATTEMPTS} deaths on one batch", expected="an answer")

    def close(self) -> None:
        for process in self.processes:
            process.stop()
        self._pool.shutdown(wait=True)


class _Process:
    """One process at the other end of a pipe."""

    def __init__(self, context: Any, start: tuple) -> None:
        self._context, self._arguments = context, start
        self._launch()

    def _launch(self) -> None:
        self.pipe, far = self._context.Pipe()
        self.process = self._context.Process(target=_work, args=(far, *self._arguments), daemon=True)
        self.process.start()
        far.close()

    def ask(self, texts: list[str]) -> tuple[str, Any]:
        """Send a batch and wait; EOFError or OSError when the process is gone."""
        self.pipe.send(texts)
        return self.pipe.recv()

    def restart(self) -> None:
        self.stop()
        self._launch()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.close()
        self.process.join(timeout=2)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _work(pipe: Any, folder: str, model: str | None, device: str) -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides when to stop
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    import torch

    from cutaway.guard.folder import load

    torch.set_num_threads(1)
    guard = load(folder, model=model, device=device)
    while True:
        try:
            texts = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            pipe.send(("verdicts", guard.verdicts(texts)))
        except CutawayError as error:
            pipe.send(("error", error))
        except Exception as error:  # its text might hold the prompt
            pipe.send(("error", WorkError("the guardrail's worker", found=f"a {type(error).__name__}")))
