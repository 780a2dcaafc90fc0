# Written by tools/write_stubs.py from __init__.py.

from cutaway.network.affine import AffineMap as AffineMap
from cutaway.network.capture import Chunk as Chunk
from cutaway.network.network import Network as Network
from cutaway.network.outputs import first_tensor as first_tensor
from cutaway.network.packed import with_ordinary_weights as with_ordinary_weights
from cutaway.network.preserve import preserved as preserved
from cutaway.network.sites import Site as Site

__all__ = [
    "AffineMap",
    "Chunk",
    "Network",
    "Site",
    "first_tensor",
    "preserved",
    "with_ordinary_weights",
]
