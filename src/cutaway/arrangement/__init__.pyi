# Written by tools/write_stubs.py from __init__.py.

from cutaway.arrangement.cracks import close_cracks as close_cracks
from cutaway.arrangement.cracks import open_cracks as open_cracks
from cutaway.arrangement.insertion import Insertion as Insertion
from cutaway.arrangement.insertion import insert_gates as insert_gates
from cutaway.arrangement.merge import remove_edges as remove_edges
from cutaway.arrangement.subdivision import Subdivision as Subdivision

__all__ = [
    "Insertion",
    "Subdivision",
    "close_cracks",
    "insert_gates",
    "open_cracks",
    "remove_edges",
]
