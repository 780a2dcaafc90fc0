"""The order in which a sampler gives the training examples, batch by batch, without changing it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any


class OrderOf:
    """Stands for `sampler` and remembers the row numbers that it gives until a batch of them is done with."""

    def __init__(self, sampler: Any, batch_size: int) -> None:
        self._sampler, self._batch_size = sampler, batch_size
        self._given: deque[int] = deque()
        self._step: list[int] = []

    def __iter__(self) -> Iterator[int]:
        self._given.clear()
        for row in self._sampler:
            self._given.append(int(row))
            yield row

    def __len__(self) -> int:
        return len(self._sampler)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_sampler"], name)

    def batch_done(self) -> None:
        """One more batch was trained on."""
        self._step += [self._given.popleft() for _ in range(min(self._batch_size, len(self._given)))]

    def step_done(self) -> list[int]:
        """The rows of the batches since the last step, in order."""
        rows, self._step = self._step, []
        return rows


def watch_order(loader: Any) -> OrderOf | None:
    """Puts itself before the sampler of a data loader; None where it has none (iterable sets)."""
    batches: Any = getattr(loader, "batch_sampler", None)
    batches = getattr(batches, "batch_sampler", batches)  # sharded over processes
    sampler, size = getattr(batches, "sampler", None), getattr(batches, "batch_size", None)
    if sampler is None or size is None:
        return None
    watched = OrderOf(getattr(sampler, "_sampler", sampler) if isinstance(sampler, OrderOf) else sampler, size)
    batches.sampler = watched
    return watched
