"""Exact decision boundaries on a slice: where the arg-max changes, dominant pairs only.

On a face every logit is linear, so the boundary of classes c and d there is the chord f_c = f_d clipped to where no
third class is larger. (SplineCam draws the zero set of each raw logit, or all pairwise differences whether dominant or
not.) One output is read as two classes, negative (0) and positive (1).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from cutaway.arrangement import Subdivision
from cutaway.arrangement.faces import FaceMeasures
from cutaway.arrays import Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecisionBoundary:
    """`segments` (S, 2, 2) in plane coordinates, `pairs` (S, 2) classes c < d, `faces` (S) where each lies."""

    segments: Floats
    pairs: NDArray[np.int64]
    faces: NDArray[np.int64]

    @property
    def lengths(self) -> Floats:
        return np.hypot(*(self.segments[:, 1] - self.segments[:, 0]).T)


def as_logits(outputs: Floats) -> Floats:
    """(V, C) with C >= 2: a single output f becomes (0, f)."""
    return np.concatenate([np.zeros_like(outputs), outputs], axis=1) if outputs.shape[1] == 1 else outputs


def decision_boundary(cells: Subdivision, measures: FaceMeasures, outputs: Floats) -> DecisionBoundary:
    """The arg-max boundary over all faces. `outputs` (R, C) at the corners.

    Exact up to rounding. A boundary that runs along an edge is reported by one of its faces; so is one where the
    network jumps from class to class. Cost: O(V C) and, on the faces whose corners disagree, O(C^3).
    """
    logits = as_logits(outputs)
    best = logits.argmax(axis=1)
    first, rows, vertex = measures.start[:-1], measures.rows, cells.origin[measures.order]
    mixed = np.minimum.reduceat(best[rows], first) != np.maximum.reduceat(best[rows], first)
    found: list[tuple[Floats, NDArray, NDArray]] = list(_along_jumps(cells, measures, logits))
    for sides in np.unique(measures.num_sides[mixed]):
        faces = np.flatnonzero(mixed & (measures.num_sides == sides))
        corners = measures.start[faces][:, None] + np.arange(sides)
        found.extend(_on_polygons(cells.position[vertex[corners]], logits[rows[corners]], faces))
    if not found:
        return DecisionBoundary(segments=np.zeros((0, 2, 2)), pairs=np.zeros((0, 2), int), faces=np.zeros(0, int))
    segments, pairs, faces = (np.concatenate(parts) for parts in zip(*found))
    return DecisionBoundary(segments=segments, pairs=pairs, faces=faces)


def _along_jumps(cells: Subdivision, measures: FaceMeasures, logits: Floats):
    """Segments of edges whose two faces have different classes along them, though not at a common value."""
    rows = np.full(cells.num_half_edges, -1, dtype=np.int64)
    rows[measures.order] = measures.rows
    half = np.flatnonzero((rows >= 0) & (np.arange(len(rows)) < cells.twin) & (rows[cells.twin] >= 0))
    twin, ahead = cells.twin[half], cells.following[half]
    ends = np.stack(
        [rows[half], rows[cells.following[twin]], rows[ahead], rows[twin]], axis=1
    )  # start, end: both sides
    jumping = (ends[:, 0] != ends[:, 1]) | (ends[:, 2] != ends[:, 3])
    for h, (a, b, c, d) in zip(half[jumping], ends[jumping]):
        start, end = cells.position[cells.origin[h]], cells.position[cells.origin[cells.twin[h]]]
        cuts = np.unique(
            np.concatenate([[0.0, 1.0], arg_max_changes(logits[a], logits[c]), arg_max_changes(logits[b], logits[d])])
        )
        for low, high in pairwise(cuts):
            middle = (low + high) / 2
            one, other = (int(((1 - middle) * logits[p] + middle * logits[q]).argmax()) for p, q in ((a, c), (b, d)))
            if one != other:
                segment = np.stack([start + t * (end - start) for t in (low, high)])
                yield segment[None], np.array([sorted((one, other))]), cells.face[[h]]


def arg_max_changes(start: Floats, end: Floats) -> list[float]:
    """Where in (0, 1) the arg-max of logits linear from `start` (C,) to `end` (C,) changes, ascending."""
    at, found = 0.0, []
    best = int(start.argmax())
    while True:
        lead, change = start[best] - start, (end - start) - (end[best] - start[best])
        meets = np.divide(lead, change, out=np.full(len(lead), np.inf), where=change > 0)
        if not meets.min() < 1:
            return found
        best, at = int(meets.argmin()), max(float(meets.min()), at)
        found.append(at)


def _on_polygons(position: Floats, logits: Floats, faces: NDArray):
    """Segments on n polygons of m corners: `position` (n, m, 2), `logits` (n, m, C)."""
    reachable = logits.max(axis=1).max(axis=0) >= logits.max(axis=2).min()
    never = _tied_with_lower(logits)
    for c, d in combinations(np.flatnonzero(reachable), 2):
        gap = logits[:, :, c] - logits[:, :, d]
        above = gap >= 0
        after = np.roll(above, -1, axis=1)
        falls, rises = above & ~after, ~above & after
        hit = np.flatnonzero(falls.any(axis=1) & ~never[:, c] & ~never[:, d])
        if not len(hit):
            continue
        ends = [_cut(position[hit], logits[hit], gap[hit], some[hit].argmax(axis=1)) for some in (falls, rises)]
        low, high = _clip(ends[0][1], ends[1][1], int(c), np.abs(logits[hit]).max(axis=(1, 2)))
        keep = high - low > 1e-12
        start, along = ends[0][0][keep], (ends[1][0] - ends[0][0])[keep]
        segments = np.stack([start + low[keep, None] * along, start + high[keep, None] * along], axis=1)
        keep_length = np.abs(along).max(axis=1, initial=0.0) > 0
        count = int(keep_length.sum())
        yield segments[keep_length], np.tile([c, d], (count, 1)), faces[hit][keep][keep_length]


def _cut(position: Floats, logits: Floats, gap: Floats, side: NDArray):
    """Point and logits where the gap vanishes on the given side of each polygon."""
    row = np.arange(len(side))
    onward = (side + 1) % position.shape[1]
    a, b = gap[row, side], gap[row, onward]
    t = (a / (a - b))[:, None]
    return tuple((1 - t) * v[row, side] + t * v[row, onward] for v in (position, logits))


def _clip(start: Floats, end: Floats, winner: int, scale: Floats) -> tuple[Floats, Floats]:
    """The part [low, high] of each segment on which no class exceeds `winner` by more than rounding, which is relative
    to the `scale` (n,) of the logits: those at the segment's ends may all be 0 but for it."""
    lead0, lead1 = start[:, winner, None] - start, end[:, winner, None] - end
    tiny = 1e-13 * scale[:, None]
    lead0, lead1 = np.where(np.abs(lead0) <= tiny, 0.0, lead0), np.where(np.abs(lead1) <= tiny, 0.0, lead1)
    with np.errstate(divide="ignore", invalid="ignore"):
        zero = lead0 / (lead0 - lead1)
    low = np.where((lead0 < 0) & (lead1 >= 0), zero, 0.0).max(axis=1)
    high = np.where((lead0 >= 0) & (lead1 < 0), zero, 1.0).min(axis=1)
    never = ((lead0 < 0) & (lead1 < 0)).any(axis=1)
    return low, np.where(never, low, high)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassPieces:
    """Faces that hold several classes, cut up: `polygons`, each (n, 2), with their `classes` (P) and `faces` (P).

    A piece lies over its face; what no piece covers has the face's own class.
    """

    polygons: list[Floats]
    classes: NDArray[np.int64]
    faces: NDArray[np.int64]


