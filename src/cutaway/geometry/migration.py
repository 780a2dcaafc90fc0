"""How near region boundaries lie to the decision boundary: along segments and in exact slices.

"Regions move to the decision boundary" (Humayun et al., arXiv 2402.15555) as a number. On a segment between two inputs
every crossing of a region boundary is exact (`rays`), the logits are linear between crossings, and so the places where
the arg-max changes are exact too. A slice has the edges of its regions and its decision boundary (`slice`); there the
distance is the Euclidean one within the plane.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Tensor, nn

from cutaway.arrays import Floats, Ints
from cutaway.errors import InputError
from cutaway.geometry.decision import arg_max_changes, as_logits
from cutaway.geometry.partition import Slice
from cutaway.geometry.plane import chords
from cutaway.geometry.program import StagedProgram
from cutaway.geometry.rays import Crossings, as_program, crossings
from cutaway.network.graph import Graph

CHORDS = 512
"""Parallel chords whose length within the distance stands for the area within it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RayMigration:
    """Crossings of R segments, and where the class changes on them.

    `segment`, `at`, `gate`, `site` (M): as in `Crossings`, the site as index into `sites`; `changes` (R): ascending
    places in [0, 1] at which the arg-max changes, for each segment; `distance` (M): from each crossing along its
    segment to the nearest change on it, in input units, inf where there is none; `length` (R).

    Shapes (M,) for crossings, (R,) for segments.
    """

    segment: Ints
    at: Floats
    gate: Ints
    site: Ints
    distance: Floats
    length: Floats
    changes: tuple[Floats, ...]
    sites: tuple[str, ...]

    def near(self, radius: Floats) -> NDArray[np.bool_]:
        """(M,): crossings no farther than `radius` (R,), in input units, from a change of class on their segment;
        exact up to rounding. Source: definition."""
        return self.distance <= radius[self.segment]

    def length_near(self, radius: Floats) -> Floats:
        """(R,): length of each segment that is no farther than `radius` (R,) from a change of class on it; exact.

        Source: definition.
        """
        share = radius / self.length
        owner = np.repeat(np.arange(len(self.length)), [len(c) for c in self.changes])
        places = np.concatenate(self.changes)
        return _covered(owner, places - share[owner], places + share[owner], len(share)) * self.length

    def cells(self, count: int) -> tuple[Floats, Floats]:
        """(R, count) each: crossings in `count` equal cells of every segment, and the distance of the cell's middle to
        the nearest change of class, as a share of the segment's length (inf where there is none)."""
        cell = np.minimum((self.at * count).astype(np.int64), count - 1)
        crossed = np.bincount(self.segment * count + cell, minlength=len(self.length) * count)
        middle = (np.arange(count) + 0.5) / count
        far = np.array([np.abs(middle[:, None] - c).min(axis=1, initial=np.inf) for c in self.changes])
        return crossed.reshape(-1, count).astype(float), far.reshape(-1, count)


def ray_migration(
    model: nn.Module | Graph | StagedProgram, starts: Tensor, ends: Tensor, *, budget: int = 1 << 30
) -> RayMigration:
    """Region boundaries and changes of class on the segments from `starts` to `ends`, both (R, *input_shape).

    One output f is read as two logits (0, f). Exact up to rounding, float64. Cost: two forward passes for every
    crossing. Raises as `crossings`. Source: ours, of the claim in Humayun et al. (arXiv 2402.15555).
    """
    program = as_program(model, starts[:1])
    found = crossings(program, starts, ends, budget=budget)
    segment, at = found.segment.cpu().numpy(), found.at.cpu().numpy()
    changes = class_changes(program, starts, ends, found, budget=budget)
    distance = np.full(len(at), np.inf)
    length = found.length.cpu().numpy()
    begin = np.searchsorted(segment, np.arange(len(length) + 1))
    for r, places in enumerate(changes):
        mine = slice(begin[r], begin[r + 1])
        distance[mine] = np.abs(at[mine, None] - places).min(axis=1, initial=np.inf) * length[r]
    bounds = np.array([s.first for s in found.sites])
    return RayMigration(
        segment=segment,
        at=at,
        gate=found.gate.cpu().numpy(),
        site=np.searchsorted(bounds, found.gate.cpu().numpy(), side="right") - 1,
        distance=distance,
        length=length,
        changes=changes,
        sites=tuple(s.name for s in found.sites),
    )


