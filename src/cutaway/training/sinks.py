"""Sinks: where figures go beside the store while a run is under way (TensorBoard, Weights & Biases, MLflow, CSV, JSON
lines as W&B writes them).

A sink gets `write(step, values)` with plain numbers by name and `close()`. Anything with these two methods is one.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Sink(Protocol):
    """Where numbers go: `write` once a measurement, `close` at the end."""

    def write(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class CsvSink:
    """One line a number, `step,name,value`; appended to what is there."""

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = not path.exists() or path.stat().st_size == 0
        self._file = path.open("a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        if fresh:
            self._writer.writerow(["step", "name", "value"])

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._writer.writerows([step, name, repr(float(value))] for name, value in values.items())
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class JsonLinesSink:
    """One JSON object a step with the keys `_step`, `_timestamp`, `_runtime` and one a number, as in the history
    files of Weights & Biases; what is not finite is written as text, as there."""

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")
        self._began = time.time()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        now = time.time()
        record: dict[str, float | str] = {"_step": step, "_timestamp": now, "_runtime": now - self._began}
        record |= {n: float(v) if math.isfinite(v) else _word(float(v)) for n, v in values.items()}
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorBoardSink:
    """TensorBoard event files in `folder` (extra `tensorboard`)."""

    def __init__(self, folder: str | Path) -> None:
        from cutaway._compat import require

        require("tensorboard", "tensorboard")
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WandbSink:
    """A run of Weights & Biases (extra `wandb`).

    options : what `wandb.init` takes, such as project, name, dir, mode="offline". Steps must not fall: of a training
    that goes on from an earlier checkpoint, wandb drops the steps that it has already. Raises `MissingExtra`.
    """

    def __init__(self, **options: Any) -> None:
        from cutaway._compat import require

        self._run = require("wandb", "wandb").init(**options)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({name: float(value) for name, value in values.items()}, step=step)

    def close(self) -> None:
        self._run.finish()


class MlflowSink:
    """A run of MLflow (extra `mlflow`).

    tracking_uri : a server, or a database as "sqlite:///mlflow.db" (which needs all of `mlflow`); by default what
    MLflow is set to. experiment : its name, made where it is not there. run_name : the run's. Raises `MissingExtra`.
    """

    def __init__(
        self, tracking_uri: str | None = None, *, experiment: str = "cutaway", run_name: str | None = None
    ) -> None:
        from cutaway._compat import require

        self._mlflow = require("mlflow", "mlflow")
        self._client = self._mlflow.MlflowClient(tracking_uri)
        known = self._client.get_experiment_by_name(experiment)
        number = self._client.create_experiment(experiment) if known is None else known.experiment_id
        self._run = self._client.create_run(number, run_name=run_name).info.run_id

    def write(self, step: int, values: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        metric = self._mlflow.entities.Metric
        self._client.log_batch(self._run, [metric(name, float(v), now, step) for name, v in values.items()])

    def close(self) -> None:
        self._client.set_terminated(self._run)


def _word(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
