# Written by tools/write_stubs.py from __init__.py.

from cutaway.reading.provenance import Cost as Cost
from cutaway.reading.provenance import Coverage as Coverage
from cutaway.reading.provenance import Provenance as Provenance
from cutaway.reading.reading import Figure as Figure
from cutaway.reading.reading import Reading as Reading
from cutaway.reading.reading import variable as variable
from cutaway.records import Skipped as Skipped

__all__ = [
    "Cost",
    "Coverage",
    "Figure",
    "Provenance",
    "Reading",
    "Skipped",
    "variable",
]
