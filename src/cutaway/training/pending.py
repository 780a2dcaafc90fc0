"""What a tracker was told and has not written yet: scalars and the order of the training examples."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from cutaway.training.run_writer import RunWriter

FLUSH_SECONDS = 1.0  # what a kill can lose of the scalars and the order
MOST_WAITING = 100_000  # steps that are kept for a disk that is full


class Pending:
    """Rows that wait for the journal. `flush` writes them; where that fails they stay, the last `MOST_WAITING`."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._orders: list[tuple[int, np.ndarray]] = []
        self.flushed = time.perf_counter()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        if values:
            self._rows.append({"step": step, **values})

    def order(self, step: int, examples: Any) -> None:
        self._orders.append((step, np.asarray(torch.as_tensor(examples).detach().cpu())))

    def flush(self, writer: RunWriter) -> None:
        self.flushed = time.perf_counter()
        del self._rows[:-MOST_WAITING], self._orders[:-MOST_WAITING]
        while self._rows:
            names = self._rows[0].keys()
            same = [row for row in self._rows if row.keys() == names]
            table = np.array([[row[n] for n in names] for row in same], dtype=float)
            writer.scalars([n for n in names if n != "step"], table)
            self._rows = [row for row in self._rows if row.keys() != names]
        if self._orders:
            writer.order([s for s, _ in self._orders], [rows for _, rows in self._orders])
            self._orders = []