def class_changes(
    program: StagedProgram, starts: Tensor, ends: Tensor, found: Crossings, *, budget: int = 1 << 30
) -> tuple[Floats, ...]:
    """For each of R segments the places in [0, 1] where the arg-max changes, from its crossings.

    Exact up to rounding: between crossings the logits are linear, and where both ends of a piece have one class so has
    all of it. Cost: a forward pass for every crossing and end.
    """
    count = len(starts)
    both = torch.cat([torch.zeros(count), torch.ones(count)]).double()
    segment = torch.cat([torch.arange(count).repeat(2), found.segment.cpu()])
    at = torch.cat([both, found.at.cpu()])
    order = torch.argsort(at, stable=True)
    order = order[torch.argsort(segment[order], stable=True)]
    segment, at = segment[order], at[order]
    logits = as_logits(_outputs(program, starts, ends, segment, at, budget))
    best, where, owner = logits.argmax(axis=1), at.numpy(), segment.numpy()
    pieces = np.flatnonzero((best[1:] != best[:-1]) & (owner[1:] == owner[:-1]))
    places: list[list[float]] = [[] for _ in range(count)]
    for k in pieces:
        width = where[k + 1] - where[k]
        inside = arg_max_changes(logits[k], logits[k + 1]) or [1.0]  # a tie at the far end is a change there
        places[owner[k]] += [where[k] + t * width for t in inside]
    return tuple(np.array(p) for p in places)


