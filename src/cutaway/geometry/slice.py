"""Exact two-dimensional slices of piecewise-affine networks.

`slice_network(model, plane=..., domain=...)` gives the planar subdivision of the domain into the regions on which the
network is affine: vertices, edges tagged with the neuron that made them, faces with area, perimeter, class, neighbours,
activation pattern and affine map on demand, and the exact decision boundary. All in float64.

    plane = plane_through(three_inputs)
    result = slice_network(model, plane, square_around(plane, pad))
    result.num_faces, result.decision.segments, result.affine_map(0)

Source: SplineCam (arXiv 2302.12828) asks the question; the method differs throughout (see `cutting`): any convex
domain, residual and pooling networks, layers without bias, degenerate arrangements, double precision, dominant class
pairs only. Degenerate cases: several lines through a point meet in one vertex; a duplicated neuron's line is one edge
(`coincident` lists the further neurons); a line through a corner or along an edge adds nothing that is not there; a
neuron that is zero on a whole face bounds nothing there. Signs within rounding are decided in exact rational arithmetic
where the network is small enough for it, and otherwise taken for zero and counted (`report.snapped`).
"""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from cutaway.errors import BudgetError, InputError, ModelError
from cutaway.geometry.arrangement.subdivision import COMBINED, Subdivision
from cutaway.geometry.checks import SelfCheck, input_map, self_check
from cutaway.geometry.coordinates import PlaneCoordinates
from cutaway.geometry.cutting import CutReport, CutSettings, Cutter
from cutaway.geometry.decision import ClassPieces, DecisionBoundary, as_logits, class_pieces, decision_boundary
from cutaway.geometry.exact import ExactSigns
from cutaway.geometry.faces import FaceMeasures, measure_faces, slopes
from cutaway.geometry.plane import Plane, check_domain, input_plane, square_around
from cutaway.geometry.preview import estimated_regions
from cutaway.geometry.program import Site, StagedProgram
from cutaway.network.graph import Graph, trace
from cutaway.network.refusals import refuse_training_mode, refuse_unreadable
from cutaway.network.weights import check_finite
from cutaway.status import Status

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceSettings:
    """`max_faces` and `budget` (bytes) bound the work; `check` runs the self-check and raises ClaimError when it fails;
    `exact` decides doubtful signs by rational arithmetic up to `exact_operations` a question; `compiled` as in
    `insert_gates`; `coordinates` as in `CutSettings`."""

    max_faces: int = 5_000_000
    budget: int = 3 << 30
    check: bool = True
    exact: bool = True
    exact_operations: int = 2_000_000
    compiled: bool | None = None
    coordinates: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slice:
    """The partition of a plane polygon by a network.

    `cells`: half-edge arrays; `measures`: per face; `outputs` (V, C) at the vertices; `site_of_face` none: a face is
    inside one activation region of every site. `status`: exact for piecewise-affine networks, estimate for a sign
    partition (`kind` says which), whose classes were traced on its mesh (`mesh_classes`).
    """

    kind: str
    status: Status
    plane: Plane
    domain: Floats
    cells: Subdivision
    measures: FaceMeasures
    outputs: Floats
    sites: tuple[Site, ...]
    decision: DecisionBoundary
    report: CutReport
    check: SelfCheck | None
    cpu_seconds: float
    wall_seconds: float
    program: StagedProgram = field(repr=False)
    mesh_classes: tuple[Ints, ClassPieces] | None = field(default=None, repr=False)

    @property
    def num_faces(self) -> int:
        return self.cells.num_faces

    @property
    def kind_of_faces(self) -> str:
        """`kind`, in the singular for one face."""
        return self.kind.replace("regions", "region") if self.num_faces == 1 else self.kind

    @property
    def num_edges(self) -> int:
        return self.cells.num_edges

    @property
    def num_vertices(self) -> int:
        return self.cells.num_vertices

    @property
    def vertices(self) -> Floats:
        """(V, 2) in plane coordinates."""
        return self.cells.position

    @property
    def euler(self) -> int:
        """V - E + F over the inner faces: 1."""
        return self.num_vertices - self.num_edges + self.num_faces

    @property
    def edges(self) -> Ints:
        """(E, 2) vertex pairs, in the order of `edge_half_edges`."""
        half = self.edge_half_edges
        return np.stack([self.cells.origin[half], self.cells.origin[self.cells.twin[half]]], axis=1).astype(np.int64)

    @property
    def edge_half_edges(self) -> Ints:
        """(E,): of each pair of twins the smaller number."""
        half = np.arange(self.cells.num_half_edges)
        return half[half < self.cells.twin]

    @property
    def edge_gates(self) -> Ints:
        """(E,): gate number that made each edge, negative on the domain's sides."""
        return self.cells.makers[self.edge_half_edges].astype(np.int64)

    @property
    def edge_sites(self) -> Ints:
        """(E,): index into `sites`, -1 on the domain's sides."""
        bounds = np.array([s.first for s in self.sites])
        gates = self.edge_gates
        return np.where(gates >= 0, np.searchsorted(bounds, gates, side="right") - 1, -1)

    @property
    def coincident(self) -> dict[int, tuple[int, ...]]:
        """Edges (number) along which further gates vanish, with these gates."""
        tags = self.cells.tag[self.edge_half_edges]
        return {int(e): self.cells.tags_of(int(tags[e]))[1:] for e in np.flatnonzero(tags >= COMBINED)}

    def neuron(self, gate: int) -> tuple[str, int, tuple[int, ...], int]:
        """(site, channel, position, part) of a gate number."""
        site = self.sites[self.program.site_of(gate)]
        return (site.name, *site.place(gate))

    def corners(self, face: int) -> Ints:
        """Vertices of a face, counter-clockwise."""
        start = self.measures.start
        half = self.measures.order[start[face] : start[face + 1]]
        return self.cells.origin[half].astype(np.int64)

    def neighbours(self, face: int) -> tuple[int, ...]:
        """Faces across the edges of a face, in order around it; -1 outside the domain."""
        start = self.measures.start
        half = self.measures.order[start[face] : start[face + 1]]
        return tuple(int(f) for f in self.cells.face[self.cells.twin[half]])

    @property
    def interior_outputs(self) -> Floats:
        """(F, C): the network at each face's interior point (the mean of its corners)."""
        vertex = self.cells.origin[self.measures.order]
        total = np.add.reduceat(self.outputs[vertex], self.measures.start[:-1], axis=0)
        return total / self.measures.num_sides[:, None]

    @property
    def affine(self) -> bool:
        """Whether the network is affine on every face (not so in a sign partition)."""
        return self.mesh_classes is None

    @property
    def face_classes(self) -> Ints:
        """(F,): arg-max class at each face's interior point (one output: 0 negative, 1 positive); in a sign partition
        the class that takes the most of the face."""
        if self.mesh_classes is not None:
            return self.mesh_classes[0]
        return as_logits(self.interior_outputs).argmax(axis=1)

    def class_pieces(self) -> ClassPieces:
        """What lies over the faces that hold several classes: exact, in a sign partition as fine as its mesh."""
        if self.mesh_classes is not None:
            return self.mesh_classes[1]
        return class_pieces(self.cells, self.measures, self.outputs)

    def class_areas(self) -> Floats:
        """(C,): area of the domain that each class takes, exact up to rounding; in a sign partition an estimate, the
        logits taken as linear on its mesh."""
        own, pieces = self.face_classes, self.class_pieces()
        total = np.zeros(as_logits(self.outputs[:1]).shape[1])
        np.add.at(total, own, self.measures.area)
        for polygon, c, face in zip(pieces.polygons, pieces.classes, pieces.faces):
            if c != own[face]:
                area = polygon_area(polygon)
                total[c] += area
                total[own[face]] -= area
        return total

    def _require_affine(self, wanted: str) -> None:
        if not self.affine:
            raise ModelError(
                wanted, found=self.kind, expected="affine regions",
                remedy="the network is not affine on these faces: take another colouring, such as class or area",
            )  # fmt: skip

    @property
    def slopes(self) -> Floats:
        """(F, C, 2): gradients of the outputs along the plane. Raises ModelError for a sign partition."""
        self._require_affine("slopes of the faces")
        return slopes(self.cells, self.measures, self.outputs)

    def patterns(self, faces: ArrayLike | None = None, *, chunk: int = 1024) -> NDArray[np.bool_]:
        """(n, gates): sign of every gate (> 0) at the interior points of the given faces (all by default)."""
        points = self.measures.interior if faces is None else self.measures.interior[np.asarray(faces)]
        parts = []
        chunk = max(1, min(chunk, (1 << 25) // max(self.program.num_gates, 1)))
        with torch.no_grad():
            for begin in range(0, len(points), chunk):
                inputs = torch.from_numpy(self.plane.lift(points[begin : begin + chunk]))
                parts.append(torch.cat([g > 0 for g in self.program.all_gates(inputs)], dim=1).numpy())
        return np.concatenate(parts)

    def affine_map(self, face: int) -> tuple[Floats, Floats]:
        """(A (C, D), c (C,)) with network(x) = A x + c on the face, at its interior point. Cost: C backward passes.
        Raises ModelError for a sign partition."""
        self._require_affine("affine map of a face")
        inputs = self.plane.lift(self.measures.interior[face][None])
        value, jacobian = input_map(self.program, inputs)
        return jacobian, value - jacobian @ inputs.reshape(-1)

    def locate(self, points: ArrayLike) -> Ints:
        """(n,): the face that contains each plane point, -1 outside; by brute force over bounding boxes."""
        order, start = self.measures.order, self.measures.start
        a = self.cells.position[self.cells.origin[order]]
        b = self.cells.position[self.cells.origin[self.cells.twin[order]]]
        found = []
        for x, y in np.asarray(points, dtype=np.float64).reshape(-1, 2):
            left = (b[:, 0] - a[:, 0]) * (y - a[:, 1]) - (b[:, 1] - a[:, 1]) * (x - a[:, 0])
            if self.affine:
                inside = np.flatnonzero(np.minimum.reduceat(left, start[:-1]) >= 0)
            else:  # faces that need not be convex: the sides that a ray from the point to the right crosses
                up = b[:, 1] > a[:, 1]
                crossed = ((a[:, 1] > y) != (b[:, 1] > y)) & ((left > 0) == up)
                inside = np.flatnonzero(np.add.reduceat(crossed.astype(int), start[:-1]) % 2)
            found.append(int(inside[0]) if len(inside) else -1)
        return np.array(found)

    def summary(self) -> dict[str, float | int | str]:
        """The figures of the slice, as promised by `cutaway slice --json`."""
        return {
            "kind": self.kind,
            "num_faces": self.num_faces,
            "num_edges": self.num_edges,
            "num_vertices": self.num_vertices,
            "area": float(self.measures.area.sum()),
            "domain_area": polygon_area(self.domain),
            "euler": self.euler,
            "median_residual": self.check.median_residual if self.check else float("nan"),
            "max_residual": self.check.max_residual if self.check else float("nan"),
            "num_boundary_segments": len(self.decision.segments),
            "cpu_seconds": self.cpu_seconds,
            "wall_seconds": self.wall_seconds,
        }


def slice_network(
    model: nn.Module | Graph,
    plane: Plane | None = None,
    domain: ArrayLike | None = None,
    settings: SliceSettings | None = None,
) -> Slice:
    """Cut the polygon `domain` (m, 2), strictly convex and counter-clockwise in `plane`, by the network.

    Exact (float64; signs within rounding by rational arithmetic). `plane` None: all of a two-dimensional input space.
    `model`: a module in evaluation mode, or its `Graph`. Cost: one float64 forward pass of every vertex (of every
    crossing neuron in wide convolutional networks, see `coordinates`) and about a microsecond a region and crossing
    neuron. Memory: vertices times live values (coordinates), within `settings.budget`.

    Raises `InputError` for a bad domain or a plane of another input shape, `NotPiecewiseAffine` naming the operator,
    `BudgetError` saying how many regions were found, how many there are about and which domain would fit, `ClaimError`
    when the self-check fails.
    """
    settings = settings or SliceSettings()
    plane = plane or input_plane()
    if domain is None:
        raise InputError("domain of the slice", found="none", expected="a convex polygon (m, 2), see square_around()")
    polygon = check_domain(domain)
    graph = model if isinstance(model, Graph) else trace_for(model, plane)
    program = StagedProgram(graph)
    _fits(program, plane)
    wall, cpu = time.perf_counter(), time.process_time()
    exact = ExactSigns(program, plane, polygon, settings.exact_operations) if settings.exact else None
    cut = CutSettings(
        budget=settings.budget, max_faces=settings.max_faces, compiled=settings.compiled,
        coordinates=settings.coordinates,
    )  # fmt: skip
    cutter = Cutter(program, plane, polygon, cut, decide=exact)
    try:
        outputs = cutter.run()
    except BudgetError as error:
        raise _how_to_go_on(error, cutter, plane, polygon) from error
    measures = measure_faces(cutter.cells)
    decision = decision_boundary(cutter.cells, measures, outputs)
    cpu_cut, wall_cut = time.process_time() - cpu, time.perf_counter() - wall
    check = self_check(program, plane, polygon, cutter.cells, measures, outputs) if settings.check else None
    if check is not None:
        check.require()
    return Slice(
        kind="affine regions", status=Status.EXACT, plane=plane, domain=polygon, cells=cutter.cells, measures=measures,
        outputs=outputs, sites=program.sites, decision=decision, report=cutter.report, check=check, program=program,
        cpu_seconds=cpu_cut, wall_seconds=wall_cut,
    )  # fmt: skip


def trace_for(model: nn.Module, plane: Plane) -> Graph:
    """The model's graph at the plane's input shape; an InputError where a plain pass refuses such inputs, a ModelError
    for weights that are not finite, training mode, or a forward that cannot be exported."""
    refuse_unreadable(model)
    refuse_training_mode(model)
    check_finite(model, type(model).__name__)
    example = torch.zeros(1, *plane.input_shape)
    first = next((p for p in model.parameters() if p.is_floating_point()), example)
    try:
        with torch.no_grad():
            model(example.to(first))
    except Exception as error:  # whatever the user's forward raises
        words = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            "the plane of the slice",
            found=f"inputs of shape {tuple(plane.input_shape)}, which the network refuses: {words}",
            expected="the shape of the network's input",
            remedy="make the plane from inputs of the network, as --through does (--domain alone is for networks of "
            "two inputs)",
        ) from error
    with _torch_quiet():
        return trace(model, example)


@contextmanager
def _torch_quiet() -> Iterator[None]:
    """Keep a failed export from printing its graph: the error says what is the matter. What else is printed stays."""
    told, logger = io.StringIO(), logging.getLogger("torch.fx.experimental.symbolic_shapes")
    before, logger.disabled = logger.disabled, True
    try:
        with redirect_stderr(told):
            yield
        sys.stderr.write(told.getvalue())
    finally:
        logger.disabled = before


def _how_to_go_on(error: BudgetError, cutter: Cutter, plane: Plane, polygon: Floats) -> BudgetError:
    """The error with an estimate of what the domain holds and of the domain that would fit (n regions have about 2.3
    sqrt(n) coordinates)."""
    fits = (cutter.settings.budget / 40) ** (2 / 3) if isinstance(cutter.state, PlaneCoordinates) else np.inf
    enough = max(int(min(cutter.settings.max_faces / 2, fits)), 1)
    preview = estimated_regions(cutter.program, plane, polygon)
    factor = preview.shrink(enough)
    half = np.abs(polygon).max()
    centred = len(polygon) == 4 and np.allclose(polygon, square_around(plane, half))
    advice = f"--pad {half * factor:.2g}" if centred else f"its width times {factor:.2g}"
    return BudgetError(
        error.offender, found=error.found, expected=error.expected,
        remedy=f"about {preview.regions:.2g} regions lie in this domain; a smaller one ({advice}) holds about "
        f"{enough:,}; else {error.remedy}",
    )  # fmt: skip


def polygon_area(polygon: Floats) -> float:
    """Signed area of a polygon (m, 2)."""
    x, y = (polygon - polygon[0]).T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def _fits(program: StagedProgram, plane: Plane) -> None:
    shape = tuple(program.input.shape)
    wanted = shape[1:] if program.graph.batched else shape
    if tuple(plane.input_shape) != tuple(wanted):
        raise InputError(
            "the plane of the slice", found=f"inputs of shape {tuple(plane.input_shape)}",
            expected=f"{tuple(wanted)}, the shape of the network's input",
            remedy="make the plane from inputs of the network",
        )  # fmt: skip
