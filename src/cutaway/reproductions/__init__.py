"""Published results that Cutaway claims to reproduce: one file each, found by name.

A file `some_name.py` answers `cutaway reproduce some-name`; it has `TITLE`, `SOURCE` and
`reproduce(*, short, seed=0, progress=print) -> list[Row]`.
"""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__, {"_listing": "get reproduction_names references", "row": "Row outcome"}
)
