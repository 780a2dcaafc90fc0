"""One batch of gates into a subdivision: values at the vertices in, a finer one and the new vertices' descent out.

`insert_gates(cells, values, gate_of, tolerance)` cuts every face by the zero lines of k functions that are continuous
and, face by face, linear. Signs within `tolerance` of zero are put to `decide` before they are used; what it calls zero
becomes exactly zero (a vertex on the line), and without it every doubtful value is taken for zero and counted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cutaway.arrangement.split_vectorised import split_by_gate
from cutaway.arrangement.subdivision import Subdivision, grown
from cutaway.arrays import Floats
from cutaway.errors import BudgetError

_KERNELS = "cutaway.arrangement.split_compiled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A sign that rounding cannot decide: is `gate` zero where the lines `first` and `second` (tags) meet on a face?

    `polygon` (m, 2): the face at the stage's start, on which all three functions are linear. `value`: what rounding
    says.
    """

    polygon: Floats
    first: int
    second: int
    gate: int
    value: float


class TooManyRegions(BudgetError):
    """There are more regions than a number that the caller gave, whatever the memory."""


Decide = Callable[[Doubt], int | None]


@dataclass(slots=True, kw_only=True)
class Insertion:
    """What inserting a batch did. Descent of the new vertices: `parent`, `weight` (n, 2), in order of creation (each
    parent is older), new vertex base + i; `root` (F): the face at the start that each face lies in; `values` (V, k)."""

    base: int
    parent: NDArray[np.int32]
    weight: Floats
    root: NDArray[np.int32]
    values: Floats
    batches: list[int] = field(default_factory=list)
    decided: int = 0
    snapped: int = 0
    odd: int = 0

    def extend_rows(self, rows: Floats) -> Floats:
        """Rows (base, s) of any functions linear on the faces at the start, with the new vertices' rows added.

        Exact up to rounding: linear interpolation. Source: definition.
        """
        made = np.empty((self.base + len(self.parent), rows.shape[1]))
        made[: self.base] = rows[: self.base]
        self.fill_rows(made)
        return made

    def copied_rows(self, rows: Floats) -> Floats:
        """The same for functions that are constant on the faces: a new vertex has the value of an old one beside it.

        `rows` (base, s), result (base + new, s). Exact. Source: definition.
        """
        source = self.parent[:, 0].copy()
        while len(late := np.flatnonzero(source >= self.base)):
            source[late] = self.parent[source[late] - self.base, 0]
        return np.concatenate([rows[: self.base], rows[source]])

    def fill_rows(self, made: Floats) -> None:
        """The same in place: `made` (base + new, s) holds the rows at the start, the others are written."""
        compiled = compiled_kernels() if not self.batches else None
        if compiled is not None:
            compiled.interpolate_rows(made, self.base, self.parent, self.weight)
            return
        first = 0
        for last in self.batches:
            some = slice(first, last)
            a, b = self.parent[some, 0], self.parent[some, 1]
            made[self.base + first : self.base + last] = (
                self.weight[some, :1] * made[a] + self.weight[some, 1:] * made[b]
            )
            first = last


def compiled_kernels():
    """The numba module, or None when the extra `fast` is not installed or CUTAWAY_PLAIN_SPLITTING is set."""
    import os

    if os.environ.get("CUTAWAY_PLAIN_SPLITTING"):
        return None
    try:
        from cutaway.arrangement import split_compiled
    except ImportError:
        return None
    return split_compiled


def insert_gates(
    cells: Subdivision,
    values: Floats,
    gate_of: NDArray[np.int32],
    tolerance: Floats,
    *,
    decide: Decide | None = None,
    max_faces: int | None = None,
    compiled: bool | None = None,
) -> Insertion:
    """Cut `cells` (changed in place) by the zero lines of the columns of `values` (V, k), tagged `gate_of` (k).

    `values` may be written to: doubtful signs that are zero become 0. Exact given the signs. Cost: with numba (extra
    `fast`), work in proportion to the vertices times gates looked at and to the cells each line crosses; without, a
    pass over all edges for each gate. `compiled` forces a path (None: numba when it is there). Raises BudgetError when
    more than `max_faces` faces come about.
    Raises ImportError where `compiled` is asked for and numba is not installed. Source: ours; gates are inserted as
    lines into an arrangement (de Berg et al. 2008, section 8.3), many at once.
    """
    values = np.ascontiguousarray(values, dtype=np.float64)
    doubts = _Doubts(cells, gate_of, decide)
    doubts.settle_old(values, tolerance)
    small = compiled is None and values.size < 200_000 and _KERNELS not in sys.modules  # loading numba costs more
    kernels = compiled_kernels() if compiled in (None, True) and not small else None
    if compiled and kernels is None:
        raise ImportError("numba is not installed: pip install 'cutaway[fast]'")
    run = _insert_compiled if kernels is not None else _insert_vectorised
    result = run(cells, values, np.asarray(gate_of, dtype=np.int32), tolerance, doubts, max_faces)
    result.decided, result.snapped = doubts.decided, doubts.snapped
    _tag_coincident(cells, result.values, gate_of)
    return result


