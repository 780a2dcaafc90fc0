"""A tracker's measurements: its instruments on its data, of the model at one step, into the run's journal."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import CutawayWarning, FileError
from cutaway.instrument import Instrument
from cutaway.network import Network, preserved
from cutaway.network.weights import load_weights
from cutaway.reading.provenance import now, package_versions
from cutaway.training import told
from cutaway.training.run_writer import RunWriter
from cutaway.training.store import TrainingRun


class Measuring:
    """Which instrument runs on which set (`pairs` of set and instrument), which do not (`left_out`, with the reason),
    and how often each has `failed` and why. Raises `InputError` for no data and for an instrument that none fits."""

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        data: Mapping[str, Dataset],
        seed: int,
        budget: int | None,
        intervals: bool,
    ) -> None:
        self.instruments, self.data = instruments, data
        self.seed, self.budget, self.intervals = seed, budget, intervals
        self.pairs, self.left_out = told.pairs(instruments, data)
        self.failed: dict[tuple[str, str], tuple[int, str]] = {}

    def record(self, model: nn.Module) -> dict[str, Any]:
        """What a run folder says of the model, the instruments and the data."""
        key = {
            "model": told.value_digest(told.shapes(model)),
            "instruments": {label: [i.name, told.jsonable(i.parameters)] for label, i in self.instruments.items()},
            "data": {label: d.fingerprint() for label, d in self.data.items()},
        }
        return {
            "key": told.jsonable(key),
            "model": {"name": type(model).__name__, "parameters": sum(p.numel() for p in model.parameters())},
            "instruments": {label: i.name for label, i in self.instruments.items()},
            "data": {label: {"name": d.name, "rows": len(d)} for label, d in self.data.items()},
            "left_out": [{"instrument": i, "data": d, "reason": r} for i, d, r in self.left_out],
            "seed": self.seed,
            "versions": package_versions(),
            "time": now(),
        }

    def all(self, writer: RunWriter, model: nn.Module, step: int) -> dict[str, float]:
        """Every pair, with the model in evaluation mode and as it was afterwards; the figures by name."""
        numbers: dict[str, float] = {}
        with preserved(model):
            model.eval()
            for label, name in self.pairs:
                numbers |= self.one(writer, model, step, label, name)
        return numbers

    def one(self, writer: RunWriter, model: nn.Module, step: int, label: str, name: str) -> dict[str, float]:
        """One instrument on one set; a failure is recorded, and warned of the first time. Raises `FileError`."""
        dataset = self.data[label]
        try:
            with warnings.catch_warnings(record=True) as said, torch.enable_grad():
                warnings.simplefilter("always")
                network = Network(model, dataset.inputs[:2], probe=False)
                reading = self.instruments[name].measure(
                    network, dataset, seed=self.seed, budget=self.budget, intervals=self.intervals
                )
        except FileError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            writer.event(step, "not-measured", instrument=name, data=label, reason=reason)
            times, _ = self.failed.get((name, label), (0, ""))
            self.failed[name, label] = times + 1, reason
            if not times:
                told.warn(CutawayWarning(f"instrument {name!r} on {label!r} failed at step {step}: {reason}"), 7)
            return {}
        for warning in said:
            told.warn(warning.message, 7)
        writer.reading(step, label, name, reading)
        return {f"{label}/{name}/{f.name}": f.value for f in reading.figures}

    def make_up(self, writer: RunWriter, model: nn.Module, step: int, run: TrainingRun) -> None:
        """The readings that a kill left out between a checkpoint and its measurement, on a copy with its weights."""
        pairs = [(label, name) for at, label, name in run.missing if at == step]
        with preserved(model):
            other = copy.deepcopy(model).eval()
            load_weights(other, run.checkpoints[step])
            for label, name in pairs:
                self.one(writer, other, step, label, name)
