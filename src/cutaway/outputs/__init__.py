"""What a network answers: calibration."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "answers": "Predictions predictions",
        "calibration": "Reliability debiased_calibration_error expected_calibration_error reliability",
    },
)
