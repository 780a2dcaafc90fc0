"""Cut a plane polygon by every gate of a network, site by site: the engine under `slice_network`.

The state is the network's values at the subdivision's vertices. They are linear on every face, so a new vertex on an
edge gets its values from the edge's two ends, and only then does the next layer run, on vertices alone: one forward
pass for every vertex in all, in float64, no affine map of any face, no matrix of any convolution. A value known to be
zero (the vertex lies on that neuron's line) stays exactly zero through this, which is why central arrangements need no
luck.

Memory: values that later operators read, times vertices. When they do not fit the budget they are dropped and computed
again from the inputs in chunks at the next site (slower by the depth, bounded memory).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway.errors import BudgetError
from cutaway.geometry.arrangement import Subdivision, insert_gates, remove_edges
from cutaway.geometry.arrangement.insertion import Decide, Insertion
from cutaway.geometry.arrangement.subdivision import COMBINED
from cutaway.geometry.plane import Plane
from cutaway.geometry.program import PAIRED, RELU_LIKE, Site, StagedProgram, Values

Floats = NDArray[np.float64]
_BLOCK = 256  # gates inserted at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class CutSettings:
    """`budget`: bytes for vertex values; `max_faces`: BudgetError beyond; `compiled`: None takes numba when
    installed."""

    budget: int = 3 << 30
    max_faces: int = 5_000_000
    compiled: bool | None = None


@dataclass(slots=True, kw_only=True)
class CutReport:
    """What happened on the way: faces after each site, crossing gates of each site, doubtful signs by their fate."""

    faces_after: list[int] = field(default_factory=list)
    crossing: list[int] = field(default_factory=list)
    decided: int = 0
    snapped: int = 0
    odd: int = 0
    recomputed: int = 0
    forward_rows: int = 0


class Cutter:
    """Runs the stages of `program` over `cells`, whose vertices live in `plane`."""

    def __init__(
        self, program: StagedProgram, plane: Plane, polygon: Floats, settings: CutSettings, decide: Decide | None = None
    ) -> None:
        self.program, self.plane, self.settings, self.decide = program, plane, settings, decide
        self.cells = Subdivision(polygon)
        self.report = CutReport()
        self.values: Values | None = None
        self.at = 0
        self.noise = rounding_noise(program, plane, polygon)

    def run(self) -> Floats:
        """Cut by all sites; returns the network's outputs (V, C) at the vertices."""
        with torch.no_grad():
            for index in range(len(self.program.sites)):
                self._cut_site(index)
            return self._outputs()

    def _cut_site(self, index: int) -> None:
        site = self.program.sites[index]
        crossing: set[int] = set()
        for part in range(site.parts):
            columns, gates, changing = self._gates(index, part)
            crossing.update(changing)
            try:
                self._insert(site, part, columns, gates)
            except BudgetError as error:
                self._explain(error, index)
        if site.window is not None and site.parts > 1:
            self._drop_beaten(index)
        self.report.crossing.append(len(crossing))
        self.report.faces_after.append(self.cells.num_faces)

    def _explain(self, error: BudgetError, index: int) -> None:
        raise BudgetError(
            f"slice of {len(self.program.sites)} sites, at site {self.program.sites[index].name!r}",
            found=error.found + f" ({self.cells.num_faces} before this site)",
            expected=f"at most {self.settings.max_faces}",
            remedy="take a smaller domain (regions grow with the square of its width), or raise the budget (max_faces)",
        ) from error

    def _gates(self, index: int, part: int) -> tuple[NDArray[np.int64], Floats, list[int]]:
        """Columns of this part that may cut, their values (V, k), and those that change sign somewhere."""
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
        if carried is not None:
            self.values, self.at = carried, program.stop_of(index)
        else:
            self.values = None
        columns = np.flatnonzero(((low < 0) & (high > 0)) | ((zeros >= 2) & (low != high)))
        if self.values is not None and site.kind in RELU_LIKE:
            gates = program.gates(self.values, site, part).numpy()
            if site.width <= _BLOCK and 2 * len(columns) >= site.width:  # nearly all: take them as they lie, uncopied
                return np.arange(site.width), gates, columns.tolist()
            return columns, gates[:, columns], columns.tolist()
        picked = np.empty((self.cells.num_vertices, len(columns)))
        begin = 0
        for values in self._chunks(index):
            rows = program.gates(values, site, part).numpy()[:, columns]
            picked[begin : begin + len(rows)] = rows
            begin += len(rows)
        return columns, picked, columns.tolist()

    def _insert(self, site: Site, part: int, columns: NDArray[np.int64], gates: Floats) -> None:
        first = site.first + part * site.width
        noise = self.noise[self.program.sites.index(site)]
        for start in range(0, len(columns), _BLOCK):
            some = columns[start : start + _BLOCK]
            block = np.ascontiguousarray(gates[:, start : start + _BLOCK])
            largest = np.maximum(block.max(axis=0, initial=0.0), -block.min(axis=0, initial=0.0))
            tolerance = np.maximum(noise, 16 * np.finfo(float).eps * largest)
            done = insert_gates(
                self.cells, block, (first + some).astype(np.int32), tolerance, decide=self.decide,
                max_faces=self.settings.max_faces, compiled=self.settings.compiled,
            )  # fmt: skip
            self.report.decided += done.decided
            self.report.snapped += done.snapped
            self.report.odd += done.odd
            alone = len(columns) == site.width and len(columns) <= _BLOCK and site.kind in ("relu", "leaky_relu", "abs")
            self._extend(site, done, done.values if alone else None)
            self._impose_zeros(site, part, some, done.values)
            if start + _BLOCK < len(columns):
                gates = done.extend_rows(gates)

    def _extend(self, site: Site, done: Insertion, same: Floats | None) -> None:
        if self.values is None or not len(done.parent):
            return
        read = self.program.graph.nodes[site.node].inputs[0]
        for node, old in self.values.items():
            if same is not None and node == read:
                rows = same
            else:
                rows = done.extend_rows(old.reshape(old.shape[0], -1).numpy())
            self.values[node] = torch.from_numpy(rows).reshape(rows.shape[0], *old.shape[1:])

    def _impose_zeros(self, site: Site, part: int, columns: NDArray[np.int64], gates: Floats) -> None:
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

    def _fits(self, index: int) -> bool:
        """Whether the values that site `index` and later operators read fit the budget for all vertices."""
        stop, nodes = self.program.stop_of(index), self.program.graph.nodes
        live = sum(n.numel for n in nodes[:stop] if self.program.last_use[n.index] >= stop)
        return 8 * live * self.cells.num_vertices <= self.settings.budget // 2

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
        size = int(max(16, min(self.settings.budget // (64 * peak), max(256, (1 << 24) // peak))))
        self.report.recomputed += self.values is None and index > 0
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
            self.report.forward_rows += next(iter(here.values())).shape[0]
            yield program.advance(here, start_at, stop)

    def _drop_beaten(self, index: int) -> None:
        """Take out comparisons inside a window that a third entry wins: they bend nothing."""
        site, cells = self.program.sites[index], self.cells
        half, gate = _claims(cells, site)
        if not len(half):
            return
        part, output = np.divmod(gate - site.first, site.width)
        vertex, place = np.unique(np.stack([cells.origin[half], cells.origin[cells.twin[half]]]), return_inverse=True)
        gap = np.zeros((2, len(half)))
        for side, places in enumerate(place.reshape(2, -1)):
            gap[side] = self._gaps(index, vertex, places, part, output)
        beaten = gap.max(axis=0) > 64 * self.noise[index] + 1e-12 * gap.max(initial=0.0)
        drop = np.zeros(cells.num_half_edges, dtype=bool)
        _withdraw(cells, half[beaten], gate[beaten], drop)
        kept_vertices, _ = remove_edges(cells, drop)
        if self.values is not None:
            self.values = {i: v[torch.from_numpy(kept_vertices)] for i, v in self.values.items()}

    def _gaps(self, index: int, vertex, places, part, output) -> Floats:
        """By how much the largest entry of each claim's window exceeds the compared one, at one end of its edge."""
        gap, begin, order = np.empty(len(places)), 0, np.argsort(places, kind="stable")
        for values in self._chunks(index, vertex):
            count = next(iter(values.values())).shape[0]
            mine = order[np.searchsorted(places[order], begin) : np.searchsorted(places[order], begin + count)]
            entries = self._entries_at(values, self.program.sites[index], places[mine] - begin, output[mine])
            gap[mine] = entries.max(axis=1) - entries[np.arange(len(mine)), part[mine] + 1]
            begin += count
        return gap

    def _entries_at(self, values: Values, site: Site, rows, outputs) -> Floats:
        assert site.window is not None
        read = self.program.graph.nodes[site.node].inputs[0]
        flat = values[read].reshape(values[read].shape[0], -1).numpy()
        window = site.window.numpy()[outputs]
        found = flat[rows[:, None], np.maximum(window, 0)]
        found[window < 0] = -np.inf
        return found

    def _outputs(self) -> Floats:
        last = len(self.program.sites)
        return np.concatenate([self.program.outputs(values).numpy() for values in self._chunks(last)])


def _claims(cells: Subdivision, site: Site) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(half-edge, gate) for every gate of the site that made an edge or vanishes along it; one half-edge an edge."""
    number = np.arange(cells.num_half_edges)
    plain = np.flatnonzero(
        (cells.tag >= site.first) & (cells.tag < site.first + site.num_gates) & (number < cells.twin)
    )
    joint = np.flatnonzero((cells.tag >= COMBINED) & (number < cells.twin))
    extra = [(h, g) for h in joint for g in cells.tags_of(int(cells.tag[h])) if 0 <= g - site.first < site.num_gates]
    more = np.array(extra, dtype=np.int64).reshape(-1, 2)
    return np.concatenate([plain, more[:, 0]]), np.concatenate([cells.tag[plain].astype(np.int64), more[:, 1]])


def _withdraw(cells: Subdivision, half, gate, drop) -> None:
    """Take gates off edges; an edge that nothing claims any more is marked in `drop`."""
    plain = cells.tag[half] < COMBINED
    drop[half[plain]] = drop[cells.twin[half[plain]]] = True
    gone: dict[int, set[int]] = {}
    for h, g in zip(half[~plain].tolist(), gate[~plain].tolist()):
        gone.setdefault(h, set()).add(g)
    for h, gates in gone.items():
        left = [t for t in cells.tags_of(int(cells.tag[h])) if t not in gates]
        both = np.array([h, cells.twin[h]])
        if not left:
            drop[both] = True
            continue
        cells.tag[both] = left[0]
        for other in left[1:]:
            cells.combine(np.array([h]), other)


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


def rounding_noise(program: StagedProgram, plane: Plane, polygon: Floats, *, num_points: int = 12) -> Floats:
    """For every site, how far float64 gate values may be off: the error of single precision, measured at some points
    and scaled by 2**-29 (the ratio of the two units), times 64 for safety. An estimate, not a proof."""
    weights = np.random.default_rng(0).dirichlet(np.ones(len(polygon)), size=num_points)
    points = torch.from_numpy(plane.lift(np.concatenate([polygon[:8], weights @ polygon])))
    single = StagedProgram(program.graph.to(torch.float32))
    with torch.no_grad():
        exact, rough = program.all_gates(points), single.all_gates(points)
    noise = np.array([float((a - b.to(torch.float64)).abs().max()) if a.numel() else 0.0 for a, b in zip(exact, rough)])
    scale = np.array([float(a.abs().max()) if a.numel() else 0.0 for a in exact])
    noise = np.where(np.isfinite(noise), noise * 2.0**-29, scale * 2.0**-46)
    return 64 * np.maximum(noise, scale * 2.0**-55)
