"""Planar subdivisions that are cut by piecewise linear functions given at their vertices.

`subdivision` holds the half-edge arrays, `split_vectorised` (NumPy) and `split_compiled` (numba) cut them, `insertion`
drives either through a batch of gates, `merge` takes edges out again, `cracks` parts faces between which values jump.
"""

from cutaway.arrangement.cracks import close_cracks, open_cracks
from cutaway.arrangement.insertion import Insertion, insert_gates
from cutaway.arrangement.merge import remove_edges
from cutaway.arrangement.subdivision import Subdivision

__all__ = ["Insertion", "Subdivision", "close_cracks", "insert_gates", "open_cracks", "remove_edges"]
