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

import dataclasses
import math
import time
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import CutawayError, CutawayWarning, FileError, InputError, WorkError
from cutaway.files import atomic
from cutaway.instrument import Instrument
from cutaway.network import Network, preserved
from cutaway.reading.provenance import now, package_versions
from cutaway.reading.sinks import Sink
from cutaway.training.processes import Processes
from cutaway.training.schedule import Moment, Schedule
from cutaway.training.store import RunWriter, open_training

FLUSH_SECONDS = 1.0  # what a kill can lose of the scalars and the order


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
    sinks : more places for the numbers, see `cutaway.reading.sinks`.
    checkpoints : a schedule for saving weights (`.safetensors`), or None.
    on_nan : what to do when the loss is NaN or infinite: "mark" it and go on, or "stop" with `WorkError`.
    resume : go on with the run in `out`; steps after the first one told are recorded anew.
    settings : what else to remember of the training (a mapping that JSON can hold).
    wait : seconds that other processes of a distributed training wait for the measuring one.

    `shares` tells how much of the wall time went into tracking. An instrument that fails on a step is recorded as
    failed with its reason and warned of once; the training goes on. Cost: that of the instruments; a step without
    measurement costs microseconds.

    Raises `InputError` for a folder of another run, an instrument without any fitting data, steps out of order, a
    step after `close`, scalars that are no number, and a model whose parameters change their shapes (another module at
    once, one changed in place when it is next measured or saved); `FileError` when the disk is full.
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
        checkpoints: Schedule | None = None,
        on_nan: Literal["mark", "stop"] = "mark",
        resume: bool = False,
        settings: Mapping[str, Any] | None = None,
        wait: float = 600.0,
    ) -> None:
        if on_nan not in ("mark", "stop"):
            raise InputError("on_nan", found=repr(on_nan), expected="'mark' or 'stop'")
        self.instruments = _named(instruments)
        self.data = {"data": data} if isinstance(data, Dataset) else dict(data)
        self.pairs, self._left_out = _pairs(self.instruments, self.data)
        self.schedule, self.checkpoints, self.folder = schedule, checkpoints, Path(out)
        self.seed, self.budget, self.intervals, self.on_nan = seed, budget, intervals, on_nan
        self._sinks, self._settings, self._resume = tuple(sinks), dict(settings or {}), resume
        self._processes = Processes(wait, quiet=schedule.by_step and (checkpoints is None or checkpoints.by_step))
        self._writer: RunWriter | None = None
        self._signature: list[list[Any]] | None = None
        self._seen: Callable[[], nn.Module | None] = lambda: None
        self._last_step: int | None = None
        self._closed = self._waiting = self._nan_told = False
        self._failed: set[tuple[str, str]] = set()
        self._rows: list[dict[str, Any]] = []
        self._orders: list[tuple[int, np.ndarray]] = []
        self._began = self._flushed = time.perf_counter()
        self._elapsed_before = self._spent = 0.0
        self._costs: list[float] = []

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.close(failed="" if error is None else f"{type(error).__name__}: {error}")

    @property
    def elapsed(self) -> float:
        """Wall seconds since the first step, earlier sessions of a resumed run included."""
        return self._elapsed_before + (time.perf_counter() - self._began if self._last_step is not None else 0.0)

    @property
    def share(self) -> float:
        """Share of the wall time that tracking has taken so far."""
        return self._spent / self.elapsed if self.elapsed > 0 else 0.0

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

        `examples`: numbers of the training rows that this step used, in order. `scalars`: anything else to record.
        """
        entered = time.perf_counter()
        if self._last_step is None:
            self._began = self._flushed = entered
        model = _unwrapped(model)
        self._check(model, step)
        self._last_step = step
        known = {k: _plain(k, v, step) for k, v in {"loss": loss, "learning_rate": learning_rate, **scalars}.items()}
        values = {k: v for k, v in known.items() if v is not None}
        if self._processes.measures:
            if values:
                self._rows.append({"step": step, **values})
            if examples is not None:
                self._orders.append((step, np.asarray(torch.as_tensor(examples).detach().cpu())))
            self._mark_nan(step, values)
        moment = Moment(
            step=step, scalars=values, elapsed=self.elapsed, spent=self._spent,
            cost=_price(self._costs), waiting=self._waiting,
        )  # fmt: skip
        answer = self.schedule.due(moment)
        self._waiting = answer == "later"
        due, save = self._processes.agree(
            answer == "now", self.checkpoints is not None and self.checkpoints.due(moment) == "now"
        )
        if due or save:
            with self._processes.others_wait():
                if self._processes.measures:
                    self._take(model, step, due, save, entered)
        elif self._processes.measures and entered - self._flushed > FLUSH_SECONDS:
            self.flush()
        return due

    def close(self, failed: str = "") -> None:
        """Write what is left and mark the run finished (or `failed`, with the reason); closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._writer is not None:
                self.flush()
                if failed:
                    self._writer.event(self._last_step or 0, "failed", reason=failed)
                else:
                    self._writer.event(self._last_step or 0, "finished")
                self._writer.journal.sync()
                self._writer.close()
        finally:
            for sink in self._sinks:
                sink.close()

    def _check(self, model: nn.Module, step: int) -> None:
        if self._closed:
            raise InputError(f"step {step}", found="a tracker that was closed", expected="steps before close()")
        if step < 0 or step != int(step):
            raise InputError(f"step {step}", found=str(step), expected="a whole number, 0 or more")
        if self._last_step is not None and step <= self._last_step:
            told = "twice" if step == self._last_step else "out of order"
            raise InputError(
                f"step {step} told {told}",
                found=f"step {step} after step {self._last_step}",
                expected="steps that increase",
                remedy="call tracker.step once after every optimisation step",
            )
        if self._signature is None:
            self._signature = _shapes(model)
            self._open(model, step)
        elif self._seen() is not model:  # shapes changed in place are noticed when it is measured or saved
            self._same_model(model, step)
        self._seen = weakref.ref(model)

    def _same_model(self, model: nn.Module, step: int) -> None:
        signature, first = _shapes(model), self._signature
        if signature == first or first is None:
            return
        old, new = dict(map(tuple, first)), dict(map(tuple, signature))
        changed = next(n for n in [*new, *old] if old.get(n) != new.get(n))
        raise InputError(
            f"model at step {step}",
            found=f"parameter {changed!r} of shape {new.get(changed)}",
            expected=f"{old.get(changed)}, as at the first step",
            remedy="track each model with a tracker of its own",
        )

    def _open(self, model: nn.Module, step: int) -> None:
        if not self._processes.measures:
            return
        key = {
            "model": _digest(self._signature),
            "instruments": {label: [i.name, _jsonable(i.parameters)] for label, i in self.instruments.items()},
            "data": {label: d.fingerprint() for label, d in self.data.items()},
        }
        record = {
            "key": _jsonable(key),
            "model": {"name": type(model).__name__, "parameters": sum(p.numel() for p in model.parameters())},
            "instruments": {label: i.name for label, i in self.instruments.items()},
            "data": {label: {"name": d.name, "rows": len(d)} for label, d in self.data.items()},
            "left_out": [{"instrument": i, "data": d, "reason": r} for i, d, r in self._left_out],
            "schedule": str(self.schedule),
            "seed": self.seed,
            "settings": _jsonable(self._settings),
            "versions": package_versions(),
            "time": now(),
        }
        going_on = self._resume and (self.folder / "run.json").exists()
        self._writer = RunWriter(self.folder, record, resume=self._resume)
        if not going_on:
            return
        run = open_training(self.folder)
        if run.last_step >= step or run.finished:
            self._writer.rewind(step - 1)
        self._writer.event(step, "resumed")
        if run.shares:
            _, self._elapsed_before, self._spent = run.shares[-1]

    def _take(self, model: nn.Module, step: int, due: bool, save: bool, entered: float) -> None:
        assert self._writer is not None
        self._same_model(model, step)
        self.flush()
        if save:
            self._save(model, step)
        if due:
            numbers: dict[str, float] = {}
            with preserved(model):
                model.eval()
                for label, instrument in self.pairs:
                    numbers |= self._measure(model, step, label, instrument)
            for sink in self._sinks:
                sink.write(step, numbers)
        seconds = time.perf_counter() - entered
        self._spent += seconds
        if due:
            self._costs.append(seconds)
        self._writer.journal.append({"kind": "share", "step": step, "elapsed": self.elapsed, "spent": self._spent})
        self._writer.journal.sync()

    def _measure(self, model: nn.Module, step: int, label: str, name: str) -> dict[str, float]:
        assert self._writer is not None
        dataset = self.data[label]
        try:
            with torch.enable_grad():
                network = Network(model, dataset.inputs[:2], probe=False)
                reading = self.instruments[name].measure(
                    network, dataset, seed=self.seed, budget=self.budget, intervals=self.intervals
                )
        except FileError:
            raise
        except (CutawayError, RuntimeError, ValueError, ArithmeticError) as error:
            reason = f"{type(error).__name__}: {error}"
            self._writer.event(step, "not-measured", instrument=name, data=label, reason=reason)
            if (name, label) not in self._failed:
                self._failed.add((name, label))
                warnings.warn(
                    CutawayWarning(f"instrument {name!r} on {label!r} failed at step {step}: {reason}"), stacklevel=5
                )
            return {}
        self._writer.reading(step, label, name, reading)
        return {f"{label}/{name}/{f.name}": f.value for f in reading.figures}

    def _save(self, model: nn.Module, step: int) -> None:
        file = self.folder / "checkpoints" / f"step-{step:08d}.safetensors"
        save_weights(model, file, {"step": str(step)})

    def _mark_nan(self, step: int, values: Mapping[str, float]) -> None:
        loss = values.get("loss")
        if loss is None or math.isfinite(loss):
            return
        if not self._nan_told:
            self._nan_told = True
            assert self._writer is not None
            self.flush()
            self._writer.event(step, "nan", value=str(loss))
            if self.on_nan == "mark":
                warnings.warn(CutawayWarning(f"the loss is {loss} at step {step}; tracking goes on"), stacklevel=3)
        if self.on_nan == "stop":
            raise WorkError(
                f"training at step {step}",
                found=f"a loss of {loss}",
                expected="a finite loss",
                remedy="lower the learning rate or clip the gradients; what was measured is kept",
            )

    def flush(self) -> None:
        """Write the scalars and examples told so far, so that a kill cannot lose them (done every second anyway)."""
        if self._writer is None:
            return
        self._flushed = time.perf_counter()
        rows, self._rows = self._rows, []
        names = list(dict.fromkeys(k for row in rows for k in row if k != "step"))
        if rows:
            table = np.array([[row["step"], *(row.get(n, math.nan) for n in names)] for row in rows], dtype=float)
            self._writer.scalars(names, table)
        orders, self._orders = self._orders, []
        if orders:
            self._writer.order([s for s, _ in orders], [rows for _, rows in orders])


