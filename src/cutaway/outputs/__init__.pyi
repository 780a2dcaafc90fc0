# Written by tools/write_stubs.py from __init__.py.

from cutaway.outputs.answers import Predictions as Predictions
from cutaway.outputs.answers import predictions as predictions
from cutaway.outputs.calibration import Reliability as Reliability
from cutaway.outputs.calibration import debiased_calibration_error as debiased_calibration_error
from cutaway.outputs.calibration import expected_calibration_error as expected_calibration_error
from cutaway.outputs.calibration import reliability as reliability
from cutaway.outputs.groups import Cells as Cells
from cutaway.outputs.groups import Odds as Odds
from cutaway.outputs.groups import cells_of as cells_of
from cutaway.outputs.groups import equalised_odds as equalised_odds
from cutaway.outputs.groups import simultaneous_intervals as simultaneous_intervals
from cutaway.outputs.posterior import Ensemble as Ensemble
from cutaway.outputs.posterior import laplace_ensemble as laplace_ensemble
from cutaway.outputs.posterior import members_of as members_of

__all__ = [
    "Cells",
    "Ensemble",
    "Odds",
    "Predictions",
    "Reliability",
    "cells_of",
    "debiased_calibration_error",
    "equalised_odds",
    "expected_calibration_error",
    "laplace_ensemble",
    "members_of",
    "predictions",
    "reliability",
    "simultaneous_intervals",
]
