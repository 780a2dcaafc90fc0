"""What a measurement is given beside network and data: seed, budget, rows, and a table for its answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway import seeds
from cutaway.data import Dataset
from cutaway.data.dataset import spread_rows
from cutaway.network import Network
from cutaway.network.capture import DEFAULT_BUDGET
from cutaway.reading.table import Table


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """Rows of a data set as a measurement reads them.

    `rows` (m,): their numbers, ascending; `data`: these rows alone; `network`: what they go through, the network itself
    or its float64 copy, whose passes count together.
    """

    rows: NDArray[np.int64]
    data: Dataset
    network: Network

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def inputs(self) -> torch.Tensor:
        """(m, ...) on the network's device, floating point in its dtype."""
        return self.network.place(self.data.inputs)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(m,) class numbers; for instruments that need labels."""
        assert self.data.labels is not None
        return self.data.labels.cpu().numpy()

    @property
    def labels2(self) -> NDArray[np.int64]:
        """(m,) class numbers of the second labels; for instruments that need `labels2`."""
        assert self.data.labels2 is not None
        return self.data.labels2.cpu().numpy()

    @property
    def groups(self) -> NDArray[np.int64]:
        """(m,) numbers of `data.group_names`; for instruments that need `groups`."""
        assert self.data.groups is not None
        return self.data.groups.cpu().numpy()

    def passes(self, size: int) -> Iterator[torch.Tensor]:
        """The inputs, `size` rows at a time, each counted as one forward pass: for a model that is called directly."""
        for start in range(0, len(self), size):
            part = self.network.place(self.data.inputs[start : start + size])
            self.network.passes.count(len(part))
            yield part


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a measurement is given beside network and data: seed, memory budget in bytes, number of bootstrap
    resamples (0: none), and the name of the instrument."""

    seed: int = 0
    budget: int = DEFAULT_BUDGET
    resamples: int = 400
    name: str = ""

    def generator(self, offset: int = 0) -> torch.Generator:
        """A CPU generator of the instrument's own; `offset` gives independent streams. Draw on the CPU so that
        devices agree, and with a `dtype`, which the caller's default does not change."""
        return seeds.generator(self.seed, "instrument", self.name, offset)

    def sample(
        self,
        network: Network,
        data: Dataset,
        num_points: int | None = None,
        *,
        float64: bool = False,
        balanced: bool = True,
    ) -> Sample:
        """At most `num_points` rows of `data` (None: all), spread evenly over it, with `balanced` over its labels
        first.

        The same rows for every seed, so that a network and its nulls are compared on the same ones. `float64` gives the
        network's copy of that type.
        """
        total = len(data.inputs)
        rows = spread_rows(total, num_points or total, data.labels if balanced else None)
        chosen = data if len(rows) == total else data.subset(rows)
        return Sample(rows=rows.numpy(), data=chosen, network=network.double() if float64 else network)

    def table(self, coords: Mapping[str, Any] | None = None) -> Table:
        """An empty table with this context's seed and resamples."""
        return Table(coords, seed=self.seed, resamples=self.resamples)
