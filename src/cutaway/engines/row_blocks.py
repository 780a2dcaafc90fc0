"""A tall matrix that grows on both sides, kept in blocks of columns so that growing never copies all of it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from cutaway.arrays import Floats

WIDTH = 128  # columns of a block


class RowBlocks:
    """(V, K) float64 with room for more rows; starts as a copy of `rows`."""

    def __init__(self, rows: Floats) -> None:
        self.num_rows, self.num_columns = len(rows), 0
        self.blocks: list[Floats] = []
        self.append_columns(rows)

    @property
    def bytes(self) -> int:
        """Memory of the blocks, the room for more rows and columns included."""
        return sum(block.nbytes for block in self.blocks)

    def parts(self, columns: int | None = None) -> Iterator[tuple[slice, Floats]]:
        """The blocks up to `columns` (all): which columns, and their numbers (V, n), a view."""
        total = self.num_columns if columns is None else columns
        for number, block in enumerate(self.blocks):
            first = number * WIDTH
            if first >= total:
                return
            last = min(first + WIDTH, total)
            yield slice(first, last), block[: self.num_rows, : last - first]

    def append_columns(self, columns: Floats) -> None:
        """Add columns (V, n) on the right."""
        done = 0
        while done < columns.shape[1]:
            used = self.num_columns % WIDTH
            if not used:
                room = len(self.blocks[0]) if self.blocks else max(64, self.num_rows)
                self.blocks.append(np.empty((room, WIDTH)))
            count = min(WIDTH - used, columns.shape[1] - done)
            self.blocks[-1][: self.num_rows, used : used + count] = columns[:, done : done + count]
            self.num_columns, done = self.num_columns + count, done + count

    def resize_rows(self, rows: int) -> None:
        """Room for `rows` rows; new ones are not written."""
        if self.blocks and rows > len(self.blocks[0]):
            room = rows + rows // 3
            for number, block in enumerate(self.blocks):
                bigger = np.empty((room, WIDTH))
                bigger[: self.num_rows] = block[: self.num_rows]
                self.blocks[number] = bigger
        self.num_rows = rows

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Only these rows are left."""
        for block in self.blocks:
            block[: len(rows)] = block[rows]
        self.num_rows = len(rows)

    def at(self, rows: NDArray[np.int64], columns: int) -> Floats:
        """(n, columns): some rows, copied."""
        return np.concatenate([part[rows] for _, part in self.parts(columns)], axis=1)

    def dot(self, matrix: Floats) -> Floats:
        """(V, m): the first len(matrix) columns times `matrix` (k, m)."""
        made = np.zeros((self.num_rows, matrix.shape[1]))
        for some, part in self.parts(len(matrix)):
            made += part @ matrix[some]
        return made

    def over_rows(self, reduce: Callable[..., Floats], columns: int | None = None) -> Floats:
        """(K,): a reduction such as np.min over the rows of each column."""
        return np.concatenate([reduce(part, axis=0) for _, part in self.parts(columns)])