def _outputs(program: StagedProgram, starts: Tensor, ends: Tensor, segment: Tensor, at: Tensor, budget: int) -> Floats:
    """(n, C) outputs at points of segments."""
    first, last = starts.double().cpu(), ends.double().cpu()
    live = max((n.numel for n in program.graph.nodes), default=1)
    size = int(max(1, budget // (8 * live * 8)))
    parts = []
    with torch.no_grad():
        for rows, t in zip(segment.split(size), at.split(size), strict=True):
            share = t.reshape(-1, *[1] * (first.ndim - 1))
            points = (1 - share) * first[rows] + share * last[rows]
            parts.append(program.outputs(program.to_site(points, len(program.sites))))
    program.passes.count(len(at))
    return torch.cat(parts).numpy()


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceMigration:
    """Of a slice: `near` and `length` (sites), length of the region boundaries that each site makes within the distance
    and in all, in input units, exact; `area_share`, share of the domain's area within it (by parallel chords).

    Shapes (sites,).
    """

    near: Floats
    length: Floats
    area_share: float

    @property
    def near_share(self) -> float:
        """Share of the region boundaries' length that lies within the distance; NaN where there are none."""
        total = self.length.sum()
        return float(self.near.sum() / total) if total else float("nan")

    @property
    def concentration(self) -> float:
        """Boundary an area near the decision boundary over that of the whole domain: 1 where they are spread evenly."""
        return self.near_share / self.area_share if self.area_share else float("nan")


def slice_migration(result: Slice, radius: float) -> SliceMigration:
    """How much of the region boundaries of a slice lies within `radius` (input units) of its decision boundary.

    Exact up to rounding but for the area. Cost: edges times decision segments. Raises InputError for a radius that is
    not positive, and for a slice without a decision boundary. Source: ours, of the claim in Humayun et al. (arXiv
    2402.15555).
    """
    if not radius > 0:
        raise InputError("radius", found=str(radius), expected="a positive distance", remedy="give a number above 0")
    decision = result.decision.segments
    if not len(decision):
        raise InputError(
            "decision boundary of the slice",
            found="none: one class takes all of it",
            expected="a change of class",
            remedy="take a plane through samples of different classes",
        )
    made = result.edge_sites >= 0
    ends, site = result.vertices[result.edges[made]], result.edge_sites[made]
    near, length = near_length(ends, decision, radius), np.hypot(*(ends[:, 1] - ends[:, 0]).T)
    across = chords(result.domain, CHORDS)
    covered, whole = near_length(across, decision, radius).sum(), np.hypot(*(across[:, 1] - across[:, 0]).T).sum()
    count = len(result.sites)
    return SliceMigration(
        near=np.bincount(site, near, minlength=count).astype(np.float64),
        length=np.bincount(site, length, minlength=count).astype(np.float64),
        area_share=float(covered / whole),
    )


def near_length(edges: Floats, boundary: Floats, radius: float, *, batch_size: int = 4096) -> Floats:
    """(E,): length of each edge (E, 2, 2) within `radius` of the union of the segments `boundary` (S, 2, 2).

    Exact up to rounding: points within the radius of one segment form a convex set, which an edge meets in an
    interval. Cost: pairs of an edge and a segment that are near each other, of `batch_size` edges at a time. Source:
    ours.
    """
    half = [np.hypot(*(ends[:, 1] - ends[:, 0]).T) / 2 for ends in (edges, boundary)]
    tree, found = KDTree(boundary.mean(axis=1)), np.zeros(len(edges))
    for begin in range(0, len(edges), batch_size):
        some = edges[begin : begin + batch_size]
        reach = (radius + half[0][begin : begin + batch_size] + half[1].max()) * (1 + 1e-9)
        close = tree.query_ball_point(some.mean(axis=1), reach)
        edge = np.repeat(np.arange(len(some)), [len(c) for c in close])
        if len(edge):
            other = np.concatenate([np.asarray(c, dtype=np.int64) for c in close])
            low, high = _meet(some[edge], boundary[other], radius)
            found[begin : begin + len(some)] = _covered(edge, low, high, len(some))
    return found * 2 * half[0]


def _covered(owner: Ints, low: Floats, high: Floats, count: int) -> Floats:
    """(count,): length of the union of each owner's intervals [low, high], cut to [0, 1]; low > high is empty."""
    low, high = np.maximum(low, 0.0), np.minimum(high, 1.0)
    there = low < high
    owner = owner[there]
    low, high = low[there] + 2 * owner, high[there] + 2 * owner  # owners apart, so that one running maximum serves all
    order = np.argsort(low)
    low, high = low[order], high[order]
    reached = np.concatenate([[-np.inf], np.maximum.accumulate(high)[:-1]]) if len(high) else high
    added = np.maximum(high - np.maximum(low, reached), 0.0)
    return np.bincount(owner[order], added, minlength=count).astype(np.float64)


def _meet(edges: Floats, boundary: Floats, radius: float) -> tuple[Floats, Floats]:
    """(n,) each: the interval of every edge (n, 2, 2) within `radius` of its segment (n, 2, 2); low > high for none."""
    start, along = edges[:, 0], edges[:, 1] - edges[:, 0]
    low, high = np.full(len(edges), np.inf), np.full(len(edges), -np.inf)
    for end in (boundary[:, 0], boundary[:, 1]):
        off = start - end
        a = np.maximum((along**2).sum(axis=1), 1e-300)
        b, c = (off * along).sum(axis=1), (off**2).sum(axis=1) - radius**2
        root = b**2 - a * c
        reach = np.sqrt(np.maximum(root, 0.0))
        low = np.where(root >= 0, np.minimum(low, (-b - reach) / a), low)
        high = np.where(root >= 0, np.maximum(high, (-b + reach) / a), high)
    axis = boundary[:, 1] - boundary[:, 0]
    norm = np.maximum(np.hypot(*axis.T), 1e-300)
    unit, off = axis / norm[:, None], start - boundary[:, 0]
    ahead, side = (off * unit).sum(axis=1), off[:, 0] * unit[:, 1] - off[:, 1] * unit[:, 0]
    step, turn = (along * unit).sum(axis=1), along[:, 0] * unit[:, 1] - along[:, 1] * unit[:, 0]
    first, last = _between(ahead, step, 0.0, norm)
    second, until = _between(side, turn, -radius, radius)
    first, last = np.maximum(first, second), np.minimum(last, until)
    inside = (first <= last) & (norm > 1e-300)  # a point has no sides
    return np.where(inside, np.minimum(low, first), low), np.where(inside, np.maximum(high, last), high)


def _between(value: Floats, slope: Floats, low: float, high: float | Floats) -> tuple[Floats, Floats]:
    """Where low <= value + t slope <= high: (first, last) t, first > last for nowhere."""
    flat = np.abs(slope) < 1e-300
    safe = np.where(flat, 1.0, slope)
    one, two = (low - value) / safe, (high - value) / safe
    holds = (low <= value) & (value <= high)
    first = np.where(flat, np.where(holds, -np.inf, np.inf), np.minimum(one, two))
    last = np.where(flat, np.where(holds, np.inf, -np.inf), np.maximum(one, two))
    return first, last
