"""Instrument `affine-slice`: the exact partition of a small square through three samples, and what its pieces are
like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import xarray as xr

from cutaway.errors import BudgetError, InputError, ModelError
from cutaway.geometry.faces import in_plane_spectrum
from cutaway.geometry.plane import plane_through, square_around
from cutaway.geometry.slice import SliceSettings, slice_network
from cutaway.instrument import Findings, Instrument, NotApplicable
from cutaway.reading import Figure, variable
from cutaway.status import Status


@dataclass(frozen=True, kw_only=True)
class AffineSlice(Instrument):
    """Number and sizes of the affine regions on a square about the mean of three samples, and the decision boundary in
    it.

    Exact (float64, self-checked) for this one square: half-diagonal `reach` times the distance to the farthest of the
    three, shrunk by halves until at most `max_regions` regions are in it; the square's area is a figure. Samples are
    drawn with the seed, of different classes where there are labels.
    """

    reach: float = 1.0
    max_regions: int = 20_000

    name: ClassVar[str] = "affine-slice"
    question: ClassVar[str] = "Into how many affine pieces does the network cut the plane through three samples?"
    source: ClassVar[str] = "SplineCam, arXiv 2302.12828; computed by a method of our own in float64"
    in_scan: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset({"inputs"})
    expense: ClassVar[str] = "one float64 forward pass a vertex; a few seconds for networks of a thousand neurons"
    limits: ClassVar[str] = "One plane through three samples: repeat with other seeds before speaking of the network."

    def _measure(self, network, data, context):
        rows = self._rows(data, context)
        inputs = network.place(data.inputs[rows]).detach().cpu().double()
        try:
            plane = plane_through(inputs.numpy(), seed=context.seed)
            result = self._slice(network, plane, context)
        except (ModelError, InputError) as error:
            raise NotApplicable(str(error)) from error
        network.forward_passes += result.report.forward_rows
        area, total = result.measures.area, float(result.measures.area.sum())
        site = result.edge_sites
        per_site = np.bincount(site[site >= 0], minlength=len(result.sites))
        norm = in_plane_spectrum(result.slopes)[:, 0]
        variables = {
            "area": variable(area, ["face"], unit="input units squared", long_name="area of the face", kind="exact"),
            "sides": variable(result.measures.num_sides, ["face"], long_name="corners of the face", kind="exact"),
            "map_norm": variable(
                norm, ["face"], unit="output per input", long_name="norm of the map along the slice", kind="exact"
            ),
            "edges": variable(per_site, ["site"], unit="edges", long_name="edges made by the site", kind="exact"),
        }
        coords = {"site": [f"{i} {s.name}" for i, s in enumerate(result.sites)], "sample": rows.numpy()}
        boundary = float(result.decision.lengths.sum())
        figures = (
            Figure(
                name="regions_per_area",
                value=result.num_faces / total,
                unit="regions per input unit squared",
                status=Status.EXACT,
                long_name="affine regions an area of the square",
            ),
            Figure(
                name="regions",
                value=float(result.num_faces),
                unit="regions",
                status=Status.EXACT,
                alternative="none",
                long_name="affine regions in the square",
            ),
            Figure(
                name="square_area",
                value=total,
                unit="input units squared",
                status=Status.EXACT,
                alternative="none",
                long_name="area of the square",
            ),
            Figure(
                name="boundary_density",
                value=boundary / total,
                unit="per input unit",
                status=Status.EXACT,
                long_name="length of the decision boundary an area",
            ),
        )
        return Findings(values=xr.Dataset(variables, coords), figures=figures, status=Status.EXACT)

    def _slice(self, network, plane, context):
        reach = self.reach * float(np.hypot(*plane.anchors.T).max()) if len(plane.anchors) > 1 else self.reach
        model = network.model if network.device.type == "cpu" else network.double().model.cpu()
        settings = SliceSettings(max_faces=self.max_regions, budget=max(context.budget, 1 << 20))
        for _ in range(12):
            try:
                return slice_network(model, plane, square_around(plane, reach), settings)
            except BudgetError:
                reach /= 2
        raise NotApplicable(
            f"more than {self.max_regions} regions even within {reach:.2g} of the mean of three samples"
        )

    def _rows(self, data, context):
        import torch

        order = torch.randperm(len(data.inputs), generator=context.generator())
        if data.labels is not None:
            seen: list[int] = []
            kept = []
            for row in order.tolist():
                if int(data.labels[row]) not in seen:
                    seen.append(int(data.labels[row]))
                    kept.append(row)
            order = torch.tensor(kept + [r for r in order.tolist() if r not in kept])
        count = min(3, len(order))
        return order[:count]

    def describe(self, reading):
        return (
            f"A square of area {reading.figure('square_area').value:.3g} through three samples holds "
            f"{int(reading.figure('regions').value):,} affine pieces."
        )
