"""Values of the network at a subdivision's vertices, each computed by the network's own operators.

The plain way to hold what a cut needs: for every vertex the values that later operators read, extended to new vertices
by interpolation along edges and sent on through the next layer, vertex by vertex. When they do not fit the budget they
are dropped and computed again from the inputs in chunks (slower by the depth, bounded memory). See `coordinates` for
the other way, which suits wide networks of which few neurons bend in the domain.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway.arrangement import Subdivision, open_cracks
from cutaway.arrangement.insertion import Insertion
from cutaway.arrays import Floats
from cutaway.engines.budget import format_bytes
from cutaway.errors import BudgetError
from cutaway.geometry.jumps import Depends
from cutaway.geometry.plane import Plane
from cutaway.geometry.program import KinkSite, StagedProgram, Values, refuse_overflow
from cutaway.geometry.vocabulary import PAIRED, RELU_LIKE

BLOCK = 256  # gates inserted at a time


class VertexValues:
    """Values at the vertices of `cells` up to a site; `budget` in bytes."""

    def __init__(self, program: StagedProgram, plane: Plane, cells: Subdivision, budget: int) -> None:
        self.program, self.plane, self.cells, self.budget = program, plane, cells, budget
        self.values: Values | None = None
        self.settled: list[tuple[NDArray[np.int64], Floats]] = []  # gates of a site that jumps, as they were cut
        self.at = 0
        self.recomputed = self.forward_rows = 0

    def gates(self, index: int, part: int) -> tuple[NDArray[np.int64], Floats, list[int], Floats]:
        """Columns of this part that may cut, their values (V, k), those that change sign somewhere, and a rounding
        error for each beyond that of the operators themselves (none)."""
        site, program = self.program.sites[index], self.program
        low, high = np.full(site.width, np.inf), np.full(site.width, -np.inf)
        zeros = np.zeros(site.width, dtype=np.int64)
        carried: Values | None = {} if self._fits(index) else None
        before, begin = self.values, 0
        for values in self._chunks(index):
            gates = program.gates(values, site, part).numpy()
            np.minimum(low, gates.min(axis=0), out=low)
            np.maximum(high, gates.max(axis=0), out=high)
            zeros += np.count_nonzero(gates == 0.0, axis=0)
            if carried is not None:
                _store(carried, values, before, begin, self.cells.num_vertices)
            begin += len(gates)
        refuse_overflow(low + high, f"site {site.name!r}")
        if carried is not None:
            self.values, self.at = carried, program.stop_of(index)
        else:
            self.values = None
        columns = np.flatnonzero(((low < 0) & (high > 0)) | ((zeros >= 2) & (low != high)))
        self._room(len(columns))
        if self.values is not None and site.kind in RELU_LIKE:
            gates = program.gates(self.values, site, part).numpy()
            if site.width <= BLOCK and 2 * len(columns) >= site.width:  # nearly all: take them as they lie, uncopied
                return np.arange(site.width), gates, columns.tolist(), np.zeros(site.width)
            return columns, gates[:, columns], columns.tolist(), np.zeros(len(columns))
        picked = np.empty((self.cells.num_vertices, len(columns)))
        begin = 0
        for values in self._chunks(index):
            rows = program.gates(values, site, part).numpy()[:, columns]
            picked[begin : begin + len(rows)] = rows
            begin += len(rows)
        return columns, picked, columns.tolist(), np.zeros(len(columns))

    def inserted(self, site: KinkSite, part: int, columns: NDArray[np.int64], done: Insertion, whole: bool) -> None:
        """Follow an insertion of `columns` of a part (`whole`: of all gates of the site at once)."""
        self._extend(site, done, done.values if whole and site.kind in RELU_LIKE else None)
        if site.jumps:
            self.settled = [(c, done.extend_rows(v)) for c, v in self.settled] + [(columns, done.values)]
        else:
            self._impose_zeros(site, part, columns, done.values)

    def close(self, index: int) -> None:
        """The site is cut. One that jumps gives both sides of its edges values of their own (raises BudgetError where
        they do not fit); for any other nothing is left to do: the next one computes what it reads."""
        site = self.program.sites[index]
        if not site.jumps:
            return
        if self.values is None:
            raise BudgetError(
                "memory budget of the slice",
                found=f"values at {self.cells.num_vertices} vertices of a network that jumps",
                expected=f"at most {format_bytes(self.budget / 2)}",
                remedy="raise the memory budget (--budget 12GB, budget=...)",
            )
        sides = self._sides(site)
        half = np.arange(self.cells.num_half_edges)
        one, other = self.cells.face[half], self.cells.face[self.cells.twin[half]]
        half = half[(half < self.cells.twin[half]) & (one >= 0) & (other >= 0)]
        half = half[(sides[self.cells.face[half]] != sides[self.cells.face[self.cells.twin[half]]]).any(axis=1)]
        self.keep(open_cracks(self.cells, half))
        inner = np.flatnonzero(self.cells.face[: self.cells.num_half_edges] >= 0)
        beside = np.zeros(self.cells.num_vertices, dtype=np.int64)
        beside[self.cells.origin[inner]] = self.cells.face[inner]
        sign = torch.from_numpy(sides[beside])
        self.values[site.node] = self.program.one_sided(self.values, site, sign)

    def _sides(self, site: KinkSite) -> NDArray[np.int8]:
        """(F, width): the sign that each gate of the site has inside each face; 0 where it is 0 all over it."""
        assert self.values is not None
        start, order = self.cells.cycles()
        corners = self.cells.origin[order]
        sides = np.empty((self.cells.num_faces, site.width), dtype=np.int8)
        gates = self.program.gates(self.values, site, 0).numpy().copy()
        for columns, values in self.settled:
            gates[:, columns] = values
        self.settled = []
        for begin in range(0, site.width, 64):
            some = gates[:, begin : begin + 64][corners]
            high, low = (pick.reduceat(some, start[:-1], axis=0) for pick in (np.maximum, np.minimum))
            sides[:, begin : begin + 64] = np.sign(np.where(high > -low, high, low))
        return sides

    def keep(self, vertices: NDArray[np.int64]) -> None:
        """Only these vertices are left."""
        if self.values is not None:
            self.values = {i: v[torch.from_numpy(vertices)] for i, v in self.values.items()}

    def _extend(self, site: KinkSite, done: Insertion, same: Floats | None) -> None:
        if self.values is None or not len(done.parent):
            return
        live = sum(v[0].numel() for v in self.values.values())
        if 8 * live * len(done.values) > self.budget // 2 and not site.jumps:
            self.values = None  # computed again, in parts
            return
        read = self.program.graph.nodes[site.node].inputs[0]
        for node, old in self.values.items():
            flat = old.reshape(old.shape[0], -1).numpy()
            if self.program.depends[node] is Depends.STEPWISE:
                rows = done.copied_rows(flat)
            else:
                rows = same if same is not None and node == read else done.extend_rows(flat)
            self.values[node] = torch.from_numpy(rows).reshape(rows.shape[0], *old.shape[1:])

    def _impose_zeros(self, site: KinkSite, part: int, columns: NDArray[np.int64], gates: Floats) -> None:
        """Write what is known to be zero into the values it is computed from, so that it stays so in later layers."""
        if self.values is None:
            return
        row, place = np.nonzero(gates == 0.0)
        column, inputs = columns[place], self.program.graph.nodes[site.node].inputs
        if inputs[0] not in self.values or not len(row):
            return
        flat = self.values[inputs[0]].reshape(gates.shape[0], -1).numpy()
        if site.window is not None:
            entries = self._entries_at(self.values, site, row, column)
            before = entries[:, : part + 1].max(axis=1)
            target = site.window.numpy()[column, part + 1]
            known = (target >= 0) & np.isfinite(before)
            flat[row[known], target[known]] = before[known]
        elif site.kind == "clamp":
            flat[row, column] = site.thresholds[part]
        elif site.kind in PAIRED:
            if inputs[1] in self.values:
                flat[row, column] = self.values[inputs[1]].reshape(gates.shape[0], -1).numpy()[row, column]
        else:
            flat[row, column] = 0.0

    @property
    def bytes(self) -> int:
        """Of the values held at the vertices."""
        return 8 * sum(v.numel() for v in (self.values or {}).values()) + sum(v.nbytes for _, v in self.settled)

    def _room(self, crossing: int) -> None:
        """Raises BudgetError where the gates of a part that cut, and a copy that grows, are over the budget."""
        needed = 16 * self.cells.num_vertices * crossing
        if needed > self.budget:
            raise BudgetError(
                "memory budget of the slice",
                found=f"{format_bytes(needed)} for {crossing} gates at {self.cells.num_vertices} vertices, "
                f"{self.cells.num_faces} faces so far",
                expected=f"at most {format_bytes(self.budget)} beside the network",
                remedy="raise the memory budget (--budget 12GB, budget=...)",
            )

    def _fits(self, index: int) -> bool:
        """Whether the values that site `index` and later operators read fit the budget for all vertices."""
        stop, nodes = self.program.stop_of(index), self.program.graph.nodes
        live = sum(n.numel for n in nodes[:stop] if self.program.last_use[n.index] >= stop)
        return 8 * live * self.cells.num_vertices <= self.budget // 2

    def _chunks(self, index: int, rows: NDArray | None = None):
        """Values at site `index` for all vertices (or `rows`), in chunks that fit the budget."""
        program, stop = self.program, self.program.stop_of(index)
        total = self.cells.num_vertices if rows is None else len(rows)
        start_at = self.at if self.values is not None else 0
        peak = max((n.numel for n in program.graph.nodes[start_at:stop]), default=1)
        peak = max(peak, program.graph.nodes[program.input.index].numel if self.values is None else 1)
        if index < len(program.sites):
            site = program.sites[index]
            peak = max(peak, site.width * (site.window.shape[1] if site.window is not None else 1))
        size = int(max(1, min(self.budget // (64 * peak), max(256, (1 << 24) // peak))))
        self.recomputed += self.values is None and index > 0
        for begin in range(0, max(total, 1), size):
            some = slice(begin, begin + size) if rows is None else rows[begin : begin + size]
            if self.values is not None:
                here = {i: v[some] for i, v in self.values.items()}
                if start_at == stop:
                    yield here
                    continue
            else:
                here = program.begin(
                    torch.from_numpy(self.plane.lift(self.cells.position[: self.cells.num_vertices][some]))
                )
            self.forward_rows += next(iter(here.values())).shape[0]
            yield program.advance(here, start_at, stop)

    def gaps(
        self,
        index: int,
        vertex: NDArray[np.int64],
        places: NDArray[np.int64],
        part: NDArray[np.int64],
        output: NDArray[np.int64],
    ) -> Floats:
        """By how much the largest entry of each claim's window exceeds the compared one, at one end of its edge."""
        gap, begin, order = np.empty(len(places)), 0, np.argsort(places, kind="stable")
        for values in self._chunks(index, vertex):
            count = next(iter(values.values())).shape[0]
            mine = order[np.searchsorted(places[order], begin) : np.searchsorted(places[order], begin + count)]
            entries = self._entries_at(values, self.program.sites[index], places[mine] - begin, output[mine])
            gap[mine] = entries.max(axis=1) - entries[np.arange(len(mine)), part[mine] + 1]
            begin += count
        return gap

    def _entries_at(
        self, values: Values, site: KinkSite, rows: NDArray[np.int64], outputs: NDArray[np.int64]
    ) -> Floats:
        assert site.window is not None
        read = self.program.graph.nodes[site.node].inputs[0]
        flat = values[read].reshape(values[read].shape[0], -1).numpy()
        window = site.window.numpy()[outputs]
        found = flat[rows[:, None], np.maximum(window, 0)]
        found[window < 0] = -np.inf
        return found

    def outputs(self) -> Floats:
        last = len(self.program.sites)
        return np.concatenate([self.program.outputs(values).numpy() for values in self._chunks(last)])


def _store(carried: Values, values: Values, before: Values | None, begin: int, total: int) -> None:
    """Put a chunk's values into tensors for all vertices, made at the first chunk. Where one tensor follows another of
    the same size, the chunk takes the place of the rows it was computed from."""
    for node, value in values.items():
        if len(value) == total:
            carried[node] = value
            continue
        if node not in carried:
            old = next(iter(before.values())) if before and len(before) == 1 == len(values) else None
            if old is not None and old.is_contiguous() and old[0].numel() == value[0].numel():
                carried[node] = old.reshape(total, *value.shape[1:])
            else:
                carried[node] = value.new_empty(total, *value.shape[1:])
        carried[node][begin : begin + len(value)] = value
