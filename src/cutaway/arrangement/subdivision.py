"""A planar subdivision as half-edges in flat arrays, made to be cut.

Half-edge h runs from vertex `origin[h]` to `origin[twin[h]]` with its face on the left; `following[h]` is the next one
of that face (counter-clockwise), `face[h]` is -1 outside the domain. `tag[h]` (equal on both twins) says what made the
edge: a gate number >= 0, -1 - b for side b of the domain, or, where several gates vanish along an edge, COMBINED + i
with the tags in `combined[i]`, the one that made it first. Sizes: V vertices, H half-edges (two an edge), F faces.
Arrays are kept longer than they are filled (`num_vertices`, `num_half_edges`, `num_faces`), so that cutting appends.

Memory: 20 bytes a half-edge, 16 + 8 k a vertex while k gates are being inserted, 12 a face.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cutaway.arrays import Floats

Int32s = NDArray[np.int32]


class Subdivision:
    """Growing half-edge arrays; see the module's page for the layout."""

    __slots__ = (
        "also",
        "combined",
        "cracks",
        "face",
        "face_half_edge",
        "following",
        "num_faces",
        "num_half_edges",
        "num_vertices",
        "origin",
        "position",
        "tag",
        "twin",
    )

    def __init__(self, polygon: Floats) -> None:
        """One face: a convex polygon (m, 2), counter-clockwise; side b runs from corner b to corner b + 1."""
        corners = len(polygon)
        side = np.arange(corners, dtype=np.int32)
        self.position: Floats = np.array(polygon, dtype=np.float64)
        self.origin: Int32s = np.concatenate([side, np.roll(side, -1)])
        self.twin: Int32s = np.concatenate([side + corners, side]).astype(np.int32)
        self.following: Int32s = np.concatenate([np.roll(side, -1), corners + np.roll(side, 1)]).astype(np.int32)
        self.face: Int32s = np.repeat(np.array([0, -1], dtype=np.int32), corners)
        self.tag: Int32s = np.tile(-1 - side, 2).astype(np.int32)
        self.face_half_edge: Int32s = np.zeros(1, dtype=np.int32)
        self.num_vertices, self.num_half_edges, self.num_faces = corners, 2 * corners, 1
        self.also: set[int] = set()  # gates noted to vanish along an edge that is there already
        self.combined: list[tuple[int, ...]] = []
        self.cracks: list[tuple[float, ...]] = []  # ends (x, y, x, y) of edges that were opened

    @classmethod
    def triangulated(cls, polygon: Floats, position: Floats, triangles: Int32s) -> Subdivision:
        """A mesh over the domain: inner edges carry the tag MESH_EDGE, sides of the domain their own tags.

        `polygon` (m, 2), `position` (V, 2), `triangles` (T, 3) numbers of its rows. Exact: the triangles as they are
        given. Source: definition.
        """
        made = cls(polygon)
        made.position = np.array(position, dtype=np.float64)
        origin = triangles.reshape(-1).astype(np.int64)
        target = np.roll(triangles, -1, axis=1).reshape(-1).astype(np.int64)
        inner = len(origin)
        lookup = {(int(a), int(b)): h for h, (a, b) in enumerate(zip(origin, target))}
        twin = np.array([lookup.get((int(b), int(a)), -1) for a, b in zip(origin, target)], dtype=np.int64)
        rim = np.flatnonzero(twin < 0)
        outer = inner + np.arange(len(rim))
        twin = np.concatenate([twin, rim])
        twin[rim] = outer
        following = np.arange(inner).reshape(-1, 3)
        following = np.concatenate([np.roll(following, -1, axis=1).reshape(-1), np.zeros(len(rim), dtype=np.int64)])
        starts_at = {int(target[h]): int(outer[i]) for i, h in enumerate(rim)}
        following[outer] = [starts_at[int(origin[h])] for h in rim]
        made.origin = np.concatenate([origin, target[rim]]).astype(np.int32)
        made.twin, made.following = twin.astype(np.int32), following.astype(np.int32)
        made.face = np.concatenate([np.repeat(np.arange(len(triangles)), 3), np.full(len(rim), -1)]).astype(np.int32)
        tag = np.full(len(made.origin), MESH_EDGE, dtype=np.int32)
        sides = _sides_of(polygon, made.position[origin[rim]], made.position[target[rim]])
        tag[rim] = tag[outer] = -1 - sides
        made.tag = tag
        made.face_half_edge = np.arange(0, inner, 3, dtype=np.int32)
        made.num_vertices, made.num_half_edges = len(made.position), len(made.origin)
        made.num_faces = len(triangles)
        return made

    def reserve(self, vertices: int, half_edges: int, faces: int) -> None:
        """Make room for that many in all; contents stay."""
        self.position = grown(self.position, vertices)
        for name in ("origin", "twin", "following", "face", "tag"):
            setattr(self, name, grown(getattr(self, name), half_edges))
        self.face_half_edge = grown(self.face_half_edge, faces)

    def trim(self) -> None:
        """Drop the spare room."""
        v, h, f = self.num_vertices, self.num_half_edges, self.num_faces
        self.position = self.position[:v].copy()
        for name in ("origin", "twin", "following", "face", "tag"):
            setattr(self, name, getattr(self, name)[:h].copy())
        self.face_half_edge = self.face_half_edge[:f].copy()

    @property
    def num_edges(self) -> int:
        return self.num_half_edges // 2

    def cycles(self) -> tuple[NDArray[np.int64], Int32s]:
        """Half-edges face by face in order: `start` (F + 1) into `order`; every face's cycle is counter-clockwise.

        Shapes (F + 1,) and (half-edges,).
        """
        following, first = self.following, self.face_half_edge[: self.num_faces]
        length = np.bincount(self.face[: self.num_half_edges] + 1, minlength=self.num_faces + 1)[1:]
        start = np.concatenate([[0], np.cumsum(length)])
        order = np.empty(start[-1], dtype=np.int32)
        here, left, step = first.copy(), np.arange(self.num_faces), 0
        while len(left):
            order[start[left] + step] = here
            step += 1
            more = length[left] > step
            left, here = left[more], following[here[more]]
        return start, order

    def tags_of(self, tag: int) -> tuple[int, ...]:
        """All gates or sides that a tag stands for, the one that made the edge first."""
        return self.combined[tag - COMBINED] if tag >= COMBINED else (tag,)

    @property
    def makers(self) -> Int32s:
        """(H,): tags with combined ones replaced by the gate or side that made the edge."""
        tag = self.tag[: self.num_half_edges]
        if not self.combined:
            return tag
        first = np.array([tags[0] for tags in self.combined], dtype=np.int32)
        return np.where(tag >= COMBINED, first[np.maximum(tag - COMBINED, 0)], tag)

    def combine(self, half_edges: NDArray[np.int64], gate: int) -> None:
        """Note that `gate` vanishes along these half-edges and their twins too.

        `half_edges` (k,) are numbers of half-edges.
        """
        known = {tags: i for i, tags in enumerate(self.combined)}
        for tag in np.unique(self.tag[half_edges]):
            tags = self.tags_of(int(tag))
            if gate in tags:
                continue
            tags = (*tags, gate)
            if tags not in known:
                known[tags] = len(self.combined)
                self.combined.append(tags)
            mine = half_edges[self.tag[half_edges] == tag]
            both = np.concatenate([mine, self.twin[mine]])
            self.tag[both] = COMBINED + known[tags]

    def check_pointers(self) -> list[str]:
        """What is wrong with the arrays (empty when sound); used by the self-check and the tests."""
        h = np.arange(self.num_half_edges)
        twin, following = self.twin[: len(h)], self.following[: len(h)]
        origin, face, tag = self.origin[: len(h)], self.face[: len(h)], self.tag[: len(h)]
        faults = []
        if not np.array_equal(twin[twin], h) or np.any(twin == h):
            faults.append("twins do not pair up")
        if not np.array_equal(np.sort(following), h):
            faults.append("a half-edge is not followed exactly once")
        if not np.array_equal(origin[following], origin[twin]):
            faults.append("a half-edge does not start where the one before it ends")
        if not np.array_equal(face[following], face):
            faults.append("a face's cycle leaves the face")
        if not np.array_equal(tag[twin], tag):
            faults.append("twins carry different tags")
        return faults


MESH_EDGE = np.iinfo(np.int32).min
CRACK = -(1 << 40)  # tags from here down number cracks, see `cracks`
COMBINED = 1 << 30


def grown(array: NDArray, length: int) -> NDArray:
    """`array` with at least `length` rows (half as much again when it has to move)."""
    if len(array) >= length:
        return array
    shape = (max(length, len(array) + len(array) // 2), *array.shape[1:])
    bigger = np.empty(shape, dtype=array.dtype)
    bigger[: len(array)] = array
    return bigger


def _sides_of(polygon: Floats, start: Floats, end: Floats) -> NDArray[np.int64]:
    """For segments on the rim, the side of the polygon each lies on."""
    middle = (start + end) / 2
    along = np.roll(polygon, -1, axis=0) - polygon
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.linalg.norm(along, axis=1, keepdims=True)
    distance = np.abs(np.einsum("sd,psd->ps", normal, middle[:, None] - polygon[None]))
    return distance.argmin(axis=1)
