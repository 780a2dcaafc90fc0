# Written by tools/write_stubs.py from __init__.py.

from cutaway.arrangement.cracks import close_cracks as close_cracks
from cutaway.arrangement.cracks import open_cracks as open_cracks
from cutaway.arrangement.insertion import Insertion as Insertion
from cutaway.arrangement.insertion import insert_gates as insert_gates
from cutaway.arrangement.merge import remove_edges as remove_edges
from cutaway.arrangement.polytopes import Estimate as Estimate
from cutaway.arrangement.polytopes import polytope_volume as polytope_volume
from cutaway.arrangement.subdivision import Subdivision as Subdivision

__all__ = [
    "Estimate",
    "Insertion",
    "Subdivision",
    "close_cracks",
    "insert_gates",
    "open_cracks",
    "polytope_volume",
    "remove_edges",
]
