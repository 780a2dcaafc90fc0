"""Planar subdivisions that are cut by piecewise linear functions given at their vertices.

`subdivision` holds the half-edge arrays, `split_vectorised` (NumPy) and `split_compiled` (numba) cut them, `insertion`
drives either through a batch of gates, `exact` decides what rounding cannot, `merge` takes edges out again.
"""

from cutaway.geometry.arrangement.insertion import Insertion, insert_gates
from cutaway.geometry.arrangement.merge import remove_edges
from cutaway.geometry.arrangement.subdivision import Subdivision

__all__ = ["Insertion", "Subdivision", "insert_gates", "remove_edges"]
