"""Activation patterns of all faces of a slice from one face and the edges between them.

Neighbouring faces differ in the gates tagged on the edge between them and in nothing else, so a breadth-first tree over
the faces, with the gates flipped on each step, holds every pattern: one forward pass for the root instead of one for
every face, and a few bytes a face instead of a bit a gate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order

from cutaway.arrangement.subdivision import COMBINED
from cutaway.arrays import Ints
from cutaway.geometry.checks import gate_values
from cutaway.geometry.partition import Slice
from cutaway.geometry.vocabulary import WINDOWED


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatternTree:
    """`gates` (G): numbers of the gates that cut the slice, ascending; comparisons inside pooling windows are left out
    (`windows_left_out`). `root_pattern` (G) the signs (> 0) on face `root`; face f differs from `parent[f]` (-1 at the
    root) in `flips[flip_start[f]:flip_start[f + 1]]`, positions in `gates`.

    `parent` (F,), `flip_start` (F + 1,).
    """

    gates: Ints
    root: int
    root_pattern: NDArray[np.bool_]
    parent: NDArray[np.int32]
    flip_start: Ints
    flips: NDArray[np.int32]
    windows_left_out: bool

    def pattern(self, face: int) -> NDArray[np.bool_]:
        """(G,): signs of the gates on one face. Cost: the depth of the face in the tree, about the root of F."""
        found = self.root_pattern.copy()
        while face != self.root:
            found[self.flips[self.flip_start[face] : self.flip_start[face + 1]]] ^= True
            face = int(self.parent[face])
        return found

    def patterns(self, faces: ArrayLike) -> NDArray[np.bool_]:
        """(n, G): signs on the given faces."""
        chosen = np.asarray(faces, dtype=np.int64).reshape(-1)
        return np.array([self.pattern(int(f)) for f in chosen], dtype=bool).reshape(len(chosen), len(self.gates))


def pattern_tree(result: Slice) -> PatternTree:
    """The tree of a slice; exact. Cost: O(edges), one forward pass, and two for each edge that several gates share (a
    gate that only touches zero there does not flip). Source: ours."""
    windows = np.array([s.kind in WINDOWED for s in result.sites] + [True])
    makers = result.edge_gates
    shown = ~windows[result.edge_sites]
    gates = np.unique(np.concatenate([makers[shown], _extra_gates(result, windows)])).astype(np.int64)
    half = result.edge_half_edges
    left, right = (result.cells.face[h].astype(np.int64) for h in (half, result.cells.twin[half]))
    inner = np.flatnonzero((left >= 0) & (right >= 0) & (left != right))
    faces, key = result.num_faces, np.minimum(left, right) * result.num_faces + np.maximum(left, right)
    keys, first = np.unique(key[inner], return_index=True)
    edge_of_key = inner[first]
    pairs = (left[edge_of_key], right[edge_of_key])
    graph = csr_array((np.ones(len(keys), dtype=np.int8), pairs), shape=(faces, faces))
    root = int(result.measures.area.argmax())
    order, parent = breadth_first_order(graph, root, directed=False)
    children = order[1:].astype(np.int64)
    above = parent[children].astype(np.int64)
    sought = np.minimum(children, above) * faces + np.maximum(children, above)
    step = np.full(faces, -1, dtype=np.int64)
    step[children] = edge_of_key[np.searchsorted(keys, sought)]
    start, flips = _flips(result, step, gates, shown)
    return PatternTree(
        gates=gates,
        root=root,
        root_pattern=_signs(result, root, gates),
        flip_start=start,
        flips=flips,
        parent=np.where(step >= 0, parent, -1).astype(np.int32),
        windows_left_out=bool(windows[:-1].any()),
    )


def _signs(result: Slice, face: int, gates: Ints) -> NDArray[np.bool_]:
    return result.patterns(np.array([face]))[0, gates] if len(gates) else np.zeros(0, dtype=bool)


def _joint_edges(result: Slice) -> Ints:
    return np.flatnonzero(result.cells.tag[result.edge_half_edges] >= COMBINED)


def _extra_gates(result: Slice, windows: NDArray[np.bool_]) -> Ints:
    """Gates of shared edges, made by any neuron outside pooling windows."""
    tags = result.cells.tag[result.edge_half_edges[_joint_edges(result)]]
    every = {g for tag in np.unique(tags) for g in result.cells.tags_of(int(tag)) if g >= 0}
    return np.array(sorted(g for g in every if not windows[result.program.site_of(g)]), dtype=np.int64)


def _flips(result: Slice, step: Ints, gates: Ints, shown: NDArray[np.bool_]) -> tuple[Ints, NDArray[np.int32]]:
    """Per face, the positions in `gates` that change on the step to its parent."""
    place = np.full(int(gates.max(initial=-1)) + 2, -1, dtype=np.int64)
    place[gates] = np.arange(len(gates))
    lists = np.full(len(step), -1, dtype=np.int64)
    stepping = step >= 0
    plain = stepping & shown[step]
    lists[plain] = place[result.edge_gates[step[plain]]]
    joint = np.flatnonzero(stepping & np.isin(step, _joint_edges(result)))
    more = _joint_flips(result, step, joint, place)
    for face in more:
        lists[face] = -1
    count = (lists >= 0).astype(np.int64)
    for face, positions in more.items():
        count[face] = len(positions)
    start = np.concatenate([[0], np.cumsum(count)])
    flips = np.empty(start[-1], dtype=np.int32)
    single = np.flatnonzero(lists >= 0)
    flips[start[single]] = lists[single]
    for face, positions in more.items():
        flips[start[face] : start[face + 1]] = positions
    return start, flips


def _joint_flips(result: Slice, step: Ints, faces: Ints, place: Ints) -> dict[int, list[int]]:
    """For steps across edges with several gates: which of them change sign, asked of the network itself."""
    half = result.edge_half_edges
    questions = [
        (int(f), g)
        for f in faces
        for g in result.cells.tags_of(int(result.cells.tag[half[step[f]]]))
        if 0 <= g < len(place) and place[g] >= 0
    ]
    found: dict[int, list[int]] = {int(f): [] for f in faces}
    if not questions:
        return found
    child, gate = (np.array(column) for column in zip(*questions))
    left, right = result.cells.face[half[step[child]]], result.cells.face[result.cells.twin[half[step[child]]]]
    signs = [
        gate_values(result.program, result.plane, result.measures.interior[side], gate) > 0 for side in (left, right)
    ]
    for f, g, flipped in zip(child.tolist(), gate.tolist(), signs[0] != signs[1]):
        if flipped:
            found[f].append(int(place[g]))
    return found
