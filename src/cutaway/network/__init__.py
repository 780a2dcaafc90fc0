"""Reading a network: sites, captures, affine maps, twins, fingerprints."""

from cutaway.network.affine import AffineMap
from cutaway.network.capture import Chunk
from cutaway.network.network import Network
from cutaway.network.outputs import first_tensor
from cutaway.network.preserve import preserved
from cutaway.network.sites import Site

__all__ = ["AffineMap", "Chunk", "Network", "Site", "first_tensor", "preserved"]
