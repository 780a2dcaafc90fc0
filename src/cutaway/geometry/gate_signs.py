"""The sign partition of the gates of a network that need not be piecewise affine: an estimate on a mesh.

Behind a GELU, a SiLU or attention, pre-activations bend everywhere and their zero sets on a plane are curves, so there
are no affine regions. What can be drawn is where the gates change sign: every gate is evaluated at the vertices of a
triangle mesh and taken as linear on each triangle, the mesh is cut by these lines, and its own edges are taken out
again. Every face then carries one sign code, and curves are polygons of the mesh's resolution (sets smaller than a
triangle are lost).
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import nn

from cutaway.arrangement import Subdivision, insert_gates, remove_edges
from cutaway.arrangement.faces import FaceMeasures, measure_faces
from cutaway.arrangement.subdivision import MESH_EDGE
from cutaway.arrays import Floats
from cutaway.errors import ClaimError, InputError, ModelError
from cutaway.geometry.cutting import CutReport
from cutaway.geometry.decision import ClassPieces, as_logits, class_pieces, decision_boundary
from cutaway.geometry.framing import square_holding
from cutaway.geometry.partition import Slice, polygon_area
from cutaway.geometry.plane import Plane, check_domain, input_plane
from cutaway.geometry.program import KinkSite, refuse_overflow
from cutaway.geometry.slice import SliceSettings
from cutaway.geometry.tracing import trace_for
from cutaway.geometry.vocabulary import AFFINE, GATES, KINKS, gated_nodes
from cutaway.network.graph import Graph, evaluate_graph
from cutaway.network.graph.operators import OPERATORS


class GatedProgram:
    """The gates of any graph: inputs of ReLU-like and smooth gated nonlinearities, without a claim of affinity."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.input = graph, graph.input
        found, first = [], 0
        for node in gated_nodes(graph):
            read = graph.nodes[node.inputs[0]].shape
            shape = tuple(read[1:]) if len(read) > 1 and read[0] == 1 else tuple(read)
            name = (node.module or node.name) + (f"#{node.call}" if node.call else "")
            found.append(KinkSite(name=name, kind=node.op, node=node.index, first=first, parts=1, shape=shape))
            first += found[-1].num_gates
        if not found:
            raise ModelError(
                "sign partition",
                found="no gated nonlinearity",
                expected="one of " + ", ".join(sorted(GATES)),
                remedy=_without_gates(graph),
            )
        self.sites, self.num_gates = tuple(found), first

    def all_gates(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        reads = {self.graph.nodes[s.node].inputs[0] for s in self.sites}
        values = evaluate_graph(self.graph, inputs, keep=lambda n: n.index in reads)
        return [values[self.graph.nodes[s.node].inputs[0]].reshape(len(inputs), -1) for s in self.sites]

    def site_of(self, gate: int) -> int:
        return int(np.searchsorted([s.first for s in self.sites], gate, side="right")) - 1

    def gates_and_outputs(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        reads = {self.graph.nodes[s.node].inputs[0] for s in self.sites} | {self.graph.output.index}
        values = evaluate_graph(self.graph, inputs, keep=lambda n: n.index in reads)
        gates = [values[self.graph.nodes[s.node].inputs[0]].reshape(len(inputs), -1) for s in self.sites]
        return torch.cat(gates, dim=1), values[self.graph.output.index].reshape(len(inputs), -1)


def _without_gates(graph: Graph) -> str:
    if all(node.op in AFFINE for node in graph.nodes):
        return "the network is affine: one region"
    if all(node.op in AFFINE | KINKS for node in graph.nodes):
        return "the network is piecewise affine: its exact slice needs no gates (slice_network, or without --gates)"
    unknown = [node.op for node in graph.nodes if node.op not in OPERATORS and node.op != "input"]
    if unknown:
        return f"operator {unknown[0]!r} is not supported, and no other bends at the zero of a gate"
    return "the network is curved and has no gates: neither affine regions nor signs can be drawn"


def sign_partition(
    model: nn.Module | Graph,
    plane: Plane | None = None,
    domain: ArrayLike | None = None,
    settings: SliceSettings | None = None,
    *,
    resolution: int = 64,
) -> Slice:
    """Sign partition of all gates on a mesh of about 2 `resolution`^2 triangles over the domain. Status: estimate.

    Returns the same `Slice` with kind "sign regions of the gates"; its faces are no affine regions and need not be
    convex. Outputs are taken as linear on the triangles, cut by the gates: so are the decision boundary, `class_pieces`
    and `class_areas`. `measures.interior` is the middle of each face's largest cut triangle. Cost: one forward pass of
    (resolution + 1)^2 inputs, memory of all their gates.
    Raises `InputError` without a domain and for a resolution below 2, `ClaimError` where the faces' areas do not add
    up. Source: ours, described in the file's first lines.
    """
    settings, plane = settings or SliceSettings(), plane or input_plane()
    if domain is None and len(plane.anchors):
        domain = square_holding(plane)
    if domain is None:
        raise InputError(
            "domain of the sign partition",
            found="none",
            expected="a convex polygon (m, 2)",
            remedy="give one, for instance square_around(plane, 1.0)",
        )
    polygon = check_domain(domain)
    wall, cpu = time.perf_counter(), time.process_time()
    graph = model if isinstance(model, Graph) else trace_for(model, plane)
    program = GatedProgram(graph)
    points, triangles = _mesh(polygon, resolution)
    cells = Subdivision.triangulated(polygon, points, triangles)
    gates, outputs = _evaluate(program, plane, points, settings.budget)
    refuse_overflow(gates, "the gates")
    refuse_overflow(outputs, "the outputs")
    changing = np.flatnonzero((gates.min(axis=0) < 0) & (gates.max(axis=0) > 0))
    report = CutReport(crossing=[len(changing)], forward_rows=len(points))
    for begin in range(0, len(changing), 256):
        some = changing[begin : begin + 256]
        block = np.ascontiguousarray(gates[:, some])
        tolerance = 32 * np.finfo(float).eps * np.abs(block).max(axis=0)
        done = insert_gates(
            cells, block, some.astype(np.int32), tolerance, max_faces=settings.max_faces, compiled=settings.compiled
        )
        joint = done.extend_rows(np.concatenate([gates[:, changing], outputs], axis=1))
        gates = np.zeros((len(joint), gates.shape[1])) if begin + 256 < len(changing) else gates[:0]
        if len(gates):
            gates[:, changing] = joint[:, : len(changing)]
        outputs = joint[:, len(changing) :]
        report.snapped += done.snapped
    fine = measure_faces(cells)  # what is linear on triangles is traced before they are joined
    decision = decision_boundary(cells, fine, outputs)
    pieces = _all_pieces(cells, fine, outputs)
    joined = _joined(cells)
    old_vertices, old_faces = remove_edges(cells, cells.tag == MESH_EDGE)
    outputs = outputs[old_vertices]
    report.faces_after = [cells.num_faces]
    measures = measure_faces(cells)
    face_of = np.zeros(joined.max() + 1, dtype=np.int64)
    upright = np.argsort(measures.area)  # about a hole runs a second cycle, of negative area: the face is the first
    face_of[joined[old_faces[upright]]] = upright
    face_of = face_of[joined]
    by_size = np.argsort(fine.area)
    largest = np.zeros(cells.num_faces, dtype=np.int64)
    largest[face_of[by_size]] = by_size
    measures = replace(measures, interior=fine.interior[largest])
    decision = replace(decision, faces=face_of[decision.faces])
    mesh_classes = _over_faces(replace(pieces, faces=face_of[pieces.faces]), cells.num_faces)
    total = polygon_area(polygon)
    if not abs(float(measures.area.sum()) - total) <= 1e-9 * total:
        raise ClaimError(
            "sign partition",
            found=f"areas that add up to {measures.area.sum():.12g}",
            expected=f"{total:.12g}",
            remedy="this is a defect of the partition: please report it with the model",
        )
    return Slice(
        kind="sign regions of the gates",
        plane=plane,
        domain=polygon,
        cells=cells,
        measures=measures,
        relative=outputs,
        offset=np.zeros(outputs.shape[1]),
        sites=program.sites,
        decision=decision,
        report=report,
        check=None,
        program=program,  # pyright: ignore[reportArgumentType]  # has what a slice asks of it
        cpu_seconds=time.process_time() - cpu,
        wall_seconds=time.perf_counter() - wall,
        mesh_classes=mesh_classes,
    )


def _all_pieces(cells: Subdivision, measures: FaceMeasures, outputs: Floats) -> ClassPieces:
    """Every face of the mesh as a piece: whole where it holds one class, cut up where it holds several."""
    mixed = class_pieces(cells, measures, outputs)
    whole = np.setdiff1d(np.arange(cells.num_faces), mixed.faces)
    best = as_logits(outputs).argmax(axis=1)
    corners = [cells.origin[measures.order[measures.start[f] : measures.start[f + 1]]] for f in whole]
    return ClassPieces(
        polygons=mixed.polygons + [cells.position[c] for c in corners],
        classes=np.concatenate([mixed.classes, [best[c[0]] for c in corners]]).astype(np.int64),
        faces=np.concatenate([mixed.faces, whole]).astype(np.int64),
    )


def _joined(cells: Subdivision) -> NDArray[np.int64]:
    """(faces,): one number for all faces of the mesh that only its own edges separate."""
    used = slice(0, cells.num_half_edges)
    half = np.flatnonzero((cells.tag[used] == MESH_EDGE) & (cells.face[used] >= 0))
    half = half[cells.face[cells.twin[half]] >= 0]
    pairs = (np.ones(len(half)), (cells.face[half], cells.face[cells.twin[half]]))
    count = cells.num_faces
    return connected_components(coo_matrix(pairs, shape=(count, count)), directed=False)[1].astype(np.int64)


def _over_faces(pieces: ClassPieces, num_faces: int) -> tuple[NDArray[np.int64], ClassPieces]:
    """The class that takes the most of each face, and the pieces of the others."""
    share = np.zeros((num_faces, int(pieces.classes.max()) + 1))
    np.add.at(share, (pieces.faces, pieces.classes), [polygon_area(p) for p in pieces.polygons])
    own = share.argmax(axis=1)
    other = np.flatnonzero(pieces.classes != own[pieces.faces])
    return own, ClassPieces(
        polygons=[pieces.polygons[k] for k in other], classes=pieces.classes[other], faces=pieces.faces[other]
    )


def _mesh(polygon: Floats, resolution: int) -> tuple[Floats, NDArray[np.int32]]:
    """Each corner's triangle with the centre of the polygon, subdivided regularly."""
    if resolution < 2:
        raise InputError(
            "resolution of the mesh",
            found=str(resolution),
            expected="at least 2",
            remedy="give a whole number of at least 2",
        )
    centre = polygon.mean(axis=0)
    steps = max(2, int(np.ceil(2 * resolution / np.sqrt(2 * len(polygon)))))
    index: dict[tuple[int, ...], int] = {}
    points: list[Floats] = []

    def vertex(sector: int, i: int, j: int) -> int:
        m = len(polygon)
        if i + j == 0:
            key: tuple[int, ...] = (-1,)
        elif j == 0:
            key = (sector, i)
        elif i == 0:
            key = ((sector + 1) % m, j)
        else:
            key = (sector, i, j)
        if key not in index:
            index[key] = len(points)
            a, b = polygon[sector] - centre, polygon[(sector + 1) % m] - centre
            points.append(centre + (i * a + j * b) / steps)
        return index[key]

    triangles = []
    for sector in range(len(polygon)):
        for i in range(steps):
            for j in range(steps - i):
                triangles.append([vertex(sector, i, j), vertex(sector, i + 1, j), vertex(sector, i, j + 1)])
                if i + j < steps - 1:
                    corners = ((i + 1, j), (i + 1, j + 1), (i, j + 1))
                    triangles.append([vertex(sector, *c) for c in corners])
    return np.array(points), np.array(triangles, dtype=np.int32)


def _evaluate(program: GatedProgram, plane: Plane, points: Floats, budget: int) -> tuple[Floats, Floats]:
    chunk = int(max(1, min(len(points), budget // (64 * max(program.num_gates, 1)))))
    gates, outputs = [], []
    with torch.no_grad():
        for begin in range(0, len(points), chunk):
            g, o = program.gates_and_outputs(torch.from_numpy(plane.lift(points[begin : begin + chunk])))
            gates.append(g.numpy())
            outputs.append(o.numpy())
    return np.concatenate(gates), np.concatenate(outputs)


__all__ = ["GATES", "KINKS", "GatedProgram", "sign_partition"]
