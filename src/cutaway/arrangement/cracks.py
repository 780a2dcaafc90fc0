"""Edges along which a function jumps: opened while later gates are cut, closed again at the end.

Cutting carries values at vertices, which the faces around share. Where they do not, the subdivision is opened: both
faces of such an edge get ends of their own and the outside for a neighbour, and are then cut apart from each other.
`close_cracks` puts the sides together again, with the corners of both on either.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cutaway.arrangement.subdivision import COMBINED, CRACK, Subdivision
from cutaway.arrays import Floats, Ints

SAME = 1e-12
"""Corners of the two sides of a crack that are nearer than this share of the domain's width are one vertex."""


def open_cracks(cells: Subdivision, half: Ints) -> Ints:
    """Open the edges of these half-edges (one an edge, a face on either side). Returns for every vertex the old one
    that it is a copy of. The edge's tag becomes one of its own, which ends in CRACK - number."""
    used = cells.num_half_edges
    twin = cells.twin[half].astype(np.int64)
    for h, t in zip(half.tolist(), twin.tolist()):
        number = len(cells.cracks)
        cells.combined.append((*cells.tags_of(int(cells.tag[h])), CRACK - number))
        cells.tag[[h, t]] = COMBINED + len(cells.combined) - 1
        cells.cracks.append((*cells.position[cells.origin[h]], *cells.position[cells.origin[t]]))
    both = np.concatenate([half, twin])
    opened = np.zeros(used, dtype=bool)
    opened[both] = True
    inner = cells.face[:used] >= 0
    turning = np.flatnonzero(inner & ~opened & inner[cells.twin[:used]])
    label, _ = _classes(used, turning, cells.following[cells.twin[turning]], inner)
    old = np.zeros(label.max() + 1, dtype=np.int64)
    old[label[inner]] = cells.origin[:used][inner]
    cells.reserve(0, used + len(both), 0)
    outer = used + np.arange(len(both))
    cells.twin[both], cells.twin[outer] = outer, both
    cells.face[outer], cells.tag[outer] = -1, cells.tag[both]
    cells.num_half_edges, cells.num_vertices = used + len(both), len(old)
    cells.origin[np.flatnonzero(inner)] = label[inner]
    cells.position = cells.position[old]
    cells.trim()
    _close_outside(cells)
    return old


def _close_outside(cells: Subdivision) -> None:
    """Origin and order of the half-edges outside, from those inside."""
    outer = np.flatnonzero(cells.face[: cells.num_half_edges] < 0)
    cells.origin[outer] = cells.origin[cells.following[cells.twin[outer]]]
    starts_at = np.full(cells.num_vertices, -1, dtype=np.int32)
    starts_at[cells.origin[outer]] = outer
    cells.following[outer] = starts_at[cells.origin[cells.twin[outer]]]


def _classes(count: int, one, two, among: NDArray[np.bool_]) -> tuple[NDArray[np.int64], int]:
    """(count,): numbers of the classes that these pairs join, counted from 0 over the members of `among` (-1 else)."""
    from scipy.sparse import coo_matrix  # late: slices without jumps have no cracks
    from scipy.sparse.csgraph import connected_components

    joined = connected_components(coo_matrix((np.ones(len(one)), (one, two)), shape=(count, count)), directed=False)[1]
    label = np.full(count, -1, dtype=np.int64)
    first, label[among] = np.unique(joined[among], return_inverse=True)
    return label, len(first)


def close_cracks(cells: Subdivision) -> tuple[Ints, Ints, Floats]:
    """Join the sides of every crack again; `cells` changes in place.

    Returns `rows` (H,), the row of values at each half-edge's origin as its face has them: a number below the old
    count of vertices is the old vertex, n + i the i-th mixture of two old ones, given by `parent` (m, 2) and
    `weight` (m, 2).
    """
    return _Closing(cells).run()


