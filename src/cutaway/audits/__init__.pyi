# Written by tools/write_stubs.py from __init__.py.

from cutaway.audits.labels import LabelAudit as LabelAudit
from cutaway.audits.table_audit import TableAudit as TableAudit

__all__ = [
    "LabelAudit",
    "TableAudit",
]
