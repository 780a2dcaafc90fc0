"""Cut every face of a subdivision along one gate's zero line, all faces at once, in NumPy.

A gate is a continuous function, linear on every face, known by its value at every vertex. Only the signs of these
values decide what is cut, so neighbouring faces always agree: an edge whose ends have opposite signs gets one new
vertex (value exactly 0), a face with positive and negative corners gets one chord between its two zero points. Nothing
else is computed: no line is intersected with another. A value of exactly 0 at an old vertex means that the line passes
through it.

Cost per gate: a dozen passes over the half-edges, and work in proportion to the edges cut.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cutaway.arrangement.subdivision import Subdivision, grown


class Made:
    """Where new vertices came from: `parent` (n, 2), `weight` (n, 2), `under` (n): tag of the edge cut, `gate`,
    `root`."""

    __slots__ = ("gate", "parent", "root", "under", "weight")

    def __init__(self, parent, weight, under, gate: NDArray, root) -> None:
        self.parent, self.weight, self.under, self.gate, self.root = parent, weight, under, gate, root


def split_by_gate(
    cells: Subdivision, values: NDArray[np.float64], column: int, gate: int, root: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.int32], Made, int]:
    """Insert one gate. `values` (V, k) at the vertices, `root` (F): the face of the stage's start that each face lies
    in.

    Returns values and root with the new rows, the new vertices' descent, and the number of faces whose signs change
    more than twice around (0 unless a filter failed).
    """
    used = cells.num_half_edges
    sign = np.sign(values[: cells.num_vertices, column]).astype(np.int8)
    at_origin = sign[cells.origin[:used]]
    at_target = at_origin[cells.twin[:used]]
    falling = np.flatnonzero((at_origin > 0) & (at_target < 0)).astype(np.int32)
    touches = bool((sign == 0).any())
    if touches:
        _note_coincident(cells, at_origin, at_target, gate)
    values, made = _split_edges(cells, values, column, gate, falling, root)
    into_negative, into_positive = falling, cells.twin[cells.following[falling]]
    if touches:
        down, up = _zero_passages(cells, at_origin, at_target, sign, used)
        into_negative, into_positive = np.concatenate([into_negative, down]), np.concatenate([into_positive, up])
    root, odd = _split_faces(cells, into_negative, into_positive, gate, root)
    return values, root, made, odd


def _split_edges(cells: Subdivision, values, column: int, gate: int, falling, root):
    """A new vertex on each half-edge of `falling` (+ to -) and its twin."""
    count, vertex, half = len(falling), cells.num_vertices, cells.num_half_edges
    cells.reserve(vertex + count, half + 2 * count, cells.num_faces)
    values = grown(values, vertex + count)
    rising = cells.twin[falling]
    a, b = cells.origin[falling], cells.origin[rising]
    high, low = values[a, column], values[b, column]
    weight = np.stack([-low, high], axis=1) / (high - low)[:, None]
    new = np.arange(vertex, vertex + count, dtype=np.int32)
    cells.position[new] = weight[:, :1] * cells.position[a] + weight[:, 1:] * cells.position[b]
    values[new] = weight[:, :1] * values[a] + weight[:, 1:] * values[b]
    values[new, column] = 0.0
    onward = np.arange(half, half + count, dtype=np.int32)  # new vertex -> b, in the face of `falling`
    back = onward + np.int32(count)  # new vertex -> a, in the face of `rising`
    cells.origin[onward] = cells.origin[back] = new
    cells.face[onward], cells.face[back] = cells.face[falling], cells.face[rising]
    under = cells.tag[falling]
    cells.tag[onward] = cells.tag[back] = under
    cells.following[onward], cells.following[back] = cells.following[falling], cells.following[rising]
    cells.following[falling], cells.following[rising] = onward, back
    cells.twin[falling], cells.twin[back] = back, falling
    cells.twin[rising], cells.twin[onward] = onward, rising
    cells.num_vertices, cells.num_half_edges = vertex + count, half + 2 * count
    inside = np.where(cells.face[falling] >= 0, cells.face[falling], cells.face[rising])
    made = Made(np.stack([a, b], axis=1), weight, under, np.full(count, gate, dtype=np.int32), root[inside])
    return values, made


def _zero_passages(cells: Subdivision, at_origin, at_target, sign, used: int):
    """Half-edges that end in an old vertex of value 0 where the face's boundary changes sign: (+ to -), (- to +)."""
    ending = np.flatnonzero((at_target == 0) & (at_origin != 0) & (cells.face[:used] >= 0)).astype(np.int32)
    # an edge cut just now was + to -, so a half-edge with one end at 0 has not been cut; its followers may have been
    onward = cells.following[ending]
    result = np.zeros(len(ending), dtype=np.int8)
    open_ = np.arange(len(ending))
    while len(open_):
        target = cells.origin[cells.twin[onward[open_]]]
        fresh = target >= len(sign)
        value = np.where(fresh, 0, sign[np.minimum(target, len(sign) - 1)])
        # a fresh vertex right after an old zero cannot be: the edge's other end would have had to be 0
        settled = value != 0
        result[open_[settled]] = value[settled]
        round_trip = onward[open_] == ending[open_]
        open_ = open_[~settled & ~round_trip]
        onward[open_] = cells.following[onward[open_]]
    before = at_origin[ending]
    return ending[(before > 0) & (result < 0)], ending[(before < 0) & (result > 0)]


def _note_coincident(cells: Subdivision, at_origin, at_target, gate: int) -> None:
    """Remember gates that vanish along an edge that is there already (`insertion` tags these edges afterwards)."""
    if ((at_origin == 0) & (at_target == 0)).any():
        cells.also.add(gate)


def _split_faces(cells: Subdivision, into_negative, into_positive, gate: int, root):
    """A chord in every face that has a passage each way; the positive side becomes the new face."""
    first = np.full(cells.num_faces + 1, -1, dtype=np.int32)
    second = first.copy()
    first[cells.face[into_negative]] = into_negative
    second[cells.face[into_positive]] = into_positive
    first[-1] = second[-1] = -1
    odd = len(into_negative) - np.count_nonzero(cells.face[into_negative] < 0) - np.count_nonzero(first >= 0)
    old = np.flatnonzero((first >= 0) & (second >= 0)).astype(np.int32)
    count, half, faces = len(old), cells.num_half_edges, cells.num_faces
    cells.reserve(cells.num_vertices, half + 2 * count, faces + count)
    before_p, before_q = first[old], second[old]
    after_p, after_q = cells.following[before_p], cells.following[before_q]
    there = np.arange(half, half + count, dtype=np.int32)  # p -> q, positive side
    back = there + np.int32(count)
    cells.origin[there], cells.origin[back] = cells.origin[after_p], cells.origin[after_q]
    cells.twin[there], cells.twin[back] = back, there
    cells.tag[there] = cells.tag[back] = gate
    cells.following[before_p], cells.following[there] = there, after_q
    cells.following[before_q], cells.following[back] = back, after_p
    new = np.arange(faces, faces + count, dtype=np.int32)
    cells.face[there], cells.face[back] = new, old
    cells.face_half_edge[old], cells.face_half_edge[new] = back, there
    _relabel(cells, there, new)
    cells.num_half_edges, cells.num_faces = half + 2 * count, faces + count
    root = grown(root, faces + count)
    root[new] = root[old]
    return root, int(odd)


def _relabel(cells: Subdivision, start, label) -> None:
    here = cells.following[start]
    while len(here):
        cells.face[here] = label
        here = cells.following[here]
        going = here != start
        here, start, label = here[going], start[going], label[going]
