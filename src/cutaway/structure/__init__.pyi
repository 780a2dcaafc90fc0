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
from cutaway.structure.live import Live as Live
from cutaway.structure.live import live_connections as live_connections
from cutaway.structure.pruning import apply_masks as apply_masks
from cutaway.structure.pruning import keep_best as keep_best
from cutaway.structure.pruning import magnitude as magnitude
from cutaway.structure.pruning import path_scores as path_scores
from cutaway.structure.pruning import prune_to_effective as prune_to_effective
from cutaway.structure.pruning import synflow as synflow
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
    "Growth",
    "Live",
    "Weight",
    "Wiring",
    "apply_masks",
    "critical_point",
    "effective_weights",
    "export_pruned",
    "gaussian_moments",
    "growth_by_layer",
    "keep_best",
    "kernel_by_depth",
    "live_connections",
    "load_pruned",
    "magnitude",
    "path_scores",
    "prune_to_effective",
    "pruned",
    "quotas",
    "random_masks",
    "synflow",
    "wire",
    "with_statistics_of",
    "without_biases",
]
