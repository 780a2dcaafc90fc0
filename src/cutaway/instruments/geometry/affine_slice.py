"""Instrument `affine-slice`: the exact partition of a small square through three samples, and what its pieces are
like."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from cutaway.arrangement.faces import in_plane_spectrum
from cutaway.arrangement.insertion import TooManyRegions
from cutaway.context import Context
from cutaway.data import Dataset
from cutaway.data.pairs import distinct_rows
from cutaway.errors import InputError, ModelError
from cutaway.geometry.framing import HALVINGS
from cutaway.geometry.partition import Slice
from cutaway.geometry.plane import Plane, plane_through, square_around
from cutaway.geometry.slice import SliceSettings, largest_slice
from cutaway.instrument import Findings, Instrument, NotApplicable, not_applicable
from cutaway.network import Network
from cutaway.reading.table import Table
from cutaway.settings import above, at_least
from cutaway.status import Status

DRAWN = 10_000
"""Regions up to which the reading keeps their corners, for its picture."""


@dataclass(frozen=True, kw_only=True)
class AffineSlice(Instrument):
    """Number and sizes of the affine regions on a square about the mean of three samples, and the decision boundary in
    it.

    Exact (float64, self-checked) for this one square: half-diagonal `reach` times the distance to the farthest of the
    three, shrunk by halves until at most `max_regions` regions are in it; the square's area is a figure. Samples are
    drawn with the seed, of different classes where there are labels.
    """

    reach: float = field(
        default=1.0, metadata=above(0, "half-diagonal of the square, in distances to the farthest sample")
    )
    max_regions: int = field(default=20_000, metadata=at_least(1, "regions up to which the square is not shrunk"))

    name: ClassVar[str] = "affine-slice"
    question: ClassVar[str] = "Into how many affine pieces does the network cut the plane through three samples?"
    source: ClassVar[str] = "SplineCam, arXiv 2302.12828; computed by a method of our own in float64"
    in_scan: ClassVar[bool] = False
    left_out: ClassVar[str] = "it tells of one square only, and takes from seconds to minutes"
    needs: ClassVar[frozenset[str]] = frozenset({"inputs"})
    formula: ClassVar[str] = r"\# \{ \mathrm{cells\ of\ the\ square\ on\ which\ } f \mathrm{\ is\ one\ affine\ map} \}"
    expense: ClassVar[str] = "one float64 forward pass a vertex; a few seconds for networks of a thousand neurons"
    limits: ClassVar[str] = "One plane through three samples: repeat with other seeds before speaking of the network."

    def _measure(self, network: Network, data: Dataset, context: Context) -> Findings:
        rows = distinct_rows(data.labels, len(data.inputs), 3, context.generator())
        inputs = network.place(data.inputs[rows]).detach().cpu().double()
        with not_applicable(ModelError, InputError):
            plane = plane_through(inputs.numpy(), seed=context.seed)
            result = self._slice(network, plane, context)
        sites = [f"{i} {s.name}" for i, s in enumerate(result.sites)]
        table, area = context.table({"site": sites, "sample": rows.numpy()}), result.measures.area
        table.keep("area", area, ["face"], unit="input units squared", long_name="area of the face", kind="exact")
        sides = result.measures.num_sides
        table.keep("sides", sides, ["face"], long_name="corners of the face", kind="exact")
        norm, long_name = in_plane_spectrum(result.slopes)[:, 0], "norm of the map along the slice"
        table.keep("map_norm", norm, ["face"], unit="output per input", long_name=long_name, kind="exact")
        made = np.bincount(result.edge_sites[result.edge_sites >= 0], minlength=len(sites))
        table.keep("edges", made, ["site"], unit="edges", long_name="edges made by the site", kind="exact")
        if result.num_faces <= DRAWN:
            _keep_pieces(result, table)
        self._figures(result, float(area.sum()), table)
        return Findings.of(table, status=Status.EXACT)

    def _figures(self, result: Slice, total: float, table: Table) -> None:
        exact = Status.EXACT
        unit, long_name = "regions per input unit squared", "affine regions an area of the square"
        table.figure("regions_per_area", result.num_faces / total, unit=unit, long_name=long_name, status=exact)
        table.figure(
            "regions",
            result.num_faces,
            unit="regions",
            long_name="affine regions in the square",
            status=exact,
            alternative="none",
        )
        table.figure(
            "square_area",
            total,
            unit="input units squared",
            long_name="area of the square",
            status=exact,
            alternative="none",
        )
        density, long_name = float(result.decision.lengths.sum()) / total, "length of the decision boundary an area"
        table.figure("boundary_density", density, unit="per input unit", long_name=long_name, status=exact)

    def _slice(self, network: Network, plane: Plane, context: Context) -> Slice:
        reach = self.reach * float(np.hypot(*plane.anchors.T).max()) if len(plane.anchors) > 1 else self.reach
        settings = SliceSettings(max_faces=self.max_regions, budget=max(context.budget, 1 << 20))
        square = square_around(plane, reach)
        try:
            return largest_slice(network, plane, square, settings)
        except TooManyRegions as error:
            small = f"{reach / 2**HALVINGS:.2g}"
            raise NotApplicable(
                f"more than {self.max_regions} regions even within {small} of the mean of three samples"
            ) from error

    def draw(self, reading):
        from cutaway.pictures.charts import figures_chart
        from cutaway.pictures.slice import slice_chart

        return slice_chart(reading) if "corner_x" in reading.values else figures_chart(reading)

    def describe(self, reading):
        return (
            f"A square of area {reading.figure('square_area').value:.3g} through three samples holds "
            f"{int(reading.figure('regions').value):,} affine pieces."
        )


def _keep_pieces(result: Slice, table: Table) -> None:
    """The corners of every region, and of the parts of those that hold several classes, in the plane's coordinates."""
    pieces = result.class_pieces()
    polygons = [result.vertices[result.corners(f)] for f in range(result.num_faces)] + list(pieces.polygons)
    classes = np.concatenate([result.face_classes, pieces.classes]).astype(np.int64)
    corners = np.concatenate(polygons)
    number = np.repeat(np.arange(len(polygons)), [len(p) for p in polygons])
    for axis, name in enumerate("xy"):
        long_name = f"{('first', 'second')[axis]} coordinate of a corner in the plane"
        table.keep(
            f"corner_{name}", corners[:, axis], ["corner"], unit="input units", long_name=long_name, kind="exact"
        )
    table.keep("corner_piece", number, ["corner"], long_name="piece that the corner belongs to", kind="exact")
    table.keep("piece_class", classes, ["piece"], long_name="class that the piece is given", kind="exact")
    ends = result.decision.segments.reshape(-1, 4)
    table.keep("boundary", ends, ["segment", "end"], unit="input units", long_name="decision boundary", kind="exact")
