"""What a network answers: accuracy and calibration."""

from cutaway.outputs.accuracy import Accuracy

__all__ = ["Accuracy"]
