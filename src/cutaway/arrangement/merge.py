"""Take edges out of a subdivision and heal it: faces are joined, corners that bend nothing any more disappear.

Used where cutting made more than is meant: comparisons inside a pooling window that a third entry wins, and the mesh
under a sign partition. The faces left must be convex and without holes, which holds for those two uses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cutaway.arrangement.subdivision import Subdivision


def remove_edges(cells: Subdivision, drop: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Take out the half-edges in `drop` (H, equal on twins); `cells` changes in place.

    Returns for every remaining vertex and every remaining face one old index (for a face: one of those joined). Exact:
    nothing is computed anew. Source: ours, on half-edges (de Berg et al. 2008, section 2.2).
    """
    used = cells.num_half_edges
    keep = ~drop[:used]
    following = cells.following[:used].copy()
    todo = np.flatnonzero(keep & ~keep[following])
    while len(todo):  # turn about the end vertex until an edge that stays; the half-edge's own twin is one
        following[todo] = cells.following[cells.twin[following[todo]]]
        todo = todo[~keep[following[todo]]]
    twin = cells.twin[:used].copy()
    bends = _bending(cells, keep, following)
    stays = keep & bends[cells.origin[:used]]
    last = np.arange(used, dtype=np.int32)
    todo = np.flatnonzero(stays & ~bends[cells.origin[following]])
    while len(todo):  # along straight runs to their last half-edge
        last[todo] = following[last[todo]]
        todo = todo[~bends[cells.origin[following[last[todo]]]]]
    ahead = following[last]
    twin_of_last = twin[last]
    old_half = np.flatnonzero(stays)
    number = np.full(used, -1, dtype=np.int64)
    number[old_half] = np.arange(len(old_half))
    old_vertex = np.unique(cells.origin[old_half])
    vertex_number = np.full(cells.num_vertices, -1, dtype=np.int64)
    vertex_number[old_vertex] = np.arange(len(old_vertex))
    cells.position = cells.position[old_vertex]
    cells.origin = vertex_number[cells.origin[old_half]].astype(np.int32)
    cells.following = number[ahead[old_half]].astype(np.int32)
    cells.twin = number[twin_of_last[old_half]].astype(np.int32)
    cells.tag = cells.tag[old_half]
    old_face = _label_faces(cells, cells.face[old_half])
    cells.num_vertices, cells.num_half_edges = len(old_vertex), len(old_half)
    cells.num_faces = len(old_face)
    return old_vertex.astype(np.int64), old_face


def _bending(cells: Subdivision, keep, following) -> NDArray[np.bool_]:
    """Vertices that stay: all but those with two edges left, of one tag and on one line."""
    used = cells.num_half_edges
    origin = cells.origin[:used]
    degree = np.bincount(origin[keep], minlength=cells.num_vertices)
    into = np.flatnonzero(keep & (degree[origin[following]] == 2))
    onward = following[into]
    position = cells.position
    before = position[origin[onward]] - position[origin[into]]
    after = position[origin[cells.twin[onward]]] - position[origin[onward]]
    turn = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0])
    straight = turn <= 1e-9 * np.hypot(*before.T) * np.hypot(*after.T)
    stays = np.ones(cells.num_vertices, dtype=bool)
    stays[origin[onward][straight & (cells.tag[into] == cells.tag[onward])]] = False
    return stays


def _label_faces(cells: Subdivision, old: NDArray[np.int32]) -> NDArray[np.int64]:
    """Number the cycles anew; returns for each an old face number."""
    half = len(cells.origin)
    label = np.arange(half, dtype=np.int64)
    inside = np.flatnonzero(old >= 0)
    here = cells.following.astype(np.int64)
    jump = here.copy()
    for _ in range(int(np.ceil(np.log2(half + 1))) + 1):  # pointer doubling: the smallest number on each cycle
        label = np.minimum(label, label[jump])
        jump = jump[jump]
    first, face = np.unique(label[inside], return_inverse=True)
    cells.face = np.full(half, -1, dtype=np.int32)
    cells.face[inside] = face
    cells.face_half_edge = first.astype(np.int32)
    return old[first].astype(np.int64)
