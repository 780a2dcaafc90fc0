"""The spline partition: exact 2-D slices, local complexity, distance to boundary, region statistics.

| question | names |
|---|---|
| exact slices | `plane_through`, `plane_of`, `plane_along`, `input_plane`, `square_holding`, `square_around`, `rectangle`, `slice_network`, `SliceSettings`, `Slice`, `pattern_tree`, `sign_partition` (networks that are not piecewise affine), `estimated_regions` (before slicing) |
| along straight lines | `crossings`, `Crossings` |
| region boundaries against the decision boundary | `ray_migration`, `slice_migration`, `near_length` |
| the region of a sample | `sample_region`, `LinearRegion`, `facets`, `chebyshev`, `neighbours`, `region_volume`, `regions_in_ball`, `count_patterns` |
| near neurons | `frame`, `near_neurons.local_complexity`, `neurons_within`, `effective_radius`, `boundary_density`, `nearest_boundary`, `first_crossing` |
| statistics | `class_density`, `size_and_confidence`, `hyperplane_misfit` |

    from cutaway.geometry import plane_through, slice_network
    plane = plane_through(three_inputs)
    result = slice_network(model, plane)

Names are imported on first use.
"""  # noqa: E501

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "boundary_distance": "first_crossing hyperplane_misfit nearest_boundary",
        "density": "boundary_density",
        "expressivity": "ClassDensity SizeAndConfidence class_density size_and_confidence",
        "face_patterns": "PatternTree pattern_tree",
        "gate_signs": "sign_partition",
        "migration": "RayMigration SliceMigration near_length ray_migration slice_migration",
        "near_neurons": "effective_radius frame neurons_within",
        "framing": "square_holding",
        "partition": "Slice",
        "plane": "Plane input_plane plane_along plane_of plane_through rectangle square_around",
        "preview": "estimated_regions",
        "rays": "Crossings crossings",
        "linear_regions": "Facets Neighbourhood LinearRegion chebyshev facets neighbours sample_region",
        "slice": "largest_slice SliceSettings slice_network",
        "volume": "RegionCount count_patterns region_volume regions_in_ball",
    },
)