def _tag_coincident(cells: Subdivision, values: Floats, gate_of) -> None:
    """Edges along which a gate vanishes that did not make them, and that does not vanish on the face beside them."""
    origin, target, face = cells.origin, cells.origin[cells.twin], cells.face
    for column in np.flatnonzero(np.isin(gate_of, list(cells.also))):
        zero = values[:, column] == 0.0
        alive = np.zeros(cells.num_faces + 1, dtype=bool)
        alive[face[~zero[origin]]] = True
        alive[-1] = False
        along = np.flatnonzero(zero[origin] & zero[target] & alive[face])
        cells.combine(along, int(gate_of[column]))
    cells.also.clear()


class _Doubts:
    """Collects what is needed to put a doubtful sign as a question, and writes the answer into the values."""

    def __init__(self, cells: Subdivision, gate_of, decide: Decide | None) -> None:
        self.cells, self.gate_of, self.decide = cells, gate_of, decide
        self.decided = self.snapped = 0
        self.origin, self.position = cells.origin[: cells.num_half_edges], cells.position
        self.start, self.order = np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int32)
        if decide is not None:
            self.start, self.order = cells.cycles()
            self.origin, self.position = self.origin.copy(), self.position.copy()

    def polygon(self, face: int) -> Floats:
        return self.position[self.origin[self.order[self.start[face] : self.start[face + 1]]]]

    def settle_old(self, values: Floats, tolerance: Floats) -> None:
        """Doubtful signs at the vertices that are there. A value of exactly 0 that came through earlier layers is
        trusted where there are many of them (dead parts of a network without bias)."""
        found, rows = [], max(1, (1 << 22) // max(values.shape[1], 1))
        for begin in range(0, len(values), rows):
            part = np.argwhere(np.abs(values[begin : begin + rows]) <= tolerance)
            part[:, 0] += begin
            found.append(part)
        near = np.concatenate(found)
        if self.decide is not None and len(near) <= 4096:
            near = near[~self._zero_all_around(values, near)]
        if self.decide is None or len(near) > 256:
            near = near[values[near[:, 0], near[:, 1]] != 0.0]
        for vertex, column in near:
            corner = None if self.decide is None else self._corner(int(vertex))
            self._settle(values, vertex, column, *(corner or (None, 0, 0)))

    def _zero_all_around(self, values: Floats, near: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,): where a gate is exactly 0 at a vertex and at all its neighbours: it bounds nothing there."""
        cells = self.cells
        origin, target = self.origin, cells.origin[cells.twin[: cells.num_half_edges]]
        half = np.flatnonzero(np.isin(origin, near[:, 0]))
        half = half[np.argsort(origin[half], kind="stable")]
        start, end = (np.searchsorted(origin[half], near[:, 0], side=side) for side in ("left", "right"))
        around = [values[target[half[a:b]], c] for a, b, c in zip(start, end, near[:, 1])]
        return np.array([values[v, c] == 0.0 and not a.any() for (v, c), a in zip(near, around)], dtype=bool)

    def settle_new(self, values: Floats, pairs, base: int, under, gate, root) -> None:
        for vertex, column in pairs:
            i = vertex - base
            under_tag = self.cells.tags_of(int(under[i]))[0]
            self._settle(values, vertex, column, int(root[i]), under_tag, int(gate[i]))

    def _corner(self, vertex: int) -> tuple[int, int, int] | None:
        """A face at the vertex and two different lines that meet there."""
        cells = self.cells
        for h in np.flatnonzero(cells.origin[: cells.num_half_edges] == vertex):
            face = int(cells.face[h])
            if face < 0:
                continue
            cycle = self.order[self.start[face] : self.start[face + 1]]
            before = cycle[np.flatnonzero(cycle == h)[0] - 1]
            one, other = (cells.tags_of(int(cells.tag[e]))[0] for e in (h, before))
            if one != other:
                return face, one, other
        return None

    def _settle(self, values, vertex, column, face, first, second) -> None:
        sign = None
        if self.decide is not None and face is not None:
            value = float(values[vertex, column])
            gate = int(self.gate_of[column])
            sign = self.decide(Doubt(polygon=self.polygon(face), first=first, second=second, gate=gate, value=value))
        if sign is None:
            self.snapped += 1
            values[vertex, column] = 0.0
            return
        self.decided += 1
        values[vertex, column] = sign * max(abs(values[vertex, column]), 1e-30) if sign else 0.0


def _insert_vectorised(cells, values, gate_of, tolerance, doubts: _Doubts, max_faces) -> Insertion:
    base = cells.num_vertices
    root = np.arange(cells.num_faces, dtype=np.int32)
    values = grown(values[:], len(values) + 1)  # the caller's array is never grown in place
    made, batches, odd = [], [], 0
    for column in _changing(values[:base]):
        before = cells.num_vertices
        values, root, fresh, bad = split_by_gate(cells, values, int(column), int(gate_of[column]), root)
        made.append(fresh)
        batches.append(cells.num_vertices - base)
        odd += bad
        near = np.abs(values[before : cells.num_vertices]) <= tolerance
        near[:, column] = False
        pairs = np.argwhere(near)
        if len(pairs):
            ends = fresh.parent[pairs[:, 0]]
            pairs = pairs[(values[ends, pairs[:, 1:]] != 0.0).any(axis=1)]
            pairs[:, 0] += before
            doubts.settle_new(values, pairs, before, fresh.under, fresh.gate, fresh.root)
        _within(cells.num_faces, max_faces)
    cells.trim()
    parent = np.concatenate([m.parent for m in made]) if made else np.zeros((0, 2), dtype=np.int32)
    weight = np.concatenate([m.weight for m in made]) if made else np.zeros((0, 2))
    return Insertion(
        base=base,
        parent=parent.astype(np.int32),
        weight=weight,
        root=root[: cells.num_faces],
        values=values[: cells.num_vertices],
        batches=batches,
        odd=odd,
    )


def _changing(values: Floats) -> NDArray[np.int64]:
    low, high = values.min(axis=0), values.max(axis=0)
    touching = (np.count_nonzero(values == 0.0, axis=0) >= 2) & (low != high)
    return np.flatnonzero(((low < 0) & (high > 0)) | touching)


def _within(faces: int, max_faces: int | None) -> None:
    if max_faces is not None and faces > max_faces:
        raise TooManyRegions(
            "region budget",
            found=f"{faces} faces so far",
            expected=f"at most {max_faces}",
            remedy="raise the number of regions allowed (--max-faces, max_faces=...)",
        )


def _insert_compiled(cells, values, gate_of, tolerance, doubts: _Doubts, max_faces) -> Insertion:
    kernels = compiled_kernels()
    assert kernels is not None
    base, num_roots = cells.num_vertices, cells.num_faces
    start, columns = kernels.face_crossings(cells.face_half_edge, cells.following, cells.origin, values, num_roots)
    pairs = np.diff(start)
    likely = int((pairs * (pairs + 3) // 6).sum()) + 256
    if max_faces is not None:
        likely = min(likely, max(max_faces - num_roots, 0) + 256)
    root = np.arange(num_roots, dtype=np.int32)
    chain = np.full(num_roots, -1, dtype=np.int32)
    rim = cells.face_half_edge[:num_roots].copy()
    record = {
        "parent": np.empty((0, 2), np.int32),
        "weight": np.empty((0, 2)),
        "under": np.empty(0, np.int32),
        "made_gate": np.empty(0, np.int32),
        "made_root": np.empty(0, np.int32),
    }
    coincident = np.zeros(values.shape[1], dtype=np.bool_)
    doubtful = np.empty((4096, 2), dtype=np.int64)
    counts = np.array([base, cells.num_half_edges, num_roots, 0, 0, 0, 0], dtype=np.int64)
    room = 3 * likely  # room that is not used costs address space only, growing later costs a copy
    values = grown(values[:], len(values) + 1)  # the caller's array is never grown in place
    while True:
        vertices, faces = int(counts[0]) + room, int(counts[2]) + room
        cells.reserve(vertices, int(counts[1]) + 4 * room, faces)
        values = grown(values, len(cells.position))
        record = {name: grown(array, len(cells.position) - base) for name, array in record.items()}
        root, chain = grown(root, len(cells.face_half_edge)), grown(chain, len(cells.face_half_edge))
        arrays = kernels.State(
            position=cells.position,
            values=values,
            **record,
            base=base,
            origin=cells.origin,
            twin=cells.twin,
            following=cells.following,
            face=cells.face,
            tag=cells.tag,
            face_half_edge=cells.face_half_edge,
            root=root,
            next_in_root=chain,
            counts=counts,
        )
        while True:
            state = kernels.insert(arrays, tolerance, start, columns, rim, gate_of, doubtful, coincident)
            if state != kernels.DOUBTFUL:
                break
            doubts.settle_new(
                values, doubtful[: counts[5]], base, record["under"], record["made_gate"], record["made_root"]
            )
        _within(int(counts[2]), max_faces)
        if state == kernels.DONE:
            break
        room = max(room, int(counts[2]) // 2)
    cells.num_vertices, cells.num_half_edges, cells.num_faces = (int(c) for c in counts[:3])
    cells.also.update(gate_of[coincident].tolist())
    cells.trim()
    new = cells.num_vertices - base
    return Insertion(
        base=base,
        parent=record["parent"][:new].copy(),
        weight=record["weight"][:new].copy(),
        root=root[: cells.num_faces].copy(),
        values=values[: cells.num_vertices],
        odd=int(counts[6]),
    )
