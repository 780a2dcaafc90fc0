# Written by tools/write_stubs.py from __init__.py.

from cutaway.report.explorer.page import explorer_page as explorer_page
from cutaway.report.explorer.page import write_explorer as write_explorer
from cutaway.report.explorer.picture import draw_slice as draw_slice
from cutaway.report.explorer.picture import write_picture as write_picture

__all__ = [
    "draw_slice",
    "explorer_page",
    "write_explorer",
    "write_picture",
]
