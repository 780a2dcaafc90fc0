"""Readings: the one shape of answer, its provenance and its storage."""

from cutaway.reading.provenance import Cost, Coverage, Provenance, Skipped
from cutaway.reading.reading import Figure, Reading, variable

__all__ = ["Cost", "Coverage", "Figure", "Provenance", "Reading", "Skipped", "variable"]
