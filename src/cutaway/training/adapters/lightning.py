"""The tracker as a Lightning callback (extra `lightning`).

trainer = lightning.Trainer(callbacks=[TrackerCallback(tracker, examples=lambda batch: batch[2])])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from cutaway._compat import require
from cutaway.training.tracker import Tracker

require("lightning", "lightning")

from lightning.pytorch import Callback  # noqa: E402  (after the check, for its message)


class TrackerCallback(Callback):
    """Tell `tracker` of every optimisation step of a Lightning `Trainer`.

    `model(module)` picks the network inside the LightningModule (the module itself by default). `examples(batch)`
    gives the row numbers of a batch where the data carries them. Batches that only accumulate gradients are no
    steps. Loss is what `training_step` returned for the last batch of the step; the learning rate is that of the
    first parameter group. The run is closed when training ends, or marked failed with the exception.
    """

    def __init__(
        self,
        tracker: Tracker,
        *,
        model: Callable[[Any], nn.Module] = lambda module: module,
        examples: Callable[[Any], Any] | None = None,
    ) -> None:
        self.tracker, self._model, self._examples = tracker, model, examples
        self._last = -1

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._last = trainer.global_step
        if self._last == 0:
            self.tracker.step(self._model(pl_module), 0)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step <= self._last:
            return
        self._last = trainer.global_step
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else None
        examples = None if self._examples is None else self._examples(batch)
        self.tracker.step(self._model(pl_module), self._last, loss=loss, learning_rate=rate, examples=examples)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.tracker.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.tracker.close(failed=f"{type(exception).__name__}: {exception}")
