"""Pictures of a slice: `picture` (matplotlib, PNG and SVG) and `page` (one self-contained HTML explorer)."""

from cutaway.report.explorer.page import explorer_page, write_explorer
from cutaway.report.explorer.picture import draw_slice, write_picture

__all__ = ["draw_slice", "explorer_page", "write_explorer", "write_picture"]
