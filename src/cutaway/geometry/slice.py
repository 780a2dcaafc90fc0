"""Exact two-dimensional slices of piecewise-affine networks.

`slice_network(model, plane=..., domain=...)` gives the planar subdivision of the domain into the regions on which the
network is affine: vertices, edges tagged with the neuron that made them, faces with area, perimeter, class, neighbours,
activation pattern and affine map on demand, and the exact decision boundary. All in float64.

    plane = plane_through(three_inputs)
    result = slice_network(model, plane)  # or a domain: square_around(plane, 1.0), rectangle(-1, 1, -1, 1)
    result.num_faces, result.decision.segments, result.affine_map(0)

Source: SplineCam (arXiv 2302.12828) asks the question; the method differs throughout (see `cutting`): any convex
domain, residual and pooling networks, layers without bias, degenerate arrangements, double precision, dominant class
pairs only. Degenerate cases: several lines through a point meet in one vertex; a duplicated neuron's line is one edge
(`coincident` lists the further neurons); a line through a corner or along an edge adds nothing that is not there; a
neuron that is zero on a whole face bounds nothing there. Signs within rounding are decided in exact rational arithmetic
where the network is small enough for it, and otherwise taken for zero and counted (`report.snapped`).
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from torch import nn

from cutaway.arrangement.faces import measure_faces
from cutaway.arrays import Floats
from cutaway.engines.budget import require_room
from cutaway.errors import BudgetError, InputError
from cutaway.geometry.checks import self_check
from cutaway.geometry.coordinates import PlaneCoordinates
from cutaway.geometry.cutting import CutSettings, Cutter
from cutaway.geometry.decision import decision_boundary
from cutaway.geometry.exact import ExactSigns
from cutaway.geometry.framing import HALVINGS, largest_that_fits, square_holding
from cutaway.geometry.partition import Slice
from cutaway.geometry.plane import Plane, check_domain, input_plane, square_around
from cutaway.geometry.preview import estimated_regions
from cutaway.geometry.program import StagedProgram, refuse_overflow
from cutaway.geometry.tracing import trace_for
from cutaway.network import Network
from cutaway.network.graph import Graph
from cutaway.network.refusals import refuse_unreadable

_NETWORK, _LEAST = 1.5, 32
"""What a slice takes before anything is cut: the network in float64 and for a moment in float32, and so many values of
its widest layer: those of a point in both, and its coordinates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceSettings:
    """`max_faces` and `budget` (bytes, the network in float64 included) bound the work; `check` runs the self-check and
    raises ClaimError when it fails;
    `exact` decides doubtful signs by rational arithmetic, up to `exact_operations` multiplications a question and
    `exact_total` in all (about 0.1 microseconds each): past these a sign is taken for zero and counted as snapped;
    `compiled` as in `insert_gates`; `coordinates` as in `CutSettings`."""

    max_faces: int = 5_000_000
    budget: int = 3 << 30
    check: bool = True
    exact: bool = True
    exact_operations: int = 2_000_000
    exact_total: int = 30_000_000
    compiled: bool | None = None
    coordinates: bool | None = None


def slice_network(
    model: nn.Module | Graph | Network | StagedProgram,
    plane: Plane | None = None,
    domain: ArrayLike | None = None,
    settings: SliceSettings | None = None,
) -> Slice:
    """Cut the polygon `domain` (m, 2), strictly convex and counter-clockwise in `plane`, by the network.

    Exact (float64; signs within rounding by rational arithmetic). `plane` None: all of a two-dimensional input space.
    `domain` None: the square along the plane's axes that holds its anchors, as `largest_slice` cuts it.
    `model`: a module in evaluation mode, its `Graph` or `StagedProgram`, or a `Network`, whose passes it counts. Cost:
    one float64 forward pass of every vertex (of every crossing neuron in wide convolutional networks, see
    `coordinates`) and about a microsecond a region and crossing neuron. Memory: the network in float64, and vertices
    times live values (coordinates), within `settings.budget`.

    Raises `InputError` for a bad domain or a plane of another input shape, `ModelError` for NaN, infinite or
    overflowing values and for training mode, `NotPiecewiseAffine` naming the operator, `BudgetError` before anything
    is cut where the network alone is over the budget, and later one that says how many regions were found, how many
    there are about and which domain would fit, `ClaimError` when the self-check fails. Source: the question of
    SplineCam (arXiv 2302.12828); the method is ours, see `cutting`.
    """
    settings = settings or SliceSettings()
    plane = plane or input_plane()
    if domain is None and len(plane.anchors):
        return largest_slice(model, plane, square_holding(plane), settings)
    if domain is None:
        raise InputError(
            "domain of the slice",
            found="none, and a plane without inputs that it could hold",
            expected="a convex polygon (m, 2), see rectangle()",
            remedy="give one, for instance rectangle(-1, 1, -1, 1)",
        )
    polygon, began = check_domain(domain), _now()
    program = _staged(model, plane, settings.budget)
    return _timed(_sliced(program, plane, polygon, settings, advise=True), began)


