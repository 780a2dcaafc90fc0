"""`Tracker`: instruments that watch a network while it trains, in any loop, without changing the training.

    data = {"train": train, "test": test}
    with Tracker([LocalComplexity(), Accuracy()], LogSpaced(10_000), "runs/mnist", data=data) as tracker:
        tracker.step(model, 0)
        for step in range(1, 10_001):
            ...  # one optimisation step
            tracker.step(model, step, loss=loss, learning_rate=rate, examples=rows)

Weights, gradients, buffers, modes and random streams are the same with and without (tested bit by bit). Everything goes
to one folder that a kill at any moment leaves readable (`training.store`), and from there to `cutaway track` and
`cutaway report`.
"""

from __future__ import annotations

import contextlib
import math
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import CutawayWarning, WorkError
from cutaway.instrument import Instrument
from cutaway.training import endings, told
from cutaway.training.callbacks import Callback, Callbacks
from cutaway.training.measuring import Measuring
from cutaway.training.pending import FLUSH_SECONDS, Pending
from cutaway.training.processes import Processes
from cutaway.training.run_writer import RunWriter
from cutaway.training.schedule import Moment, Schedule
from cutaway.training.sinks import Sink
from cutaway.training.store import open_training
from cutaway.training.watches import Clock, LossWatch, Troubles