def class_pieces(cells: Subdivision, measures: FaceMeasures, outputs: Floats) -> ClassPieces:
    """The pieces of faces on which the outputs (R, C) are linear; of classes that tie the lowest wins, as in arg-max.

    Exact up to rounding. Cost: O(C) clippings of each face that the decision boundary crosses.
    """
    logits = as_logits(outputs)
    best = logits.argmax(axis=1)
    first, rows = measures.start[:-1], measures.rows
    mixed = np.flatnonzero(np.minimum.reduceat(best[rows], first) != np.maximum.reduceat(best[rows], first))
    polygons, classes, faces = [], [], []
    for face in mixed:
        around = slice(measures.start[face], measures.start[face + 1])
        corners, values = cells.origin[measures.order[around]], logits[rows[around]]
        reachable = values.max(axis=0) >= values.max(axis=1).min()
        for c in np.flatnonzero(reachable & ~_tied_with_lower(values[None])[0]):
            joint = np.concatenate([cells.position[corners], values - values[:, [c]]], axis=1)
            for d in range(values.shape[1]):
                if d != c and len(joint):
                    joint = _keep_negative(joint, 2 + d)
            if len(joint) >= 3:
                polygons.append(joint[:, :2])
                classes.append(c)
                faces.append(face)
    return ClassPieces(
        polygons=polygons, classes=np.array(classes, dtype=np.int64), faces=np.array(faces, dtype=np.int64)
    )


def _tied_with_lower(logits: Floats) -> NDArray[np.bool_]:
    """(n, C): classes that equal one of a lower number at every corner of a polygon, `logits` (n, m, C)."""
    found = np.zeros((len(logits), logits.shape[2]), dtype=bool)
    for k in np.flatnonzero((np.diff(np.sort(logits[:, 0], axis=1), axis=1) == 0).any(axis=1)):
        _, lowest = np.unique(logits[k], axis=1, return_index=True)
        found[k] = ~np.isin(np.arange(logits.shape[2]), lowest)
    return found


def _keep_negative(points: Floats, column: int) -> Floats:
    """The part of a convex polygon where a linear function, given in `column` at its corners, is at most 0."""
    value, ahead = points[:, column], np.roll(points, -1, axis=0)
    after = ahead[:, column]
    if (value <= 0).all():
        return points
    kept = []
    for p, q, a, b in zip(points, ahead, value, after):
        if a <= 0:
            kept.append(p)
        if (a < 0 < b) or (b < 0 < a):
            kept.append(p + (q - p) * (a / (a - b)))
    return np.array(kept).reshape(-1, points.shape[1])
