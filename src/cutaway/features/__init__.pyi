# Written by tools/write_stubs.py from __init__.py.

from cutaway.features.class_means import collapse as collapse
from cutaway.features.layer_collapse import Alignment as Alignment
from cutaway.features.layer_collapse import Layers as Layers
from cutaway.features.layer_collapse import Means as Means
from cutaway.features.layer_collapse import alignment as alignment
from cutaway.features.layer_collapse import layer_collapse as layer_collapse
from cutaway.features.layer_collapse import layer_means as layer_means
from cutaway.features.lofi.estimators import LoFiClassifier as LoFiClassifier
from cutaway.features.lofi.estimators import LoFiRegressor as LoFiRegressor
from cutaway.features.lofi.estimators import LoFiTransformer as LoFiTransformer
from cutaway.features.sparsity import Firing as Firing
from cutaway.features.sparsity import firing as firing
from cutaway.features.sparsity import static_dead as static_dead

__all__ = [
    "Alignment",
    "Firing",
    "Layers",
    "LoFiClassifier",
    "LoFiRegressor",
    "LoFiTransformer",
    "Means",
    "alignment",
    "collapse",
    "firing",
    "layer_collapse",
    "layer_means",
    "static_dead",
]
