"""The tracker as a callback of the Hugging Face `Trainer` (extra `hf`).

trainer = transformers.Trainer(..., callbacks=[HuggingFaceCallback(tracker)])
"""

from __future__ import annotations

import functools
import sys
import weakref
from typing import Any

from cutaway._compat import require
from cutaway.training.adapters.order import OrderOf, watch_order
from cutaway.training.tracker import Tracker

require("transformers", "hf")

from transformers import Trainer, TrainerCallback  # noqa: E402  (after the check, for its message)


class HuggingFaceCallback(TrainerCallback):
    """Tell `tracker` of every optimisation step of a Hugging Face `Trainer`.

    The loss is recorded at the steps at which the `Trainer` logs it (`logging_steps`; the mean since the last one), the
    order of the examples as its sampler gave it. The run is closed when training ends and marked failed where `train`
    raises (given to `add_callback` and not as `callbacks`: a first `train` that raises is marked when the process ends
    with it); a second `train` is a run of its own, a batch size tried again records the steps anew (`Tracker.begin`).
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self._order: OrderOf | None = None
        self._watched: weakref.ref[Any] = weakref.ref(self)  # no trainer yet

    def on_init_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._watch()

    def _watch(self) -> None:
        trainer = _calling_trainer()
        if trainer is not None and self._watched() is not trainer:
            _tell_failures(trainer, self.tracker)
            self._watched = weakref.ref(trainer)

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, train_dataloader: Any = None, **_: Any
    ) -> None:
        self._watch()  # a callback that was added to a trainer hears of it here first
        self._order = watch_order(train_dataloader) if state.global_step == 0 else None
        self.tracker.begin(state.global_step)
        if state.global_step == 0:
            self.tracker.step(model, 0)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        told = {k: float(v) for k, v in (logs or {}).items() if k in ("loss", "grad_norm")}
        self.tracker.note(state.global_step, **told)

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._order is not None:
            self._order.batch_done()

    def on_step_end(
        self, args: Any, state: Any, control: Any, model: Any = None, lr_scheduler: Any = None, **_: Any
    ) -> None:
        rate = float(lr_scheduler.get_last_lr()[0]) if lr_scheduler is not None else None
        rows = None
        if self._order is not None:
            self._order.batch_done()
            rows = self._order.step_done()
        self.tracker.step(model, state.global_step, learning_rate=rate, examples=rows or None)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.tracker.close()


def _calling_trainer() -> Any:
    """The `Trainer` under construction: callbacks are not told of it, nor of exceptions in `train`."""
    frame = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, Trainer):
            return owner
        frame = frame.f_back
    return None


def _tell_failures(trainer: Any, tracker: Tracker) -> None:
    train = trainer.train

    @functools.wraps(train)
    def watched(*args: Any, **more: Any) -> Any:
        try:
            return train(*args, **more)
        except BaseException as error:
            tracker.close(failed=f"{type(error).__name__}: {error}")
            raise

    trainer.train = watched