class Tracker:
    """Measure `instruments` on `data` while a network trains, when `schedule` says so, into the folder `out`.

    Parameters
    ----------
    instruments : a sequence of instruments, or a mapping from labels to instruments (two radii of the same, say).
    schedule : `EveryN`, `LogSpaced`, `TimeBudget`, `When`, joined with `|`.
    out : run folder.
    data : a `Dataset`, or a mapping from labels such as "train" and "test" to sets; every instrument runs on each. An
        instrument that needs labels leaves out the sets that have none (said in `run.json`).
    seed, budget, intervals : as for `Instrument.measure`; the same seed at every step, so that frames and subsets stay.
    sinks : more places for the numbers, see `cutaway.training.sinks`.
    callbacks : what else sees every step and saves into the folder, such as `RowWatch` (scores of every training row).
    checkpoints : a schedule for saving weights (`.safetensors`), or None.
    on_nan : what to do when the loss is NaN or infinite: "mark" it and go on, or "stop" with `WorkError`.
    resume : go on with the run in `out`; steps after the first one told are recorded anew.
    settings : what else to remember of the training (a mapping that JSON can hold).
    wait : seconds that other processes of a distributed training wait for the measuring one.

    `shares` tells how much of the wall time went into tracking. An instrument that fails is recorded as failed with its
    reason, warned of once, and the training goes on. A step without measurement costs microseconds.

    Raises, at construction and at the first step: `InputError` for a folder of another run, an instrument without any
    fitting data, scalars that are no number; `FileError` for a folder that another tracker writes and for a full disk.
    After that a training is never ended: steps out of order or after `close`, another model, a full disk (what was told
    is kept and written later), a folder that was moved (scalars go on there, measurements end) are warned of once and
    recorded. Only `on_nan="stop"` raises. A tracker that is still open when the process ends is flushed, and marked
    failed where an exception ended it.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument] | Mapping[str, Instrument],
        schedule: Schedule,
        out: str | Path,
        *,
        data: Dataset | Mapping[str, Dataset],
        seed: int = 0,
        budget: int | None = None,
        intervals: bool = True,
        sinks: Sequence[Sink] = (),
        callbacks: Sequence[Callback] = (),
        checkpoints: Schedule | None = None,
        on_nan: Literal["mark", "stop"] = "mark",
        resume: bool = False,
        settings: Mapping[str, Any] | None = None,
        wait: float = 600.0,
    ) -> None:
        self.instruments = told.named(instruments)
        self.data = {"data": data} if isinstance(data, Dataset) else dict(data)
        self.schedule, self.checkpoints, self.folder = schedule, checkpoints, Path(out)
        self._measuring = Measuring(self.instruments, self.data, seed, budget, intervals)
        self._clock, self._loss, self._troubles, self._pending = Clock(), LossWatch(on_nan), Troubles(), Pending()
        self._sinks, self._settings, self._resume = tuple(sinks), dict(settings or {}), resume
        self._callbacks = Callbacks(callbacks, self._trouble)
        self._processes = Processes(wait, quiet=schedule.by_step and (checkpoints is None or checkpoints.by_step))
        self._writer: RunWriter | None = None
        self._signature: list[list[Any]] | None = None
        self._seen: Callable[[], nn.Module | None] = lambda: None
        self._last_step: int | None = None
        self._closed = self._waiting = False
        self._sessions = 0

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.close(failed="" if error is None else f"{type(error).__name__}: {error}")

    @property
    def elapsed(self) -> float:
        """Wall seconds since the first step, earlier sessions of a resumed run included."""
        return self._clock.elapsed

    @property
    def share(self) -> float:
        """Share of the wall time that tracking has taken so far."""
        return self._clock.share

    def step(
        self,
        model: nn.Module,
        step: int,
        *,
        loss: float | torch.Tensor | None = None,
        learning_rate: float | None = None,
        examples: torch.Tensor | np.ndarray | Sequence[int] | None = None,
        **scalars: float | torch.Tensor,
    ) -> bool:
        """Tell that `step` optimisation steps are done (0 before the first); returns whether something was measured.

        `examples`: numbers `(k,)` of the training rows that this step used, in order. `scalars`: any other numbers.
        """
        if self._closed:
            self._trouble(step, told.closed(step))
            return False
        first = self._last_step is None and not self._sessions
        known = {"loss": loss, "learning_rate": learning_rate, **scalars}
        try:
            return self._step(model, step, examples, known)
        except WorkError:  # asked for (on_nan), or other processes are gone
            raise
        except Exception as error:
            if first:
                raise
            self._trouble(step, error)
            return False

    def begin(self, step: int) -> None:
        """A training begins or goes on at `step`; callbacks say so, whose trainers may train more than once.

        After an end, later steps go on in the same run, and steps from the start anew are a run of their own in the
        folder `NAME-2`, `NAME-3`, ... Without an end (a trainer that tries again) what came from `step` on is recorded
        anew.
        """
        if self._last_step is None:
            return
        try:
            self._begin_again(step, self._last_step)
        except Exception as error:
            self._trouble(step, error)

    def _begin_again(self, step: int, last: int) -> None:
        self._sessions += 1
        if not self._closed and step <= last:
            self.flush()
            if self._writer is not None:
                self._writer.rewind(step - 1)
                self._writer.event(step, "restarted", reason=f"the training began again after step {last}")
            self._last_step = step - 1
        if not self._closed:
            return
        anew = step < last or step == 0
        if anew:
            self.folder = told.next_folder(self.folder)
            told.warn(
                CutawayWarning(
                    f"a tracker whose run ended at step {last}",
                    found=f"a training that begins at step {step}",
                    remedy=f"it is recorded as a run of its own in {str(self.folder)!r}",
                )
            )
        self._resume = not anew
        self._writer = self._signature = self._last_step = None
        self._closed = self._waiting = self._loss.told = False
        self._measuring.failed.clear()

    def note(self, step: int, **scalars: float | torch.Tensor) -> None:
        """Scalars of a step that was told already (a trainer that logs its loss later)."""
        try:
            values = told.numbers(scalars, step)
            if self._writer is not None and not self._closed and values:
                self._pending.scalars(step, values)
                self._mark_nan(self._writer, step, values)
        except WorkError:
            raise
        except Exception as error:
            self._trouble(step, error)

    def _step(self, model: nn.Module, step: Any, examples: Any, scalars: Mapping[str, Any]) -> bool:
        entered = self._clock.look()
        if self._last_step is None:
            self._clock.began, self._pending.flushed = entered, time.perf_counter()
        model, step = told.unwrapped(model), told.whole_step(step)
        values = told.numbers(scalars, step)
        self._check(model, step)
        self._last_step = step
        self._callbacks.step(model, step, examples)
        if self._writer is not None:
            self._pending.scalars(step, values)
            if examples is not None:
                self._pending.order(step, examples)
            self._mark_nan(self._writer, step, values)
        moment = Moment(
            step=step,
            scalars=values,
            elapsed=self.elapsed,
            spent=self._clock.spent,
            cost=told.price(self._clock.costs),
            waiting=self._waiting,
        )
        answer = self.schedule.due(moment)
        self._waiting = answer == "later"
        due, save = self._processes.agree(
            answer == "now", self.checkpoints is not None and self.checkpoints.due(moment) == "now"
        )
        if due or save:
            with self._processes.others_wait():
                if self._processes.measures:
                    self._take(model, step, due, save, entered)
        elif self._processes.measures and entered - self._pending.flushed > FLUSH_SECONDS:
            self.flush()
        return due

    def close(self, failed: str = "") -> None:
        """Write what is left and mark the run finished (or `failed`, with the reason); closing twice does nothing.

        So is a resumed run with no step left. A measurement that a `TimeBudget` put off to the end is made now, so that
        a short run has a first and a last one. A full disk is warned of."""
        if self._closed:
            return
        try:
            if self._writer is not None:
                self._callbacks.save(self._last_step or 0, self.folder)
                self._finish(self._writer, failed)
            elif self._resume and self._signature is None and self._processes.measures:
                endings.nothing_left(self.folder, failed)
        except Exception as error:
            self._trouble(self._last_step or 0, error)
        finally:
            self._closed = True
            self._clock.end()
            self._callbacks.close(self._last_step or 0)
            endings.let_go(self)
            for sink in self._sinks:
                with contextlib.suppress(Exception):
                    sink.close()

    def _finish(self, writer: RunWriter, failed: str) -> None:
        last = max(self._last_step or 0, 0)
        try:
            model = self._seen()
            if self._waiting and not failed and model is not None:
                self._take(model, last, True, False, self._clock.look())
                if len(self._clock.costs) <= 2:
                    self._clock.tell_few(writer, last)
            self.flush()
            for (name, label), (times, reason) in self._measuring.failed.items():
                told.warn(CutawayWarning(f"instrument {name!r} on {label!r} failed at {times} steps: {reason}"))
            writer.event(last, "failed" if failed else "finished", **({"reason": failed} if failed else {}))
            writer.journal.sync()
        finally:
            writer.close()

    def _trouble(self, step: Any, error: Exception) -> None:
        self._troubles.tell(step, error, None if self._closed else self._writer, max(self._last_step or 0, 0))

    def _check(self, model: nn.Module, step: int) -> None:
        told.later(step, self._last_step)
        if self._signature is None:
            self._open(model, step)
        elif self._seen() is not model:  # shapes changed in place are noticed when it is measured or saved
            told.same_shapes(model, self._signature, step)
        self._seen = weakref.ref(model)

    def _open(self, model: nn.Module, step: int) -> None:
        self._signature = told.shapes(model)
        if not self._processes.measures:
            return
        record = {
            **self._measuring.record(model),
            "schedule": str(self.schedule),
            "settings": told.jsonable(self._settings),
        }
        going_on = self._resume and (self.folder / "run.json").exists()
        self._writer = RunWriter(self.folder, record, resume=self._resume)
        endings.watch(self)
        if self._writer.taken_over:
            self._writer.event(step, "taken-over", reason=self._writer.taken_over)
            told.warn(CutawayWarning(f"the writer before ({self._writer.taken_over}) died; its lock was taken over"))
        if not going_on:
            return
        run = open_training(self.folder)
        if run.last_step >= step or run.finished:
            self._writer.rewind(step - 1)
        self._writer.event(step, "resumed")
        if run.shares:
            _, self._clock.before, self._clock.spent = run.shares[-1]
        for at in sorted({m[0] for m in run.missing if m[0] < step and m[0] in run.checkpoints}):
            try:
                self._measuring.make_up(self._writer, model, at, run)
            except Exception as error:
                self._trouble(at, error)

    def _take(self, model: nn.Module, step: int, due: bool, save: bool, entered: float) -> None:
        assert self._writer is not None
        told.same_shapes(model, self._signature, step)
        self.flush()
        self._writer.journal.check_in_place()
        if due:
            self._writer.due(step, self._measuring.pairs)
        if due:
            numbers = self._measuring.all(self._writer, model, step)
            for sink in self._sinks:
                try:
                    sink.write(step, numbers)
                except Exception as error:
                    self._trouble(step, error)
        if save:  # last: a training that goes on from a checkpoint has all of its readings
            file = self.folder / "checkpoints" / f"step-{step:08d}.safetensors"
            told.save_weights(model, file, {"step": str(step)})
            self._callbacks.save(step, self.folder)
        self._clock.add(self._clock.look() - entered, measured=due)
        share = {"kind": "share", "step": step, "elapsed": self.elapsed, "spent": self._clock.spent}
        self._writer.journal.append(share)
        self._writer.journal.sync()

    def _mark_nan(self, writer: RunWriter, step: int, values: Mapping[str, float]) -> None:
        loss = values.get("loss")
        if loss is not None and not math.isfinite(loss) and not self._loss.told:
            self.flush()
        self._loss.look(writer, step, loss)

    def flush(self) -> None:
        """Write the scalars and examples told so far, so that a kill cannot lose them (done every second anyway)."""
        if self._writer is not None:
            self._pending.flush(self._writer)
