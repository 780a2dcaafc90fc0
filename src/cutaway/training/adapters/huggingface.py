"""The tracker as a callback of the Hugging Face `Trainer` (extra `hf`).

trainer = transformers.Trainer(..., callbacks=[TrackerCallback(tracker)])
"""

from __future__ import annotations

from typing import Any

from cutaway._compat import require
from cutaway.training.tracker import Tracker

require("transformers", "hf")

from transformers import TrainerCallback  # noqa: E402  (after the check, for its message)


class TrackerCallback(TrainerCallback):
    """Tell `tracker` of every optimisation step of a Hugging Face `Trainer`.

    The `Trainer` tells the loss only when it logs (`logging_steps`); it is recorded at the next step. The order of
    the examples is the `Trainer`'s own and is not told to callbacks. The run is closed when training ends.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self._logged: dict[str, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if state.global_step == 0:
            self.tracker.step(model, 0)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        self._logged |= {k: float(v) for k, v in (logs or {}).items() if k in ("loss", "grad_norm")}

    def on_step_end(
        self, args: Any, state: Any, control: Any, model: Any = None, lr_scheduler: Any = None, **_: Any
    ) -> None:
        rate = float(lr_scheduler.get_last_lr()[0]) if lr_scheduler is not None else None
        logged, self._logged = self._logged, {}
        self.tracker.step(model, state.global_step, learning_rate=rate, **logged)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.tracker.close()
