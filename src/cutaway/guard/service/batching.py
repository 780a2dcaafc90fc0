"""Dynamic batching: prompts that wait together go through the model together.

The first prompt of a batch waits at most `wait_seconds` for company. What was accepted is answered: `drain` computes
everything that still waits before it returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cutaway.errors import CutawayError
from cutaway.guard.service.metrics import Metrics

if TYPE_CHECKING:
    from cutaway.guard.guardrail import PromptVerdict
    from cutaway.guard.service.settings import ServiceSettings
    from cutaway.guard.service.workers import Workers


class Full(Exception):
    """More prompts wait than may."""


@dataclass(slots=True, eq=False)
class _Waiting:
    text: str
    answer: asyncio.Future


class Batcher:
    """Collects prompts and hands batches to workers."""

    def __init__(self, workers: Workers, settings: ServiceSettings, metrics: Metrics) -> None:
        self.workers, self.settings, self.metrics = workers, settings, metrics
        self._queue: asyncio.Queue[_Waiting | None] = asyncio.Queue()
        self._running: set[asyncio.Task] = set()
        self._slots = asyncio.Semaphore(workers.parallel)
        self._loop: asyncio.Task | None = None
        self.waiting = 0
        metrics.prompts_waiting.set_function(lambda: self.waiting)

    def start(self) -> None:
        """Begin to take batches; call inside the event loop."""
        self._loop = asyncio.create_task(self._collect())

    async def submit(self, texts: list[str]) -> list[PromptVerdict]:
        """Verdicts of checked prompts, in order; `Full` when they do not fit into the queue."""
        if self.waiting + len(texts) > self.settings.queue:
            raise Full
        loop = asyncio.get_running_loop()
        entries = [_Waiting(text, loop.create_future()) for text in texts]
        self.waiting += len(entries)
        for entry in entries:
            self._queue.put_nowait(entry)
        done = await asyncio.gather(*(e.answer for e in entries), return_exceptions=True)
        given: list[PromptVerdict] = []
        for each in done:
            if isinstance(each, BaseException):
                raise each
            given.append(each)
        return given

    async def alone(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """What `work` gives, in a slot of its own; it counts as one prompt and goes on when its client goes. `Full`
        when it does not fit into the queue."""
        if self.waiting + 1 > self.settings.queue:
            raise Full
        self.waiting += 1
        task = asyncio.create_task(self._alone(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    async def _alone(self, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            async with self._slots:
                return await work()
        finally:
            self.waiting -= 1

    async def drain(self) -> None:
        """Answer all that waits, then stop."""
        self._queue.put_nowait(None)
        if self._loop is not None:
            await self._loop
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _collect(self) -> None:
        stopping = False
        while not stopping:
            first = await self._queue.get()
            if first is None:
                return
            await self._slots.acquire()
            batch, stopping = await self._company(first)
            task = asyncio.create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _company(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        batch, end = [first], asyncio.get_running_loop().time() + self.settings.wait_seconds
        room = self.settings.batch_chars - len(first.text)
        while len(batch) < self.settings.batch_size and room > 0:
            left = end - asyncio.get_running_loop().time()
            try:
                entry = self._queue.get_nowait() if left <= 0 else await asyncio.wait_for(self._queue.get(), left)
            except (TimeoutError, asyncio.QueueEmpty):
                break
            if entry is None:
                return batch, True
            batch.append(entry)
            room -= len(entry.text)
        return batch, False

    async def _run(self, batch: list[_Waiting]) -> None:
        self.metrics.batch_prompts.observe(len(batch))
        try:
            await self._answer(batch)
        finally:
            self.waiting -= len(batch)
            self._slots.release()

    async def _answer(self, batch: list[_Waiting]) -> None:
        wanted = [e for e in batch if not e.answer.done()]  # the client may have gone
        if not wanted:
            return
        try:
            verdicts = await self.workers.score([e.text for e in wanted])
        except CutawayError as error:
            if len(wanted) == 1:
                _settle(wanted[0], error)
                return
            for entry in wanted:  # one bad prompt must not cost the others their answer
                await self._answer([entry])
        except Exception as error:
            for entry in wanted:
                _settle(entry, error)
        else:
            for entry, verdict in zip(wanted, verdicts, strict=True):
                _settle(entry, verdict)


def _settle(entry: _Waiting, value: object) -> None:
    if entry.answer.done():
        return
    if isinstance(value, BaseException):
        entry.answer.set_exception(value)
    else:
        entry.answer.set_result(value)
