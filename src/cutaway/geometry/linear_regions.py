"""The affine region around a sample: its half-spaces, nearest boundary, facets, neighbours and volume.

Inside the region of x every gate is affine, h_i(x + v) = h_i(x) + n_i . v, so the region is the polytope of the v with
sign_i (h_i + n_i . v) >= 0. `sample_region` gives all n_i exactly by one batch of D tangents through the graph;
distances follow by division, facets and interior points of facets by one linear programme each, neighbours by crossing
facets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cutaway.arrays import Floats
from cutaway.engines.budget import chunk_size
from cutaway.errors import InputError
from cutaway.geometry.program import KinkSite, StagedProgram, Values
from cutaway.geometry.rays import as_program
from cutaway.geometry.vocabulary import AFFINE, PAIRED, RELU_LIKE
from cutaway.network.graph import Graph, Node


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearRegion:
    """Half-spaces of one region about `point` (D,): `normals` (N, D) and `values` (N) with sign * (value + normal v) >=
    0, `gates` (N) their numbers; gates that do not depend on the input inside the region are left out. `pattern`:
    all."""

    point: Floats
    normals: Floats
    values: Floats
    gates: NDArray[np.int64]
    pattern: NDArray[np.bool_]
    sites: tuple[KinkSite, ...]

    @property
    def distances(self) -> Floats:
        """(N,): Euclidean distance from the point to every gate's zero plane, as it lies inside this region's map."""
        return np.abs(self.values) / np.linalg.norm(self.normals, axis=1)

    @property
    def radius(self) -> float:
        """Radius of the largest ball about the point inside the region (infinite without boundaries)."""
        return float(self.distances.min(initial=np.inf))

    @property
    def inward(self) -> tuple[Floats, Floats]:
        """(A (N, D), b (N)) with the region {v : A v <= b}, rows of unit length."""
        length = np.linalg.norm(self.normals, axis=1)
        sign = np.where(self.values > 0, 1.0, -1.0)
        return -sign[:, None] * self.normals / length[:, None], sign * self.values / length


def sample_region(model: nn.Module | Graph | StagedProgram, point: Tensor, *, budget: int = 1 << 30) -> LinearRegion:
    """The region of one input (*input_shape). Exact (float64).

    Cost: 2 D forward passes in batches within `budget`, memory N D (`region_radius` does without). Raises InputError
    for NaN, NotPiecewiseAffine. Source: definition.
    """
    if not bool(torch.isfinite(point).all()):
        raise InputError(
            "sample", found="NaN or infinite values", expected="a finite input", remedy="remove or mend these values"
        )
    program = as_program(model, point[None])
    dims = point.numel()
    size = int(max(1, min(dims, budget // (64 * max(n.numel for n in program.graph.nodes)))))
    basis, rows = torch.eye(dims, dtype=torch.float64), []
    with torch.no_grad():
        values = torch.cat(program.all_gates(point[None].to(torch.float64)), dim=1)[0]
        for begin in range(0, dims, size):
            rows.append(gate_tangents(program, point, basis[begin : begin + size]))
    normals, all_values = torch.cat(rows).T.numpy(), values.numpy()
    length = np.linalg.norm(normals, axis=1)
    matters = length > 1e-14 * max(float(length.max(initial=0.0)), 1e-300)
    return LinearRegion(
        point=point.to(torch.float64).reshape(-1).numpy(),
        normals=normals[matters],
        values=all_values[matters],
        gates=np.flatnonzero(matters),
        pattern=all_values > 0,
        sites=program.sites,
    )


def region_radius(model: nn.Module | Graph | StagedProgram, point: Tensor, *, budget: int = 1 << 30) -> float:
    """`sample_region(...).radius` without the region's half-spaces. Exact (float64).

    Cost: 2 D forward passes in batches within `budget`; memory of one batch and of one number a gate. Raises as
    `sample_region`, BudgetError where one direction does not fit.
    """
    if not bool(torch.isfinite(point).all()):
        raise InputError(
            "sample", found="NaN or infinite values", expected="a finite input", remedy="remove or mend these values"
        )
    program = as_program(model, point[None])
    dims = point.numel()
    layer = 8 * LIVE * max(n.numel for n in program.graph.nodes)
    kept = 8 * program.num_gates + layer
    width = layer + 24 * max((s.num_gates for s in program.sites), default=0)
    size = min(dims, chunk_size(width, max(budget - kept, 0)))
    squares = [torch.zeros(s.num_gates, dtype=torch.float64) for s in program.sites]
    with torch.no_grad():
        for begin in range(0, dims, size):
            rows = torch.arange(begin, min(begin + size, dims))
            directions = torch.zeros(len(rows), dims, dtype=torch.float64)
            directions[torch.arange(len(rows)), rows] = 1.0
            for total, moves in zip(squares, _moves_by_site(program, point, directions)):
                for move in moves:  # no temporary of the whole batch
                    total.addcmul_(move, move)
        longest = max((float(total.amax()) for total in squares if len(total)), default=0.0)
        least = (1e-14 * max(longest**0.5, 1e-300)) ** 2
        nearest = float("inf")
        for total, gates in zip(squares, program.gates_by_site(point[None].to(torch.float64))):
            ratio = torch.where(total > least, gates[0].abs() / total.sqrt(), torch.inf)
            nearest = min(nearest, float(ratio.amin()) if len(ratio) else nearest)
    return nearest


LIVE = 8
"""Values of the largest layer that are there at once for a direction: the live nodes of a residual block, what is made
of them, and the columns of a convolution of 3 x 3."""


def gate_tangents(program: StagedProgram, point: Tensor, directions: Tensor) -> Tensor:
    """Derivatives of all gates along directions (B, D) inside the region of `point`: (B, gates)."""
    found = list(_moves_by_site(program, point, directions))
    return torch.cat(found, dim=1) if found else directions.new_zeros(len(directions), 0)


def _moves_by_site(program: StagedProgram, point: Tensor, directions: Tensor) -> Iterator[Tensor]:
    """The same, site by site, (B, gates of it); what no later operator reads goes."""
    program.passes.count(2 * len(directions))
    values = program.begin(point[None])
    moves: Values = {program.input.index: directions.to(torch.float64).reshape(-1, *program.input.shape)}
    sites = {s.node: s for s in program.sites}
    for node in program.graph.nodes:
        if node.index in program.constants or node.op == "input":
            continue
        if node.index in sites:
            yield _gate_moves(program, sites[node.index], node, values, moves)
        inputs = [program._read(values, i) for i in node.inputs]
        values[node.index] = program._apply(node, inputs)
        moves[node.index] = _move(program, node, values, moves)
        for i in {i for i in node.inputs if program.last_use[i] <= node.index}:
            values.pop(i, None)
            moves.pop(i, None)


def _zero(program: StagedProgram, values: Values, moves: Values, index: int) -> Tensor:
    """The move of a node (zeros for constants)."""
    if index in moves:
        return moves[index]
    return torch.zeros_like(program._read(values, index))[None]


def _move(program: StagedProgram, node: Node, values: Values, moves: Values) -> Tensor:
    if node.op in AFFINE:
        given = [moves[i] if i in moves else program.constants[i] for i in node.inputs]
        rest = [torch.zeros_like(m[:1]) if i in moves else m for i, m in zip(node.inputs, given)]
        return program._apply(node, given) - program._apply(node, rest)
    x, move = program._read(values, node.inputs[0]), _zero(program, values, moves, node.inputs[0])
    if node.op == "relu":
        return move * (x > 0)
    if node.op == "abs":
        return move * torch.sign(x)
    if node.op == "leaky_relu":
        return torch.where(x > 0, move, move * node.constants["slope"])
    if node.op == "clamp":
        low, high = node.attributes["min"], node.attributes["max"]
        inside = torch.ones_like(x, dtype=torch.bool)
        inside &= True if low is None else x > low
        inside &= True if high is None else x < high
        return move * inside
    if node.op in PAIRED:
        other, second = program._read(values, node.inputs[1]), _zero(program, values, moves, node.inputs[1])
        return torch.where((x > other) == (node.op == "maximum"), move, second)
    site = next(s for s in program.sites if s.node == node.index)
    assert site.window is not None
    entries, _ = program.entries(values, site)
    winner = site.window.gather(1, entries[0].argmax(dim=1, keepdim=True))[:, 0]
    return move.reshape(len(move), -1)[:, winner].reshape(len(move), *node.shape)


def _gate_moves(program: StagedProgram, site: KinkSite, node: Node, values: Values, moves: Values) -> Tensor:
    move = _zero(program, values, moves, node.inputs[0])
    flat = move.reshape(len(move), -1)
    if node.op in RELU_LIKE or node.op == "clamp":
        return flat.repeat(1, site.parts)
    if node.op in PAIRED:
        return (move - _zero(program, values, moves, node.inputs[1])).reshape(len(move), -1)
    entries, _ = program.entries(values, site)
    assert site.window is not None
    parts = []
    for part in range(site.parts):
        before = entries[0, :, : part + 1].argmax(dim=1, keepdim=True)
        ahead, behind = site.window[:, part + 1], site.window.gather(1, before)[:, 0]
        gap = flat[:, ahead.clamp(min=0)] - flat[:, behind.clamp(min=0)]
        gap[:, (ahead < 0) | (behind < 0)] = 0.0
        parts.append(gap)
    return torch.cat(parts, dim=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facets:
    """`rows` (K) of the region that bound it, `points` (K, D) inside each facet (offsets v from the region's point),
    `clearance` (K) least distance of that point to the other half-spaces; `unbounded`: too few of them to close the
    region, so that the box does (a region that the box cuts may have enough)."""

    rows: NDArray[np.int64]
    points: Floats
    clearance: Floats
    unbounded: bool


def facets(region: LinearRegion, *, box: float, tolerance: float = 1e-9) -> Facets:
    """Which half-spaces bound the region within the box |v|_inf <= `box` about its point.

    Exact up to the solver's tolerance. Cost: one linear programme of D + 1 variables for each half-space whose plane
    meets the box.
    """
    from scipy.optimize import linprog

    matrix, bound = region.inward
    dims = matrix.shape[1]
    near = np.flatnonzero(bound <= box * np.abs(matrix).sum(axis=1))
    rows, points, clearance = [], [], []
    for i in near:
        others = near[near != i]
        table = np.concatenate([matrix[others], np.ones((len(others), 1))], axis=1)
        plane = np.append(matrix[i], 0.0)[None]
        result = linprog(
            np.append(np.zeros(dims), -1.0),
            A_ub=table if len(others) else None,
            b_ub=bound[others] if len(others) else None,
            A_eq=plane,
            b_eq=bound[i : i + 1],
            bounds=[(-box, box)] * dims + [(None, box)],
            method="highs",
        )
        if result.status == 0 and result.x[-1] > tolerance:
            rows.append(i)
            points.append(result.x[:-1])
            clearance.append(result.x[-1])
    reach = np.array(points).reshape(-1, dims)
    return Facets(
        rows=np.array(rows, dtype=np.int64),
        points=reach,
        clearance=np.array(clearance),
        unbounded=len(rows) <= dims,
    )


def chebyshev(region: LinearRegion, *, box: float) -> tuple[Floats, float]:
    """Centre (as an offset from the point) and radius of the largest ball inside the region and the box; one LP.

    Centre (D,), a number. Exact up to the solver's tolerance.
    """
    from scipy.optimize import linprog

    matrix, bound = region.inward
    dims = matrix.shape[1]
    walls = np.concatenate([np.eye(dims), -np.eye(dims)])
    table = np.concatenate([np.concatenate([matrix, walls]), np.ones((len(matrix) + 2 * dims, 1))], axis=1)
    limit = np.concatenate([bound, np.full(2 * dims, box)])
    result = linprog(
        np.append(np.zeros(dims), -1.0),
        A_ub=table,
        b_ub=limit,
        bounds=[(None, None)] * dims + [(0, None)],
        method="highs",
    )
    return result.x[:-1], float(result.x[-1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Neighbourhood:
    """Regions found breadth first: `points` (R, D) inside each, `depth` (R) facets crossed, `edges` pairs that share a
    facet, `complete`: `max_regions` was not reached."""

    points: Floats
    depth: NDArray[np.int64]
    edges: tuple[tuple[int, int], ...]
    complete: bool


def neighbours(
    model: nn.Module | Graph | StagedProgram,
    point: Tensor,
    *,
    depth: int = 1,
    box: float = 1.0,
    max_regions: int = 1000,
) -> Neighbourhood:
    """Regions reached across facets, breadth first to `depth`, inside the box of half-width `box` about the sample.

    Every region and edge is real up to the solver's tolerance; their number is a lower bound, since a facet is crossed
    at the centre of its largest ball alone, and not where that lies outside the box. Cost: one `sample_region` and one
    linear programme a half-space for each region.
    `point` (*input shape) or (1, *input shape). Source: ours; the centre of a facet's largest ball is Chebyshev's.
    """
    program = as_program(model, point[None])
    shape = point.shape
    centre = point.to(torch.float64).reshape(-1).numpy()
    first = sample_region(program, point)
    seen = {first.pattern.tobytes(): 0}
    points, depths, edges = [centre], [0], set()
    queue, complete = deque([0]), True
    while queue:
        current = queue.popleft()
        if depths[current] == depth:
            continue
        here = points[current]
        region = sample_region(program, torch.from_numpy(here).reshape(shape))
        found = facets(region, box=box + float(np.abs(here - centre).max()))
        matrix, _ = region.inward
        for row, inside, room in zip(found.rows, found.points, found.clearance):
            there = here + inside
            if np.abs(there - centre).max() > box:
                continue
            across = there + matrix[row] * min(room, 1e-3) * 1e-3
            key = _pattern(program, across.reshape(1, *shape))
            if key not in seen:
                if len(points) == max_regions:
                    complete = False
                    continue
                seen[key] = len(points)
                points.append(across)
                depths.append(depths[current] + 1)
                queue.append(seen[key])
            if seen[key] != current:
                edges.add((min(current, seen[key]), max(current, seen[key])))
    return Neighbourhood(points=np.array(points), depth=np.array(depths), edges=tuple(sorted(edges)), complete=complete)


def _pattern(program: StagedProgram, inputs: Floats) -> bytes:
    with torch.no_grad():
        gates = torch.cat(program.all_gates(torch.from_numpy(inputs)), dim=1)[0]
    return (gates > 0).numpy().tobytes()
