"""The tracker as a Lightning callback (extra `lightning`).

trainer = lightning.Trainer(callbacks=[LightningCallback(tracker, examples=lambda batch: batch[2])])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import nn

from cutaway._compat import require
from cutaway.training.tracker import Tracker

require("lightning", "lightning")

from lightning.pytorch import Callback, LightningModule  # noqa: E402  (after the check, for its message)


class LightningCallback(Callback):
    """Tell `tracker` of every optimisation step of a Lightning `Trainer`.

    `model(module)` picks the network inside the LightningModule (by default the module itself, or its only child where
    it has no `forward`). `examples(batch)` gives the row numbers of a batch where the data carries them. Batches that
    only accumulate gradients are no steps; loss and examples are those of all batches of a step (the mean of their
    losses). Under manual optimisation the loss is what was given to `manual_backward`. The learning rate is that of
    the first parameter group. The run is closed when training ends, or marked failed with the exception; a second `fit`
    goes on with it, one that begins at step 0 anew is a run of its own (`Tracker.begin`).
    """

    def __init__(
        self,
        tracker: Tracker,
        *,
        model: Callable[[Any], nn.Module] | None = None,
        examples: Callable[[Any], Any] | None = None,
    ) -> None:
        self.tracker, self._model, self._examples = tracker, model or network_of, examples
        self._last = -1
        self._losses: list[float] = []
        self._rows: list[np.ndarray] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._last = trainer.global_step
        self._losses, self._rows = [], []
        self.tracker.begin(self._last)
        if self._last == 0:
            self.tracker.step(self._model(pl_module), 0)

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        if not pl_module.automatic_optimization:
            scaler = getattr(trainer.precision_plugin, "scaler", None)
            self._losses.append(float(loss.detach()) / (scaler.get_scale() if scaler is not None else 1.0))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if pl_module.automatic_optimization and loss is not None:  # Lightning has divided it by the number of batches
            self._losses.append(float(loss.detach()) * trainer.accumulate_grad_batches)
        if self._examples is not None:
            self._rows.append(np.asarray(self._examples(batch)).reshape(-1))
        if trainer.global_step <= self._last:
            return
        self._last = trainer.global_step
        rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else None
        mean = sum(self._losses) / len(self._losses) if self._losses else None
        rows = np.concatenate(self._rows) if self._rows else None
        self._losses, self._rows = [], []
        self.tracker.step(self._model(pl_module), self._last, loss=mean, learning_rate=rate, examples=rows)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.tracker.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.tracker.close(failed=f"{type(exception).__name__}: {exception}")


def network_of(module: Any) -> nn.Module:
    """The module itself; where it has no `forward` of its own, its only child with parameters."""
    if type(module).forward is not LightningModule.forward:
        return module
    children = [child for child in module.children() if any(True for _ in child.parameters())]
    return children[0] if len(children) == 1 else module
