"""What a network answers: calibration."""

from cutaway._moved import moved_names

__getattr__ = moved_names(__name__)
