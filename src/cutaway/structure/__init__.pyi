# Written by tools/write_stubs.py from __init__.py.

from cutaway.structure.criticality import CriticalPoint as CriticalPoint
from cutaway.structure.criticality import Growth as Growth
from cutaway.structure.criticality import critical_point as critical_point
from cutaway.structure.criticality import gaussian_moments as gaussian_moments
from cutaway.structure.criticality import growth_by_layer as growth_by_layer
from cutaway.structure.criticality import kernel_by_depth as kernel_by_depth
from cutaway.structure.densities import quotas as quotas
from cutaway.structure.densities import random_masks as random_masks
from cutaway.structure.export import Exported as Exported
from cutaway.structure.export import export_pruned as export_pruned
from cutaway.structure.export import load_pruned as load_pruned
from cutaway.structure.kan import KanConversion as KanConversion
from cutaway.structure.kan import kan_to_relu as kan_to_relu
from cutaway.structure.live import Live as Live
from cutaway.structure.live import live_connections as live_connections
from cutaway.structure.narrowing import narrowed as narrowed
from cutaway.structure.pruning import apply_masks as apply_masks
from cutaway.structure.pruning import keep_best as keep_best
from cutaway.structure.pruning import magnitude as magnitude
from cutaway.structure.pruning import path_scores as path_scores
from cutaway.structure.pruning import prune_to_effective as prune_to_effective
from cutaway.structure.pruning import synflow as synflow
from cutaway.structure.shrinking import GraphNetwork as GraphNetwork
from cutaway.structure.shrinking import Shrunk as Shrunk
from cutaway.structure.shrinking import save_shrunk as save_shrunk
from cutaway.structure.shrinking import straight as straight
from cutaway.structure.shrinking import without_dead_units as without_dead_units
from cutaway.structure.units import UnitCrossings as UnitCrossings
from cutaway.structure.units import UnitMask as UnitMask
from cutaway.structure.units import UnitTable as UnitTable
from cutaway.structure.units import geometry_score as geometry_score
from cutaway.structure.units import least_units as least_units
from cutaway.structure.units import magnitude_score as magnitude_score
from cutaway.structure.units import slice_densities as slice_densities
from cutaway.structure.units import unit_crossings as unit_crossings
from cutaway.structure.units import units_of as units_of
from cutaway.structure.units import without_units as without_units
from cutaway.structure.variants import pruned as pruned
from cutaway.structure.variants import with_statistics_of as with_statistics_of
from cutaway.structure.variants import without_biases as without_biases
from cutaway.structure.wiring import Weight as Weight
from cutaway.structure.wiring import Wiring as Wiring
from cutaway.structure.wiring import effective_weights as effective_weights
from cutaway.structure.wiring import wire as wire

__all__ = [
    "CriticalPoint",
    "Exported",
    "GraphNetwork",
    "Growth",
    "KanConversion",
    "Live",
    "Shrunk",
    "UnitCrossings",
    "UnitMask",
    "UnitTable",
    "Weight",
    "Wiring",
    "apply_masks",
    "critical_point",
    "effective_weights",
    "export_pruned",
    "gaussian_moments",
    "geometry_score",
    "growth_by_layer",
    "kan_to_relu",
    "keep_best",
    "kernel_by_depth",
    "least_units",
    "live_connections",
    "load_pruned",
    "magnitude",
    "magnitude_score",
    "narrowed",
    "path_scores",
    "prune_to_effective",
    "pruned",
    "quotas",
    "random_masks",
    "save_shrunk",
    "slice_densities",
    "straight",
    "synflow",
    "unit_crossings",
    "units_of",
    "wire",
    "with_statistics_of",
    "without_biases",
    "without_dead_units",
    "without_units",
]
