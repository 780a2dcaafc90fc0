# Written by tools/write_stubs.py from __init__.py.

from cutaway.audits.answers import AnswerAudit as AnswerAudit
from cutaway.audits.generations import GenerationAudit as GenerationAudit
from cutaway.audits.labels import LabelAudit as LabelAudit
from cutaway.audits.table_audit import TableAudit as TableAudit
from cutaway.audits.tuning import TuningAudit as TuningAudit

__all__ = [
    "AnswerAudit",
    "GenerationAudit",
    "LabelAudit",
    "TableAudit",
    "TuningAudit",
]