def largest_slice(
    model: nn.Module | Graph | Network | StagedProgram,
    plane: Plane,
    domain: ArrayLike,
    settings: SliceSettings | None = None,
) -> Slice:
    """The slice of `domain` (m, 2), halved about its middle until its regions fit the settings; `Slice.shrunk` is the
    share of its width that is left.

    As `slice_network`, the network traced once. Exact. Cost: that of a cut up to the limits for every halving. Raises
    as `slice_network`, `BudgetError` where the smallest part does not fit. Source: ours.
    """
    settings, began = settings or SliceSettings(), _now()
    polygon = check_domain(domain)
    program = _staged(model, plane, settings.budget)
    try:
        found, share = largest_that_fits(lambda part: _sliced(program, plane, part, settings, advise=False), polygon)
    except BudgetError as error:
        raise type(error)(
            error.offender,
            found=f"{error.found}, in the middle 1/{2**HALVINGS} of the domain's width",
            expected=error.expected,
            remedy=error.remedy,
        ) from error
    return _timed(dataclasses.replace(found, shrunk=share), began)


def _now() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def _timed(found: Slice, began: tuple[float, float]) -> Slice:
    """The slice with all the seconds it took, tracing and parts that did not fit included."""
    cpu, wall = (now - before for now, before in zip(_now(), began))
    return dataclasses.replace(found, cpu_seconds=cpu, wall_seconds=wall)


def _staged(model: nn.Module | Graph | Network | StagedProgram, plane: Plane, budget: int) -> StagedProgram:
    """The program of a model. Raises BudgetError where it leaves no room for the values of a few points."""
    if isinstance(model, StagedProgram):
        program = model
    else:
        module = model.on_cpu() if isinstance(model, Network) else model
        if isinstance(module, nn.Module):
            refuse_unreadable(module)
            numbers = sum(v.numel() for v in [*module.parameters(), *module.buffers()])
            require_room("a slice, which takes the network in float64", _NETWORK * 8 * numbers, budget)
        program = StagedProgram(module if isinstance(module, Graph) else trace_for(module, plane), allow_jumps=True)
        if isinstance(model, Network):
            program.passes = model.passes
    _fits(program, plane)
    widest = max(n.numel for n in program.graph.nodes)
    require_room("a slice of this network", _NETWORK * program.bytes + _LEAST * 8 * widest, budget)
    return program


def _sliced(program: StagedProgram, plane: Plane, polygon: Floats, settings: SliceSettings, *, advise: bool) -> Slice:
    """The slice of a polygon; with `advise` a BudgetError says which domain would fit."""
    exact = ExactSigns(program, plane, polygon, settings.exact_operations, settings.exact_total)
    cut = CutSettings(
        budget=settings.budget - program.bytes,
        max_faces=settings.max_faces,
        compiled=settings.compiled,
        coordinates=settings.coordinates,
    )
    cutter = Cutter(program, plane, polygon, cut, decide=exact if settings.exact else None)
    try:
        relative, rows = cutter.run()
    except BudgetError as error:
        raise (_how_to_go_on(error, cutter, plane, polygon) if advise else error) from error.__cause__
    program.passes.count(cutter.report.forward_rows)
    measures = measure_faces(cutter.cells, rows)
    offset = cutter.offset.numpy()
    outputs = relative + offset
    refuse_overflow(outputs, "the outputs")
    decision = decision_boundary(cutter.cells, measures, outputs)
    check = None
    if settings.check:
        check = self_check(program, plane, polygon, cutter.cells, measures, outputs, budget=cut.budget)
        check.require()
    return Slice(
        kind="affine regions",
        plane=plane,
        domain=polygon,
        cells=cutter.cells,
        measures=measures,
        relative=relative,
        offset=offset,
        sites=program.sites,
        decision=decision,
        report=cutter.report,
        check=check,
        program=program,
        cpu_seconds=0.0,
        wall_seconds=0.0,
    )


def _how_to_go_on(error: BudgetError, cutter: Cutter, plane: Plane, polygon: Floats) -> BudgetError:
    """The error with an estimate of what the domain holds and of the domain that would fit (n regions have about 2.3
    sqrt(n) coordinates); as it is for a network that jumps."""
    if cutter.program.jumps:
        return error
    fits = (cutter.settings.budget / 40) ** (2 / 3) if isinstance(cutter.state, PlaneCoordinates) else np.inf
    enough = max(int(min(cutter.settings.max_faces / 2, fits)), 1)
    try:
        preview = estimated_regions(cutter.program, plane, polygon, budget=cutter.settings.budget)
    except BudgetError:  # one segment crosses more than the budget holds
        return error
    factor = preview.shrink(enough)
    half = np.abs(polygon).max()
    centred = len(polygon) == 4 and np.allclose(polygon, square_around(plane, half))
    advice = f"--pad {half * factor:.2g}" if centred else f"its width times {factor:.2g}"
    return type(error)(
        error.offender,
        found=error.found,
        expected=error.expected,
        remedy=f"about {preview.regions:.2g} regions lie in this domain; a smaller one ({advice}) holds about "
        f"{enough:,}; else {error.remedy}",
    )


def _fits(program: StagedProgram, plane: Plane) -> None:
    shape = tuple(program.input.shape)
    wanted = shape[1:] if program.graph.batched else shape
    if tuple(plane.input_shape) != tuple(wanted):
        raise InputError(
            "the plane of the slice",
            found=f"inputs of shape {tuple(plane.input_shape)}",
            expected=f"{tuple(wanted)}, the shape of the network's input",
            remedy="make the plane from inputs of the network",
        )
