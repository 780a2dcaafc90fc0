"""Readings: the one shape of answer, its provenance and its storage."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "provenance": "Cost Coverage Provenance",
        "reading": "Figure Reading variable",
        "cutaway.records": "Skipped",
    },
)
