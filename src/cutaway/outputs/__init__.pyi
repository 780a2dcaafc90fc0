# Written by tools/write_stubs.py from __init__.py.

from cutaway.outputs.answers import Predictions as Predictions
from cutaway.outputs.answers import predictions as predictions
from cutaway.outputs.calibration import Reliability as Reliability
from cutaway.outputs.calibration import debiased_calibration_error as debiased_calibration_error
from cutaway.outputs.calibration import expected_calibration_error as expected_calibration_error
from cutaway.outputs.calibration import reliability as reliability

__all__ = [
    "Predictions",
    "Reliability",
    "debiased_calibration_error",
    "expected_calibration_error",
    "predictions",
    "reliability",
]
