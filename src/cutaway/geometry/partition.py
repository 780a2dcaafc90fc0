"""`Slice`: a planar polygon cut by a network, and what can be asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from cutaway import _late
from cutaway.arrangement.faces import FaceMeasures, slopes
from cutaway.arrangement.subdivision import COMBINED, Subdivision
from cutaway.arrays import Floats, Ints
from cutaway.errors import ModelError
from cutaway.geometry.checks import SelfCheck, input_map
from cutaway.geometry.cutting import CutReport
from cutaway.geometry.decision import ClassPieces, DecisionBoundary, as_logits, class_pieces
from cutaway.geometry.plane import Plane
from cutaway.geometry.program import KinkSite, StagedProgram
from cutaway.status import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def polygon_area(polygon: Floats) -> float:
    """Signed area of a polygon (m, 2)."""
    x, y = (polygon - polygon[0]).T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Slice:
    """The partition of a plane polygon by a network.

    `cells`: half-edge arrays; `measures`: per face; `relative` (R, C): the outputs at the corners less `offset` (C,),
    which the last layer adds: one row a vertex, more where the network jumps (`measures.rows` finds them); a face is
    inside one activation region of every site. `status`: exact where every sign was decided and the self-check passed,
    else estimate (`caveats` says why); estimate for a sign partition (`kind`), whose classes were traced on its mesh
    (`mesh_classes`). `check` None: not made. `shrunk`: the share of the width of the square that holds the plane's
    anchors, where it had to be made smaller for its regions to fit. Seconds: from tracing the model to the end of the
    self-check.
    """

    kind: str
    plane: Plane
    domain: Floats
    cells: Subdivision
    measures: FaceMeasures
    relative: Floats
    offset: Floats
    sites: tuple[KinkSite, ...]
    decision: DecisionBoundary
    report: CutReport
    check: SelfCheck | None
    cpu_seconds: float
    wall_seconds: float
    program: StagedProgram = field(repr=False)
    shrunk: float = 1.0
    mesh_classes: tuple[Ints, ClassPieces] | None = field(default=None, repr=False)

    def draw(self, axes: Axes | None = None, **settings: Any) -> Axes:
        """Draw onto matplotlib `axes` (new ones if none are given) and return them; `colour`, `title` and
        `class_names` as in `cutaway.report.explorer.picture.draw_slice`."""
        return _late.attached("Slice.draw")(self, axes, **settings)

    def __repr__(self) -> str:
        return f"Slice({self.num_faces:,} {self.kind_of_faces}, {len(self.sites)} sites, {self.status.value})"

    @property
    def caveats(self) -> tuple[str, ...]:
        """Why the slice is not exact; empty where it is."""
        found = []
        if not self.affine:
            found.append("the signs of the gates were taken as linear on a mesh")
        if self.report.snapped:
            found.append(f"{self.report.snapped:,} signs lay within rounding and were taken for zero")
        if self.affine and self.check is None:
            found.append("the self-check was not made")
        return tuple(found)

    @property
    def status(self) -> Status:
        return Status.ESTIMATE if self.caveats else Status.EXACT

    @property
    def outputs(self) -> Floats:
        """(R, C): the network at the vertices, from each side where it jumps."""
        return self.relative + self.offset

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
        total = np.add.reduceat(self.outputs[self.measures.rows], self.measures.start[:-1], axis=0)
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
                wanted,
                found=self.kind,
                expected="affine regions",
                remedy="the network is not affine on these faces: take another colouring, such as class or area",
            )

    @property
    def slopes(self) -> Floats:
        """(F, C, 2): gradients of the outputs along the plane. Raises ModelError for a sign partition."""
        self._require_affine("slopes of the faces")
        return slopes(self.cells, self.measures, self.relative)

    def patterns(self, faces: ArrayLike | None = None, *, batch_size: int = 1024) -> NDArray[np.bool_]:
        """(n, gates): sign of every gate (> 0) at the interior points of the given faces (all by default)."""
        points = self.measures.interior if faces is None else self.measures.interior[np.asarray(faces)]
        parts = []
        batch_size = max(1, min(batch_size, (1 << 25) // max(self.program.num_gates, 1)))
        with torch.no_grad():
            for begin in range(0, len(points), batch_size):
                inputs = torch.from_numpy(self.plane.lift(points[begin : begin + batch_size]))
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

    def summary(self) -> dict[str, float | int | str | None]:
        """The figures of the slice, as promised by `cutaway slice --json`."""
        return {
            "kind": self.kind,
            "num_faces": self.num_faces,
            "num_edges": self.num_edges,
            "num_vertices": self.num_vertices,
            "area": float(self.measures.area.sum()),
            "domain_area": polygon_area(self.domain),
            "euler": self.euler,
            "median_residual": self.check.median_residual if self.check else None,
            "max_residual": self.check.max_residual if self.check else None,
            "num_boundary_segments": len(self.decision.segments),
            "cpu_seconds": self.cpu_seconds,
            "wall_seconds": self.wall_seconds,
        }
