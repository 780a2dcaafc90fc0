# Written by tools/write_stubs.py from __init__.py.

from cutaway.features.class_means import collapse as collapse
from cutaway.features.lofi.estimators import LoFiClassifier as LoFiClassifier
from cutaway.features.lofi.estimators import LoFiRegressor as LoFiRegressor
from cutaway.features.lofi.estimators import LoFiTransformer as LoFiTransformer
from cutaway.features.sparsity import Firing as Firing
from cutaway.features.sparsity import firing as firing
from cutaway.features.sparsity import static_dead as static_dead

__all__ = [
    "Firing",
    "LoFiClassifier",
    "LoFiRegressor",
    "LoFiTransformer",
    "collapse",
    "firing",
    "static_dead",
]
