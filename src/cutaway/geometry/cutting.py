"""Cut a plane polygon by every gate of a network, site by site: the engine under `slice_network`.

The state is the network's values at the subdivision's vertices. They are linear on every face, so a new vertex on an
edge gets its values from the edge's two ends, and only then does the next layer run: no affine map of any face, no
matrix of any convolution, all in float64. A value known to be zero (the vertex lies on that neuron's line) stays
exactly zero through this, which is why central arrangements need no luck. The state comes in two forms that give the
same subdivision: `VertexValues` sends every vertex through the layers, `PlaneCoordinates` one row for every neuron that
bends in the domain, which is far cheaper for convolutional networks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway.arrangement import Subdivision, close_cracks, insert_gates, remove_edges
from cutaway.arrangement.insertion import Decide
from cutaway.arrangement.subdivision import COMBINED
from cutaway.arrays import Floats
from cutaway.engines.budget import format_bytes
from cutaway.errors import BudgetError
from cutaway.geometry.coordinates import PlaneCoordinates
from cutaway.geometry.plane import Plane
from cutaway.geometry.program import KinkSite, StagedProgram, refuse_overflow
from cutaway.geometry.vertex_values import BLOCK, VertexValues

_FACE_BYTES = 600
"""What one face takes without its values: half-edges, their copy when they grow, its measures."""
_WIDE = 1000  # values of a layer from which on coordinates are the cheaper state of a convolutional network


@dataclass(frozen=True, slots=True, kw_only=True)
class CutSettings:
    """`budget`: bytes beside the program's weights; `max_faces`: BudgetError beyond; `compiled`: None takes numba when
    installed; `coordinates`: which state to keep at the vertices (None: coordinates for convolutional networks with a
    layer of over a thousand values; never for networks that jump). Coordinates cannot be dropped and computed again:
    BudgetError when they outgrow the budget."""

    budget: int = 3 << 30
    max_faces: int = 5_000_000
    compiled: bool | None = None
    coordinates: bool | None = None


@dataclass(slots=True, kw_only=True)
class CutReport:
    """What happened on the way: faces after each site, crossing gates of each site, doubtful signs by their fate."""

    faces_after: list[int] = field(default_factory=list)
    crossing: list[int] = field(default_factory=list)
    decided: int = 0
    snapped: int = 0
    odd: int = 0
    recomputed: int = 0
    forward_rows: int = 0


class Cutter:
    """Runs the stages of `program` over `cells`, whose vertices live in `plane`."""

    def __init__(
        self, program: StagedProgram, plane: Plane, polygon: Floats, settings: CutSettings, decide: Decide | None = None
    ) -> None:
        self.program, self.plane, self.settings, self.decide = program, plane, settings, decide
        self.cells = Subdivision(polygon)
        self.report = CutReport()
        wide = False if program.jumps else settings.coordinates
        if wide is None:
            nodes = program.graph.nodes
            wide = any(n.op == "convolution" for n in nodes) and max(n.numel for n in nodes) > _WIDE
        bare, self.offset = program.without_offset()
        self.state: VertexValues | PlaneCoordinates = (PlaneCoordinates if wide else VertexValues)(
            bare, plane, self.cells, settings.budget
        )
        self.row_bytes = _FACE_BYTES + 8 * 4 * self.offset.numel()
        self.polygon = polygon

    @cached_property
    def noise(self) -> Floats:
        """As `rounding_noise`; made when the first gate is inserted, since a cut that cannot fit ends before."""
        return rounding_noise(self.program, self.plane, self.polygon)

    def run(self) -> tuple[Floats, NDArray[np.int64]]:
        """Cut by all sites; returns the network's outputs (R, C), less `offset` (C,), and the row (H,) that each
        half-edge's face has at its origin: the origin itself, unless the network jumps."""
        with torch.no_grad():
            for index in range(len(self.program.sites)):
                try:
                    self._cut_site(index)
                except BudgetError as error:
                    self._explain(error, index)
            outputs = self.state.outputs()
            refuse_overflow(outputs, "the outputs")
            self.report.recomputed += self.state.recomputed
            self.report.forward_rows += self.state.forward_rows
            if not self.cells.cracks:
                return outputs, self.cells.origin.astype(np.int64)
            rows, parent, weight = close_cracks(self.cells)
            mixed = weight[:, :1] * outputs[parent[:, 0]] + weight[:, 1:] * outputs[parent[:, 1]]
            return np.concatenate([outputs, mixed]), rows

    def _cut_site(self, index: int) -> None:
        site = self.program.sites[index]
        crossing: set[int] = set()
        for part in range(site.parts):
            columns, gates, changing, error = self.state.gates(index, part)
            crossing.update(changing)
            self._insert(index, part, columns, gates, error)
        if site.window is not None and site.parts > 1:
            self._drop_beaten(index)
        self.state.close(index)
        self.report.crossing.append(len(crossing))
        self.report.faces_after.append(self.cells.num_faces)

    def _explain(self, error: BudgetError, index: int) -> None:
        raise type(error)(
            f"slice of {len(self.program.sites)} sites, at site {self.program.sites[index].name!r}",
            found=error.found + f" ({self.cells.num_faces} before this site)",
            expected=error.expected,
            remedy=error.remedy,
        ) from error

    def _insert(self, index: int, part: int, columns: NDArray[np.int64], gates: Floats, error: Floats) -> None:
        site = self.program.sites[index]
        first = site.first + part * site.width
        for start in range(0, len(columns), BLOCK):
            some = columns[start : start + BLOCK]
            block = np.ascontiguousarray(gates[:, start : start + BLOCK])
            largest = np.maximum(block.max(axis=0, initial=0.0), -block.min(axis=0, initial=0.0))
            tolerance = np.maximum(self.noise[index], 16 * np.finfo(float).eps * largest)
            tolerance = np.maximum(tolerance, error[start : start + BLOCK])
            most = self._most_faces(gates.shape[1], block.shape[1], last=start + BLOCK >= len(columns))
            try:
                done = insert_gates(
                    self.cells,
                    block,
                    (first + some).astype(np.int32),
                    tolerance,
                    decide=self.decide,
                    max_faces=min(most, self.settings.max_faces),
                    compiled=self.settings.compiled,
                )
            except BudgetError as over:
                if most >= self.settings.max_faces:
                    raise
                raise BudgetError(
                    "memory budget of the slice",
                    found=f"{over.found}, with {gates.shape[1]} gates at each corner",
                    expected=f"at most {most} in {format_bytes(self.settings.budget)} beside the network",
                    remedy="raise the memory budget (--budget 12GB, budget=...)",
                ) from over
            self.report.decided += done.decided
            self.report.snapped += done.snapped
            self.report.odd += done.odd
            self.state.inserted(site, part, some, done, len(columns) == site.width and len(columns) <= BLOCK)
            if start + BLOCK < len(columns):
                gates = done.extend_rows(gates)

    def _most_faces(self, gates: int, block: int, last: bool) -> int:
        """How many faces there may be after a block of gates is inserted: each has about one corner of its own, with
        its values, twice while they grow."""
        room = self.settings.budget - self.state.bytes - 8 * (gates + block) * self.cells.num_vertices
        return max(room, 0) // (self.row_bytes + 8 * block + (0 if last else 8 * gates))

    def _drop_beaten(self, index: int) -> None:
        """Take out comparisons inside a window that a third entry wins: they bend nothing."""
        site, cells = self.program.sites[index], self.cells
        half, gate = _claims(cells, site)
        if not len(half):
            return
        part, output = np.divmod(gate - site.first, site.width)
        vertex, place = np.unique(np.stack([cells.origin[half], cells.origin[cells.twin[half]]]), return_inverse=True)
        gap = np.zeros((2, len(half)))
        for side, places in enumerate(place.reshape(2, -1)):
            gap[side] = self.state.gaps(index, vertex.astype(np.int64), places, part, output)
        beaten = gap.max(axis=0) > 64 * self.noise[index] + 1e-12 * gap.max(initial=0.0)
        drop = np.zeros(cells.num_half_edges, dtype=bool)
        _withdraw(cells, half[beaten], gate[beaten], drop)
        kept_vertices, _ = remove_edges(cells, drop)
        self.state.keep(kept_vertices)


