# Written by tools/write_stubs.py from __init__.py.

from cutaway.geometry.boundary_distance import first_crossing as first_crossing
from cutaway.geometry.boundary_distance import hyperplane_misfit as hyperplane_misfit
from cutaway.geometry.boundary_distance import nearest_boundary as nearest_boundary
from cutaway.geometry.density import boundary_density as boundary_density
from cutaway.geometry.expressivity import ClassDensity as ClassDensity
from cutaway.geometry.expressivity import SizeAndConfidence as SizeAndConfidence
from cutaway.geometry.expressivity import class_density as class_density
from cutaway.geometry.expressivity import size_and_confidence as size_and_confidence
from cutaway.geometry.face_patterns import PatternTree as PatternTree
from cutaway.geometry.face_patterns import pattern_tree as pattern_tree
from cutaway.geometry.framing import square_holding as square_holding
from cutaway.geometry.gate_signs import sign_partition as sign_partition
from cutaway.geometry.linear_regions import Facets as Facets
from cutaway.geometry.linear_regions import LinearRegion as LinearRegion
from cutaway.geometry.linear_regions import Neighbourhood as Neighbourhood
from cutaway.geometry.linear_regions import chebyshev as chebyshev
from cutaway.geometry.linear_regions import facets as facets
from cutaway.geometry.linear_regions import neighbours as neighbours
from cutaway.geometry.linear_regions import sample_region as sample_region
from cutaway.geometry.migration import RayMigration as RayMigration
from cutaway.geometry.migration import SliceMigration as SliceMigration
from cutaway.geometry.migration import near_length as near_length
from cutaway.geometry.migration import ray_migration as ray_migration
from cutaway.geometry.migration import slice_migration as slice_migration
from cutaway.geometry.near_neurons import effective_radius as effective_radius
from cutaway.geometry.near_neurons import frame as frame
from cutaway.geometry.near_neurons import neurons_within as neurons_within
from cutaway.geometry.partition import Slice as Slice
from cutaway.geometry.plane import Plane as Plane
from cutaway.geometry.plane import input_plane as input_plane
from cutaway.geometry.plane import plane_along as plane_along
from cutaway.geometry.plane import plane_of as plane_of
from cutaway.geometry.plane import plane_through as plane_through
from cutaway.geometry.plane import rectangle as rectangle
from cutaway.geometry.plane import square_around as square_around
from cutaway.geometry.preview import estimated_regions as estimated_regions
from cutaway.geometry.rays import Crossings as Crossings
from cutaway.geometry.rays import crossings as crossings
from cutaway.geometry.slice import SliceSettings as SliceSettings
from cutaway.geometry.slice import largest_slice as largest_slice
from cutaway.geometry.slice import slice_network as slice_network
from cutaway.geometry.volume import RegionCount as RegionCount
from cutaway.geometry.volume import count_patterns as count_patterns
from cutaway.geometry.volume import region_volume as region_volume
from cutaway.geometry.volume import regions_in_ball as regions_in_ball

__all__ = [
    "ClassDensity",
    "Crossings",
    "Facets",
    "LinearRegion",
    "Neighbourhood",
    "PatternTree",
    "Plane",
    "RayMigration",
    "RegionCount",
    "SizeAndConfidence",
    "Slice",
    "SliceMigration",
    "SliceSettings",
    "boundary_density",
    "chebyshev",
    "class_density",
    "count_patterns",
    "crossings",
    "effective_radius",
    "estimated_regions",
    "facets",
    "first_crossing",
    "frame",
    "hyperplane_misfit",
    "input_plane",
    "largest_slice",
    "near_length",
    "nearest_boundary",
    "neighbours",
    "neurons_within",
    "pattern_tree",
    "plane_along",
    "plane_of",
    "plane_through",
    "ray_migration",
    "rectangle",
    "region_volume",
    "regions_in_ball",
    "sample_region",
    "sign_partition",
    "size_and_confidence",
    "slice_migration",
    "slice_network",
    "square_around",
    "square_holding",
]
