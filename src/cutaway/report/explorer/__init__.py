"""Pictures of a slice: `picture` (matplotlib, PNG and SVG) and `page` (one self-contained HTML explorer)."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "page": "explorer_page write_explorer",
        "picture": "draw_slice write_picture",
    },
)
