# Written by tools/write_stubs.py from __init__.py.

from cutaway.reproductions._listing import get as get
from cutaway.reproductions._listing import references as references
from cutaway.reproductions._listing import reproduction_names as reproduction_names
from cutaway.reproductions.row import Row as Row
from cutaway.reproductions.row import outcome as outcome

__all__ = [
    "Row",
    "get",
    "outcome",
    "references",
    "reproduction_names",
]
