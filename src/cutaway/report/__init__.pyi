# Written by tools/write_stubs.py from __init__.py.

from cutaway.report.compare_page import write_comparison as write_comparison
from cutaway.report.page import write_report as write_report
from cutaway.report.training_page import write_training_page as write_training_page

__all__ = [
    "write_comparison",
    "write_report",
    "write_training_page",
]