def save_weights(model: nn.Module, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the weights as safetensors, atomically; tied weights are stored once. `FileError` when the disk is full."""
    from safetensors import SafetensorError
    from safetensors.torch import save_model

    with atomic(path) as temporary:
        try:
            save_model(model, str(temporary), metadata=dict(metadata))
        except SafetensorError as error:  # its own kind for a full disk, which is no OSError
            raise OSError(str(error)) from error


def _named(instruments: Sequence[Instrument] | Mapping[str, Instrument]) -> dict[str, Instrument]:
    if isinstance(instruments, Mapping):
        return dict(instruments)
    names = [i.name for i in instruments]
    double = next((n for n in names if names.count(n) > 1), None)
    if double is not None:
        raise InputError(
            f"instrument {double!r}",
            found="it twice",
            expected="each once",
            remedy=f"give a mapping of labels, such as {{'{double}-a': ..., '{double}-b': ...}}",
        )
    return dict(zip(names, instruments, strict=True))


def _pairs(
    instruments: Mapping[str, Instrument], data: Mapping[str, Dataset]
) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    """Which instrument runs on which set, and which do not, with the reason."""
    if not data:
        raise InputError("tracker data", found="no data set", expected="at least one")
    pairs, left_out = [], []
    for name, instrument in instruments.items():
        fitting = [label for label, d in data.items() if d.labels is not None or "labels" not in instrument.needs]
        if not fitting:
            raise InputError(
                f"instrument {name!r}",
                found="data without labels (" + ", ".join(data) + ")",
                expected="labelled data",
                remedy="add a labelled set, or leave this instrument out",
            )
        pairs += [(label, name) for label in fitting]
        left_out += [(name, label, "needs labels") for label in data if label not in fitting]
    return pairs, left_out


def _unwrapped(model: nn.Module) -> nn.Module:
    """The module under torch.compile and DistributedDataParallel, so that measuring takes no part in collectives."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod  # type: ignore[assignment]
        else:
            return model


def _shapes(model: nn.Module) -> list[list[Any]]:
    return [[name, list(p.shape)] for name, p in model.named_parameters()]


def _plain(name: str, value: float | torch.Tensor | None, step: int) -> float | None:
    try:
        return None if value is None else float(value.detach() if isinstance(value, torch.Tensor) else value)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)[:80]
        raise InputError(f"{name!r} told at step {step}", found=kind, expected="one number") from error


def _price(costs: Sequence[float]) -> float | None:
    """What the next measurement will take: the dearest of the last three. The first one, which also pays for what
    happens once (imports, caches), counts half for the second and not at all later."""
    if len(costs) < 2:
        return costs[0] / 2 if costs else None
    return max(costs[1:][-3:])


def _digest(value: Any) -> str:
    import hashlib
    import json

    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(v) for v in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _jsonable(dataclasses.asdict(value))
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
