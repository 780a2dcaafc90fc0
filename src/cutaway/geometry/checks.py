"""The self-check of a slice: does the subdivision hold together, and does it agree with the network?

Four questions, by default asked of every slice: do the areas add up to the domain's, does Euler's formula hold, does
the affine map at an interior point of a face give the network's outputs at the face's corners, and is the gate that
made an edge zero at the edge's ends when it is computed afresh from the input? The last is measured as a distance in
the plane, |h| / |gradient of h in the plane|, the strictest reading of |h| / ||w||. The slope of h is taken next to the
edge's middle: a pooling gate compares with the winner so far, which may change elsewhere in the face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway.arrangement import Subdivision
from cutaway.arrangement.faces import FaceMeasures
from cutaway.arrays import Floats
from cutaway.errors import ClaimError
from cutaway.geometry.plane import Plane
from cutaway.geometry.program import StagedProgram, operations

_INSIDE = 1e-8  # networks that jump are looked at beside edges, not on them, by this share of the face's size
_ASIDE = 1e-3  # the slope of a gate is read this far from its edge, as a share of the face's height over the edge


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfCheck:
    """`area_error` relative; `euler` = V - E + F without the outer face (1 when sound); residuals in plane units;
    `affine_error` relative to the face's largest output (at least a thousandth of the slice's, which rounding sees);
    `faults`: what is wrong with the arrays, and edges off the lines of their neurons (none)."""

    area_error: float
    euler: int
    median_residual: float
    max_residual: float
    affine_error: float
    edges_checked: int
    faces_checked: int
    faults: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        return (
            not self.faults
            and self.euler == 1
            and self.area_error <= 1e-9
            and not self.median_residual > 1e-9
            and not self.affine_error > 1e-6
        )

    def require(self) -> None:
        """Raise ClaimError unless everything holds."""
        if not self.sound:
            raise ClaimError(
                "self-check of the slice",
                found=f"areas off by {self.area_error:.2g}, Euler {self.euler}, median residual "
                f"{self.median_residual:.2g}, affine error {self.affine_error:.2g} {'; '.join(self.faults)}",
                expected="areas within 1e-9, Euler 1, residual <= 1e-9, affine error <= 1e-6",
                remedy="this is a defect of the slicer or of the model's rounding: please report it with the model",
            )


def self_check(
    program: StagedProgram,
    plane: Plane,
    polygon: Floats,
    cells: Subdivision,
    measures: FaceMeasures,
    outputs: Floats,
    *,
    max_faces: int = 32,
    seed: int = 0,
    budget: int = 1 << 30,
) -> SelfCheck:
    """Check a slice on all faces (areas, Euler, pointers) and on a sample (residuals, affine maps); `outputs` (R, C) at
    the corners. Passes go through in parts that `budget` bytes hold, a point at a time at least."""
    generator = np.random.default_rng(seed)
    work = sum(operations(n) for n in program.graph.nodes)
    max_edges = int(min(1500, max(48, 6e9 // max(work, 1))))
    total = abs(_polygon_area(polygon))
    residuals, noise = _edge_residuals(program, plane, cells, measures, max_edges, generator, budget)
    astray = int((residuals > np.maximum(1e-7 * np.sqrt(total), noise)).sum())
    affine, faces = _affine_errors(
        program, plane, cells, measures, outputs, max_faces if work < 10**8 else 4, generator
    )
    return SelfCheck(
        area_error=float(abs(measures.area.sum() - total) / total),
        euler=cells.num_vertices - cells.num_edges + cells.num_faces,
        median_residual=float(np.median(residuals)) if len(residuals) else 0.0,
        max_residual=float(residuals.max(initial=0.0)),
        affine_error=affine,
        edges_checked=len(residuals) // 2,
        faces_checked=faces,
        faults=tuple(cells.check_pointers())
        + (("a face turned over",) if np.any(measures.area < -1e-12 * total) else ())
        + ((f"{astray} ends of edges off the line of their neuron",) if astray else ()),
    )


def _polygon_area(polygon: Floats) -> float:
    x, y = (polygon - polygon[0]).T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def _edge_residuals(
    program: StagedProgram,
    plane: Plane,
    cells: Subdivision,
    measures: FaceMeasures,
    max_edges: int,
    generator: np.random.Generator,
    budget: int,
) -> tuple[Floats, Floats]:
    """Distances from the ends of sampled edges to the zero lines of their gates, two an edge, and what rounding may
    make of each (1e-9 of the largest sampled gate, as a distance)."""
    makers = cells.makers
    half = np.flatnonzero((makers >= 0) & (cells.face[: cells.num_half_edges] >= 0))
    if len(half) > max_edges:
        half = generator.choice(half, max_edges, replace=False)
    if not len(half):
        return np.zeros(0), np.zeros(0)
    far, distance = _far_corners(cells, measures, half)
    half, far, distance = half[distance > 0], far[distance > 0], distance[distance > 0]
    start, end = cells.position[cells.origin[half]], cells.position[cells.origin[cells.twin[half]]]
    near = (1 - _ASIDE) * (start + end) / 2 + _ASIDE * cells.position[far]
    middle = measures.interior[cells.face[half]]
    height = _height(middle, start, end)[:, None]  # h is affine from an end to the middle, and 0 at the end
    inside = _INSIDE if program.jumps else 0.0
    start, end, top = (p + inside * (middle - p) for p in (start, end, cells.position[far]))
    points = np.stack([start, end, near, top], axis=1).reshape(-1, 2)
    value = np.abs(gate_values(program, plane, points, np.repeat(makers[half], 4), budget).reshape(-1, 4))
    slope = (value[:, 2] / (_ASIDE * distance))[:, None]
    value[:, :2] = np.abs(value[:, :2] - inside * slope * height)
    noise = np.broadcast_to(1e-9 * value.max(initial=0.0), (len(half), 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        found, allowed = (np.where(slope > 0, v / slope, 0.0) for v in (value[:, :2], noise))
    return found.reshape(-1), allowed.reshape(-1)


def _far_corners(cells: Subdivision, measures: FaceMeasures, half: NDArray[np.int64]):
    """For each half-edge the corner of its face farthest from its line, and how far."""
    far, distance = np.empty(len(half), dtype=np.int64), np.zeros(len(half))
    for i, h in enumerate(half):
        face = cells.face[h]
        corners = cells.origin[measures.order[measures.start[face] : measures.start[face + 1]]]
        a, b = cells.position[cells.origin[h]], cells.position[cells.origin[cells.twin[h]]]
        along = (b - a) / max(np.hypot(*(b - a)), np.finfo(float).tiny)
        offset = cells.position[corners] - a
        height = np.abs(along[0] * offset[:, 1] - along[1] * offset[:, 0])
        far[i], distance[i] = corners[height.argmax()], height.max()
    return far, distance


def _height(points: Floats, start: Floats, end: Floats) -> Floats:
    """Distances (n,) of points from the lines through two others."""
    along, offset = end - start, points - start
    length = np.maximum(np.hypot(*along.T), np.finfo(float).tiny)
    return np.abs(along[:, 0] * offset[:, 1] - along[:, 1] * offset[:, 0]) / length


def gate_values(program: StagedProgram, plane: Plane, points: Floats, gates: NDArray, budget: int = 1 << 30) -> Floats:
    """Value of one gate at each plane point (n, 2), computed from the input itself; (n,)."""
    found = np.empty(len(gates))
    widest = max(max(n.numel for n in program.graph.nodes), *(s.num_gates for s in program.sites), 1)
    chunk = min(len(gates), 2**26 // max(program.num_gates, 1), 2**23 // widest, budget // (256 * widest))
    chunk = int(max(1, chunk))
    with torch.no_grad():
        for begin in range(0, len(gates), chunk):
            some = slice(begin, begin + chunk)
            wanted = gates[some]
            part = np.empty(len(wanted))
            inputs = torch.from_numpy(plane.lift(points[some]))
            for site, rows in zip(program.sites, program.gates_by_site(inputs)):
                mine = np.flatnonzero((wanted >= site.first) & (wanted < site.first + site.num_gates))
                part[mine] = rows.numpy()[mine, wanted[mine] - site.first]
            found[some] = part
    return found


def _affine_errors(
    program: StagedProgram,
    plane: Plane,
    cells: Subdivision,
    measures: FaceMeasures,
    outputs: Floats,
    max_faces: int,
    generator: np.random.Generator,
) -> tuple[float, int]:
    """Largest relative difference between the network at the corners of sampled faces and the affine map at a point
    inside, over faces large enough that the point is inside for certain.

    Relative to the largest output on the face. Where the network is (nearly) zero there, rounding has the size of what
    it is nearly zero beside: no less than 1e-3 of the largest output of the slice and 1e-6 of the largest gate.
    """
    scale = measures.area.max(initial=0.0)
    size = 2 * measures.area / np.maximum(measures.perimeter, np.finfo(float).tiny)
    good = np.flatnonzero(size > 1e-7 * np.sqrt(max(scale, np.finfo(float).tiny)))
    if not len(good):
        return 0.0, 0
    faces = generator.choice(good, min(max_faces, len(good)), replace=False)
    with torch.no_grad():
        points = torch.from_numpy(plane.lift(measures.interior[faces])).split(1)
        largest = max((float(g.abs().max()) for p in points for g in program.gates_by_site(p)), default=0.0)
    least = max(1e-3 * float(np.abs(outputs).max()), 1e-6 * largest, 1e-300)
    worst = 0.0
    for face in faces:
        around = slice(measures.start[face], measures.start[face + 1])
        centre, corners = measures.interior[face], cells.position[cells.origin[measures.order[around]]]
        if program.jumps:
            corners = corners + _INSIDE * (centre - corners)
        value, jacobian = in_plane_map(program, plane, centre)  # two tangents, whatever the number of outputs
        expected = value + (corners - centre) @ jacobian.T
        inputs = torch.from_numpy(plane.lift(corners)).split(4)
        with torch.no_grad():
            actual = np.concatenate([program.outputs(program.to_site(x, len(program.sites))).numpy() for x in inputs])
        stored = outputs[measures.rows[around]]
        if program.jumps:
            stored = stored + _INSIDE * (value - stored)
        size = max(np.abs(actual).max(), least)
        worst = max(worst, *(float(np.abs(v - expected).max() / size) for v in (actual, stored)))
    return worst, len(faces)


def in_plane_map(program: StagedProgram, plane: Plane, point: Floats) -> tuple[Floats, Floats]:
    """(outputs (C,), Jacobian (C, 2)) at a plane point. Cost: two forward-mode passes."""
    inputs = torch.from_numpy(plane.lift(np.repeat(np.asarray(point)[None], 2, axis=0)))
    along = torch.from_numpy(plane.directions.reshape(inputs.shape).copy())
    value, slope, *_ = torch.func.jvp(
        lambda x: program.outputs(program.to_site(x, len(program.sites))), (inputs,), (along,)
    )
    return value[0].detach().numpy(), slope.detach().numpy().T


def input_map(program: StagedProgram, inputs: Floats) -> tuple[Floats, Floats]:
    """(outputs (C,), Jacobian (C, D)) of the graph at one input (1, *shape), by C backward passes."""
    x = torch.from_numpy(inputs).requires_grad_(True)
    with torch.enable_grad():
        outputs = program.outputs(program.to_site(x, len(program.sites)))[0]
        rows = [torch.autograd.grad(o, x, retain_graph=True, allow_unused=True)[0] for o in outputs]
    filled = [torch.zeros_like(x) if r is None else r for r in rows]
    return outputs.detach().numpy(), torch.stack(filled).reshape(len(filled), -1).numpy()
