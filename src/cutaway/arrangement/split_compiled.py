"""The same cutting as `split_vectorised`, compiled by numba (extra `fast`): face by face, along each line.

Only gates that change sign on a face of the stage's start are inserted there. A line is followed from the face's rim
through the cells made so far, so that inserting it costs work in proportion to the cells it crosses; where it meets an
old vertex, every cell of the face is looked at instead (`_scan`), which is also what makes a second run over the same
gate harmless. Compiled code cannot ask for memory or for exact arithmetic: `insert` stops and says so, and is called
again.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np
from numba import njit

DONE, MORE_ROOM, DOUBTFUL = 0, 1, 2
# counts: vertices, half-edges, faces, cursor face, cursor position in its list, doubtful pairs, odd faces
VERTICES, HALF_EDGES, FACES, AT_FACE, AT_GATE, DOUBTS, ODD = range(7)


@njit(cache=True)
def face_crossings(face_half_edge, following, origin, values, num_faces):
    """Gates (columns) to insert in each face: sign changes, or zero at two corners and not at all. CSR (start,
    column)."""
    k = values.shape[1]
    start = np.zeros(num_faces + 1, dtype=np.int64)
    found = np.empty(max(1024, 4 * num_faces), dtype=np.int32)
    used = 0
    low, high, zeros = np.empty(k), np.empty(k), np.empty(k, dtype=np.int32)
    for f in range(num_faces):
        low[:] = np.inf
        high[:] = -np.inf
        zeros[:] = 0
        h = face_half_edge[f]
        while True:
            row = values[origin[h]]
            for j in range(k):
                x = row[j]
                low[j] = min(low[j], x)
                high[j] = max(high[j], x)
                zeros[j] += x == 0.0
            h = following[h]
            if h == face_half_edge[f]:
                break
        if used + k > len(found):
            bigger = np.empty(2 * (used + k), dtype=np.int32)
            bigger[:used] = found[:used]
            found = bigger
        for j in range(k):
            if (low[j] < 0.0 and high[j] > 0.0) or (zeros[j] >= 2 and low[j] != high[j]):
                found[used] = j
                used += 1
        start[f + 1] = used
    return start, found[:used].copy()


State = namedtuple(
    "State",
    "position values parent weight under made_gate made_root base origin twin following face tag face_half_edge root "
    "next_in_root counts",
)
"""The arrays of a subdivision and of the descent of its new vertices (see `Insertion`), which compiled code fills."""


@njit(cache=True)
def insert(state, tolerance, start, columns, rim_of, gate_of, doubts, coincident):
    """Insert all listed gates, going on at the cursor in `counts`; returns DONE, MORE_ROOM or DOUBTFUL.

    `base`: vertices before this stage (descent is kept from there). New vertices whose value in another column is
    within `tolerance` of 0, and not known to be 0 because the edge cut lies on that line, are listed in `doubts`
    (vertex, column) for the caller to decide.
    """
    parent, values, counts, base = state.parent, state.values, state.counts, state.base
    position, origin, face_half_edge = state.position, state.origin, state.face_half_edge
    num_roots = len(start) - 1
    while counts[AT_FACE] < num_roots:
        f = counts[AT_FACE]
        while start[f] + counts[AT_GATE] < start[f + 1]:
            j = columns[start[f] + counts[AT_GATE]]
            before = counts[VERTICES]
            if _no_room(counts[AT_GATE], position, origin, face_half_edge, counts):
                return MORE_ROOM
            if not _walk(state, f, j, gate_of[j], base, rim_of[f]):
                _scan(state, f, j, gate_of[j], base, coincident)
            counts[AT_GATE] += 1
            counts[DOUBTS] = 0
            for v in range(before, counts[VERTICES]):
                a, b = parent[v - base, 0], parent[v - base, 1]
                for c in range(values.shape[1]):
                    if abs(values[v, c]) > tolerance[c] or c == j or (values[a, c] == 0.0 and values[b, c] == 0.0):
                        continue
                    if counts[DOUBTS] < len(doubts):
                        doubts[counts[DOUBTS], 0] = v
                        doubts[counts[DOUBTS], 1] = c
                        counts[DOUBTS] += 1
            if counts[DOUBTS] > 0:
                return DOUBTFUL
        counts[AT_FACE] += 1
        counts[AT_GATE] = 0
    return DONE


@njit(cache=True, inline="always")
def _no_room(lines, position, origin, face_half_edge, counts):
    """A line meets each of the lines before it at most once, so it needs `lines` + 2 vertices and `lines` + 1 cells."""
    return (
        counts[VERTICES] + lines + 16 > len(position)
        or counts[HALF_EDGES] + 4 * lines + 64 > len(origin)
        or counts[FACES] + lines + 16 > len(face_half_edge)
    )


@njit(cache=True)
def _split_edge(state, h, j, gate, f, base):
    """A vertex of value 0 on half-edge h and its twin; h keeps the first part."""
    position, values, parent, weight = state.position, state.values, state.parent, state.weight
    under, made_gate, made_root, origin = state.under, state.made_gate, state.made_root, state.origin
    twin, following, face, tag = state.twin, state.following, state.face, state.tag
    counts = state.counts
    t = twin[h]
    a, b = origin[h], origin[t]
    if values[a, j] < 0.0:  # always from + to -, so that both faces would get the same vertex
        a, b = b, a
    high, low = values[a, j], values[b, j]
    wa, wb = -low / (high - low), high / (high - low)
    v = counts[VERTICES]
    counts[VERTICES] += 1
    position[v, 0] = wa * position[a, 0] + wb * position[b, 0]
    position[v, 1] = wa * position[a, 1] + wb * position[b, 1]
    for c in range(values.shape[1]):
        values[v, c] = wa * values[a, c] + wb * values[b, c]
    values[v, j] = 0.0
    i = v - base
    parent[i, 0], parent[i, 1] = a, b
    weight[i, 0], weight[i, 1] = wa, wb
    under[i], made_gate[i], made_root[i] = tag[h], gate, f
    onward = counts[HALF_EDGES]
    back = onward + 1
    counts[HALF_EDGES] += 2
    origin[onward], origin[back] = v, v
    face[onward], face[back] = face[h], face[t]
    tag[onward], tag[back] = tag[h], tag[h]
    following[onward], following[back] = following[h], following[t]
    following[h], following[t] = onward, back
    twin[h], twin[back], twin[t], twin[onward] = back, h, onward, t
    return v


@njit(cache=True)
def _chord(state, into_negative, into_positive, gate):
    """Cut a face between the vertex where `into_negative` ends and that where `into_positive` ends."""
    origin, twin, following, face = state.origin, state.twin, state.following, state.face
    tag, face_half_edge, root, next_in_root = state.tag, state.face_half_edge, state.root, state.next_in_root
    counts = state.counts
    old = face[into_negative]
    after_p, after_q = following[into_negative], following[into_positive]
    there = counts[HALF_EDGES]
    back = there + 1
    counts[HALF_EDGES] += 2
    new = counts[FACES]
    counts[FACES] += 1
    origin[there], origin[back] = origin[after_p], origin[after_q]
    twin[there], twin[back] = back, there
    tag[there], tag[back] = gate, gate
    following[into_negative], following[there] = there, after_q
    following[into_positive], following[back] = back, after_p
    face[back] = old
    face_half_edge[old], face_half_edge[new] = back, there
    h = there
    while True:
        face[h] = new
        h = following[h]
        if h == there:
            break
    root[new] = root[old]
    next_in_root[new] = next_in_root[old]
    next_in_root[old] = new
    return there


@njit(cache=True)
def _outer_after(following, twin, face, root, h, f):
    """The rim half-edge of root face f that comes after rim half-edge h."""
    n = following[h]
    while True:
        g = face[twin[n]]
        if g < 0 or root[g] != f:
            return n
        n = following[twin[n]]


@njit(cache=True)
def _is_rim(face, twin, root, h, f):
    g = face[twin[h]]
    return g < 0 or root[g] != f


@njit(cache=True)
def _walk(state, f, j, gate, base, rim):
    """Follow the line through face f from where its rim goes from + to -. False: something for `_scan` was met."""
    values, origin, twin, following = state.values, state.origin, state.twin, state.following
    face, root = state.face, state.root
    enter = -1
    h = rim
    while True:
        n = _outer_after(following, twin, face, root, h, f)
        a, b = values[origin[h], j], values[origin[n], j]
        if a == 0.0 and b == 0.0:
            return False
        if a > 0.0 and b < 0.0:
            enter = h
        elif a > 0.0 and b == 0.0:
            after = _outer_after(following, twin, face, root, n, f)
            if values[origin[after], j] <= 0.0:
                if following[h] != n:
                    return False  # several cells meet where the line enters
                enter = h
        h = n
        if h == rim:
            break
    if enter < 0:
        return False
    if values[origin[twin[enter]], j] < 0.0:
        _split_edge(state, enter, j, gate, f, base)
    while True:
        cell = face[enter]
        e = following[enter]
        if values[origin[twin[e]], j] >= 0.0:
            return False
        while values[origin[twin[e]], j] < 0.0:
            e = following[e]
        if values[origin[twin[e]], j] > 0.0:
            other = twin[e]
            _split_edge(state, e, j, gate, f, base)
            _chord(state, enter, e, gate)
            if face[other] < 0 or root[face[other]] != f:
                return True
            enter = other
            continue
        last = following[e]
        if last == enter or values[origin[twin[last]], j] <= 0.0:
            return False
        leaves = _is_rim(face, twin, root, e, f) or _is_rim(face, twin, root, last, f)
        _chord(state, enter, e, gate)
        return leaves and cell >= 0


@njit(cache=True)
def _scan(state, f, j, gate, base, coincident):
    """Look at every cell of face f: cut edges that change sign, join the two zero points, note edges along the line."""
    position, values, origin, twin = state.position, state.values, state.origin, state.twin
    following, tag, face_half_edge, next_in_root = state.following, state.tag, state.face_half_edge, state.next_in_root
    counts = state.counts
    g = f
    while g >= 0:
        if _no_room(0, position, origin, face_half_edge, counts):
            counts[ODD] += 1  # cannot be unless signs contradict each other; never write past the arrays
            return
        onward = next_in_root[g]
        positive, negative = -1, False
        first = face_half_edge[g]
        h = first
        while True:
            x = values[origin[h], j]
            if x > 0.0:
                positive = h
            elif x < 0.0:
                negative = True
            h = following[h]
            if h == first:
                break
        if positive >= 0 or negative:
            while True:
                if values[origin[h], j] == 0.0 and values[origin[twin[h]], j] == 0.0 and tag[h] != gate:
                    coincident[j] = True
                h = following[h]
                if h == first:
                    break
        if positive >= 0 and negative:
            h = positive
            into_negative, into_positive, pending, falls, rises = -1, -1, -1, 0, 0
            current = 1
            while True:
                a, b = values[origin[h], j], values[origin[twin[h]], j]
                if (a > 0.0 and b < 0.0) or (a < 0.0 and b > 0.0):
                    if counts[VERTICES] == len(position) or counts[HALF_EDGES] + 4 > len(origin):
                        counts[ODD] += 1
                        return
                    _split_edge(state, h, j, gate, f, base)
                    b = 0.0
                if b == 0.0 and pending < 0:
                    pending = h
                if b > 0.0 and current < 0:
                    into_positive, current = pending, 1
                    rises += 1
                elif b < 0.0 and current > 0:
                    into_negative, current = pending, -1
                    falls += 1
                if b != 0.0:
                    pending = -1
                h = following[h]
                if h == positive:
                    break
            if falls == 1 and rises == 1:
                _chord(state, into_negative, into_positive, gate)
            else:
                counts[ODD] += 1
        g = onward


@njit(cache=True)
def interpolate_rows(rows, base, parent, weight):
    """Fill rows base, base + 1, ... in order of creation, each from its two parents."""
    for i in range(len(parent)):
        a, b, wa, wb = parent[i, 0], parent[i, 1], weight[i, 0], weight[i, 1]
        for c in range(rows.shape[1]):
            rows[base + i, c] = wa * rows[a, c] + wb * rows[b, c]
