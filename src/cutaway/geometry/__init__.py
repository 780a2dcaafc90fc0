"""The spline partition: exact 2-D slices, local complexity, distance to boundary, region statistics.

| question | names |
|---|---|
| exact slices | `plane_through`, `plane_of`, `input_plane`, `square_around`, `rectangle`, `slice_network`, `SliceSettings`, `Slice`, `pattern_tree`, `sign_partition` (networks that are not piecewise affine), `estimated_regions` (before slicing) |
| along straight lines | `crossings`, `Crossings` |
| the region of a sample | `sample_region`, `Region`, `facets`, `chebyshev`, `neighbours`, `region_volume`, `polytope_volume`, `regions_in_ball`, `count_patterns` |
| near neurons | `frame`, `near_neurons.local_complexity`, `neurons_within`, `effective_radius`, `boundary_density`, `nearest_boundary`, `first_crossing` |
| statistics | `class_density`, `size_and_confidence`, `alignment`, `without_biases`, `pruned`, `with_statistics_of`, `hyperplane_misfit` |

    from cutaway.geometry import plane_through, slice_network, square_around
    plane = plane_through(three_inputs)
    result = slice_network(model, plane, square_around(plane, 1.0))

Names are imported on first use.
"""  # noqa: E501

from __future__ import annotations

import importlib
from typing import Any

from cutaway import _moved

_HOMES = {
    "plane": ("Plane", "input_plane", "plane_of", "plane_through", "rectangle", "square_around"),
    "partition": ("Slice",),
    "slice": ("SliceSettings", "slice_network"),
    "face_patterns": ("PatternTree", "pattern_tree"),
    "preview": ("estimated_regions",),
    "gate_signs": ("sign_partition",),
    "rays": ("Crossings", "crossings"),
    "regions": ("Facets", "Neighbourhood", "Region", "chebyshev", "facets", "neighbours", "sample_region"),
    "volume": ("Estimate", "RegionCount", "count_patterns", "polytope_volume", "region_volume", "regions_in_ball"),
    "near_neurons": ("effective_radius", "frame", "neurons_within"),
    "density": ("boundary_density",),
    "boundary_distance": ("first_crossing", "nearest_boundary"),
    "expressivity": ("ClassDensity", "SizeAndConfidence", "class_density", "size_and_confidence"),
    "reconstruction": ("Alignment", "alignment"),
    "studies": ("hyperplane_misfit", "pruned", "with_statistics_of", "without_biases"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    return _moved.moved_name(__name__, name)


def __dir__() -> list[str]:
    return __all__
