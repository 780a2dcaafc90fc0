# Written by tools/write_stubs.py from __init__.py.

from cutaway.robustness.bounds.alpha import AlphaSettings as AlphaSettings
from cutaway.robustness.bounds.alpha import optimised_rows as optimised_rows
from cutaway.robustness.bounds.intervals import Limits as Limits
from cutaway.robustness.bounds.layers import LayerBounds as LayerBounds
from cutaway.robustness.bounds.layers import layer_bounds as layer_bounds
from cutaway.robustness.bounds.network import BoundNetwork as BoundNetwork
from cutaway.robustness.bounds.network import bound_network as bound_network
from cutaway.robustness.bounds.sweep import SweepSettings as SweepSettings
from cutaway.robustness.bounds.sweep import bound_rows as bound_rows
from cutaway.robustness.bounds.sweep import bounds_of_many as bounds_of_many

__all__ = [
    "AlphaSettings",
    "BoundNetwork",
    "LayerBounds",
    "Limits",
    "SweepSettings",
    "bound_network",
    "bound_rows",
    "bounds_of_many",
    "layer_bounds",
    "optimised_rows",
]
