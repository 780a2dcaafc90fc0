"""Training in several processes (torchrun): rank 0 measures, the others wait for it, but never for ever.

Schedules that look at the step alone give the same answer everywhere and need no talk. For others rank 0 decides and
tells, one small broadcast a step. Messages go through a gloo group of our own, so that the training's collectives
are not touched.

gloo's threads let go of a message's tensor after its receiver went on, and need the interpreter for that: one that
finds it gone ends the process with SIGABRT. So the group is left, and its threads joined, before the interpreter goes.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch

from cutaway.errors import WorkError


class Processes:
    """This process among those that train together (one alone when torch.distributed is not initialised).

    `wait`: seconds until the others give up on rank 0. `quiet`: the decision is the same everywhere, do not talk.
    """

    def __init__(self, wait: float, *, quiet: bool) -> None:
        self.wait, self.quiet = wait, quiet
        distributed = torch.distributed
        self.several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
        self.rank = distributed.get_rank() if self.several else 0
        self._held: list[Any] = []
        if self.several:
            self._held.append(distributed.new_group(backend="gloo", timeout=timedelta(seconds=wait)))
            weakref.finalize(self, _leave, self._held)  # also at the end of the program, before threads are stopped

    @property
    def _group(self) -> Any:
        return self._held[0]

    @property
    def measures(self) -> bool:
        return self.rank == 0

    def agree(self, *decisions: bool) -> tuple[bool, ...]:
        """Rank 0's decisions, on every process."""
        if not self.several or self.quiet:
            return decisions
        told = torch.tensor(decisions, dtype=torch.int8)
        with self._bounded():
            torch.distributed.broadcast(told, 0, group=self._group)
        return tuple(bool(d) for d in told)

    @contextlib.contextmanager
    def others_wait(self) -> Iterator[None]:
        """Rank 0 works inside; the others come out when it is done. Raises `WorkError` after `wait` seconds."""
        try:
            yield
        finally:
            if self.several:
                with self._bounded():
                    torch.distributed.barrier(group=self._group)

    @contextlib.contextmanager
    def _bounded(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise WorkError(
                f"process {self.rank} of a distributed training",
                found=f"no word from the other processes within {self.wait:g} s",
                expected="all of them to reach the same step",
                remedy="give the tracker a longer `wait`, or look at the log of the process that died",
            ) from error


def _leave(held: list[Any]) -> None:
    """Give up the one group in `held`; dropping the last reference to it joins its threads."""
    with contextlib.suppress(Exception):  # the training has left all groups already
        torch.distributed.destroy_process_group(held[0])
    held.clear()
