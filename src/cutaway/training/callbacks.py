"""What a tracker calls beside its instruments: it sees every step, saves into the run's folder, ends no training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import nn


class Callback(Protocol):
    """`step` after every optimisation step (0 before the first); `save` with every checkpoint and at the end; `close`
    once. `name` tells it in messages."""

    name: str

    def step(self, model: nn.Module, step: int, *, examples: Any = None) -> object: ...

    def save(self, folder: Path) -> object: ...

    def close(self) -> None: ...


class Callbacks:
    """Several at once; one that raises is told to `trouble` and left out from then on."""

    def __init__(self, callbacks: Sequence[Callback], trouble: Callable[[int, Exception], None]) -> None:
        self._live, self._trouble = list(callbacks), trouble

    def step(self, model: nn.Module, step: int, examples: Any) -> None:
        self._each(step, lambda callback: callback.step(model, step, examples=examples))

    def save(self, step: int, folder: Path) -> None:
        self._each(step, lambda callback: callback.save(folder))

    def close(self, step: int) -> None:
        self._each(step, lambda callback: callback.close())

    def _each(self, step: int, call: Callable[[Callback], object]) -> None:
        for callback in tuple(self._live):
            try:
                call(callback)
            except Exception as error:
                self._live.remove(callback)
                self._trouble(step, error)
