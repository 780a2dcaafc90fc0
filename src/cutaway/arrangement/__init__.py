"""Planar subdivisions that are cut by piecewise linear functions given at their vertices.

`subdivision` holds the half-edge arrays, `split_vectorised` (NumPy) and `split_compiled` (numba) cut them, `insertion`
drives either through a batch of gates, `merge` takes edges out again, `cracks` parts faces between which values jump,
`faces` measures areas, sides and slopes; `polytopes` volumes in more dimensions; `rational` is exact arithmetic for
signs that rounding cannot decide.
"""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "cracks": "close_cracks open_cracks",
        "insertion": "Insertion insert_gates",
        "merge": "remove_edges",
        "polytopes": "Estimate polytope_volume",
        "subdivision": "Subdivision",
    },
)