def _claims(cells: Subdivision, site: KinkSite) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(half-edge, gate) for every gate of the site that made an edge or vanishes along it; one half-edge an edge."""
    number = np.arange(cells.num_half_edges)
    plain = np.flatnonzero(
        (cells.tag >= site.first) & (cells.tag < site.first + site.num_gates) & (number < cells.twin)
    )
    joint = np.flatnonzero((cells.tag >= COMBINED) & (number < cells.twin))
    extra = [(h, g) for h in joint for g in cells.tags_of(int(cells.tag[h])) if 0 <= g - site.first < site.num_gates]
    more = np.array(extra, dtype=np.int64).reshape(-1, 2)
    return np.concatenate([plain, more[:, 0]]), np.concatenate([cells.tag[plain].astype(np.int64), more[:, 1]])


def _withdraw(cells: Subdivision, half: NDArray[np.int64], gate: NDArray[np.int64], drop: NDArray[np.bool_]) -> None:
    """Take gates off edges; an edge that nothing claims any more is marked in `drop`."""
    plain = cells.tag[half] < COMBINED
    drop[half[plain]] = drop[cells.twin[half[plain]]] = True
    gone: dict[int, set[int]] = {}
    for h, g in zip(half[~plain].tolist(), gate[~plain].tolist()):
        gone.setdefault(h, set()).add(g)
    for h, gates in gone.items():
        left = [t for t in cells.tags_of(int(cells.tag[h])) if t not in gates]
        both = np.array([h, cells.twin[h]])
        if not left:
            drop[both] = True
            continue
        cells.tag[both] = left[0]
        for other in left[1:]:
            cells.combine(np.array([h]), other)


def rounding_noise(program: StagedProgram, plane: Plane, polygon: Floats, *, num_points: int = 12) -> Floats:
    """For every site, how far float64 gate values may be off: the error of single precision, measured at some points
    and scaled by 2**-29 (the ratio of the two units), times 64 for safety. An estimate, not a proof."""
    weights = np.random.default_rng(0).dirichlet(np.ones(len(polygon)), size=num_points)
    points = torch.from_numpy(plane.lift(np.concatenate([polygon[:8], weights @ polygon])))
    single = program.in_dtype(torch.float32)
    noise, scale = np.zeros(len(program.sites)), np.zeros(len(program.sites))
    with torch.no_grad():
        for point in points.split(1):  # one site of one point at a time: all of them are large
            jumped = False  # from there on the two are on different pieces
            for k, (a, b) in enumerate(zip(program.gates_by_site(point), single.gates_by_site(point))):
                jumped |= program.sites[k].jumps and not torch.equal(a > 0, b > 0)
                if a.numel():
                    apart = 0.0 if jumped else float((a - b.to(torch.float64)).abs().max())
                    noise[k] = np.maximum(noise[k], apart)  # NaN stays
                    scale[k] = np.maximum(scale[k], float(a.abs().max()))
    noise = np.where(np.isfinite(noise), noise * 2.0**-29, scale * 2.0**-46)
    return 64 * np.maximum(noise, scale * 2.0**-55)