class _Closing:
    """Half-edges inside the domain as growing lists, and the vertices that become one."""

    def __init__(self, cells: Subdivision) -> None:
        self.cells, self.base = cells, cells.num_vertices
        self.origin = cells.origin[: cells.num_half_edges].astype(np.int64).tolist()
        self.following = cells.following[: cells.num_half_edges].astype(np.int64).tolist()
        self.face = cells.face[: cells.num_half_edges].tolist()
        self.tag = cells.tag[: cells.num_half_edges].tolist()
        self.twin = cells.twin[: cells.num_half_edges].astype(np.int64).tolist()
        self.parent: list[tuple[int, int]] = []
        self.weight: list[tuple[float, float]] = []
        self.place: list[Floats] = []
        self.same: list[tuple[int, int]] = []
        self.known = {tags: i for i, tags in enumerate(cells.combined)}
        self.width = float(np.ptp(cells.position[: cells.num_vertices], axis=0).max())

    def run(self) -> tuple[Ints, Ints, Floats]:
        cells = self.cells
        sides: dict[int, list[int]] = {}
        for h in np.flatnonzero((cells.tag >= COMBINED) & (cells.face >= 0)).tolist():
            marks = [t for t in cells.tags_of(self.tag[h]) if t <= CRACK]
            if marks:
                sides.setdefault(CRACK - marks[0], []).append(h)
        for number, halves in sides.items():
            self._join(np.array(cells.cracks[number]), halves)
        rows = self._rebuild()
        return rows, np.array(self.parent, dtype=np.int64).reshape(-1, 2), np.array(self.weight).reshape(-1, 2)

    def _join(self, ends: Floats, halves: list[int]) -> None:
        """Cut both sides where either has a corner, then pair them."""
        start, along = ends[:2], ends[2:] - ends[:2]
        length = float(np.hypot(*along))
        at = {v: float((self._position(v) - start) @ along) / length**2 for h in halves for v in self._ends(h)}
        one = sorted((h for h in halves if at[self.origin[h]] < at[self._ends(h)[1]]), key=lambda h: at[self.origin[h]])
        two = sorted((h for h in halves if at[self.origin[h]] > at[self._ends(h)[1]]), key=lambda h: at[self.origin[h]])
        cuts_one, cuts_two = [at[self.origin[h]] for h in one[1:]], [at[self.origin[h]] for h in two[:-1]]
        near = SAME * self.width / length
        only_one, only_two = _unmatched(cuts_one, cuts_two, near)
        one = self._cut(one, at, only_two)
        two = self._cut(two[::-1], at, only_one[::-1])[::-1]
        for h, t in zip(one, two, strict=True):
            self.twin[h], self.twin[t] = t, h
            tags = dict.fromkeys((*self.cells.tags_of(self.tag[h]), *self.cells.tags_of(self.tag[t])))
            self.tag[h] = self.tag[t] = self._tag(tuple(g for g in tags if g > CRACK))
            self.same += [(self.origin[h], self._ends(t)[1]), (self._ends(h)[1], self.origin[t])]

    def _ends(self, h: int) -> tuple[int, int]:
        return self.origin[h], self.origin[self.following[h]]

    def _position(self, vertex: int) -> Floats:
        return self.cells.position[vertex] if vertex < self.base else self.place[vertex - self.base]

    def _cut(self, chain: list[int], at: dict[int, float], cuts: list[float]) -> list[int]:
        """The chain, in its own direction, with further vertices."""
        made, waiting = [], list(cuts)
        for h in chain:
            made.append(h)
            a, b = self._ends(h)
            low, high = sorted((at[a], at[b]))
            while waiting and low <= waiting[0] <= high:
                share = (waiting.pop(0) - at[a]) / (at[b] - at[a])
                made.append(self._vertex_on(made[-1], a, b, share))
        return made

    def _vertex_on(self, h: int, a: int, b: int, share: float) -> int:
        vertex, onward = self.base + len(self.parent), len(self.origin)
        self.parent.append((a, b))
        self.weight.append((1 - share, share))
        self.place.append((1 - share) * self._position(a) + share * self._position(b))
        self.origin.append(vertex)
        self.face.append(self.face[h])
        self.tag.append(self.tag[h])
        self.twin.append(-1)
        self.following.append(self.following[h])
        self.following[h] = onward
        return onward

    def _tag(self, tags: tuple[int, ...]) -> int:
        if len(tags) == 1:
            return tags[0]
        if tags not in self.known:
            self.known[tags] = len(self.cells.combined)
            self.cells.combined.append(tags)
        return COMBINED + self.known[tags]

    def _rebuild(self) -> Ints:
        """The arrays again, without what was outside of a crack; the rows of the half-edges that stay."""
        cells, count = self.cells, self.base + len(self.parent)
        rows, face, twin = np.array(self.origin), np.array(self.face), np.array(self.twin)
        kept = np.flatnonzero((face >= 0) | (twin[twin] == np.arange(len(twin))))  # else its twin has another by now
        number = np.full(len(twin), -1, dtype=np.int64)
        number[kept] = np.arange(len(kept))
        pairs = np.array(self.same).reshape(-1, 2)
        used = np.zeros(count, dtype=bool)
        used[rows[face >= 0]] = True
        label, total = _classes(count, pairs[:, 0], pairs[:, 1], used)
        first = np.zeros(total, dtype=np.int64)
        first[label[used][::-1]] = np.flatnonzero(used)[::-1]
        cells.position = np.concatenate([cells.position[: self.base], np.array(self.place).reshape(-1, 2)])[first]
        cells.origin = label[rows[kept]].astype(np.int32)
        cells.face, cells.tag = face[kept].astype(np.int32), np.array(self.tag)[kept].astype(np.int32)
        cells.twin = number[twin[kept]].astype(np.int32)
        cells.following = number[np.array(self.following)[kept]].astype(np.int32)
        cells.face_half_edge = number[cells.face_half_edge[: cells.num_faces]].astype(np.int32)
        cells.num_vertices, cells.num_half_edges = total, len(kept)
        _close_outside(cells)
        return rows[kept]


def _unmatched(one: list[float], two: list[float], near: float) -> tuple[list[float], list[float]]:
    """Of two ascending lists, what has no partner within `near` in the other."""
    left, right, i, j = [], [], 0, 0
    while i < len(one) or j < len(two):
        if j == len(two) or (i < len(one) and one[i] < two[j] - near):
            left.append(one[i])
            i += 1
        elif i == len(one) or two[j] < one[i] - near:
            right.append(two[j])
            j += 1
        else:
            i, j = i + 1, j + 1
    return left, right
