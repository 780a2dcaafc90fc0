# Written by tools/write_stubs.py from __init__.py.

from cutaway.features.class_means import collapse as collapse
from cutaway.features.collapse_by_layer import Layers as Layers
from cutaway.features.collapse_by_layer import Means as Means
from cutaway.features.collapse_by_layer import SimplexAlignment as SimplexAlignment
from cutaway.features.collapse_by_layer import layer_collapse as layer_collapse
from cutaway.features.collapse_by_layer import layer_means as layer_means
from cutaway.features.collapse_by_layer import simplex_alignment as simplex_alignment
from cutaway.features.lofi.estimators import LoFiClassifier as LoFiClassifier
from cutaway.features.lofi.estimators import LoFiRegressor as LoFiRegressor
from cutaway.features.lofi.estimators import LoFiTransformer as LoFiTransformer
from cutaway.features.reconstruction import ReconstructionAlignment as ReconstructionAlignment
from cutaway.features.reconstruction import reconstruction_alignment as reconstruction_alignment
from cutaway.features.sparsity import Firing as Firing
from cutaway.features.sparsity import firing as firing
from cutaway.features.sparsity import static_dead as static_dead

__all__ = [
    "Firing",
    "Layers",
    "LoFiClassifier",
    "LoFiRegressor",
    "LoFiTransformer",
    "Means",
    "ReconstructionAlignment",
    "SimplexAlignment",
    "collapse",
    "firing",
    "layer_collapse",
    "layer_means",
    "reconstruction_alignment",
    "simplex_alignment",
    "static_dead",
]
