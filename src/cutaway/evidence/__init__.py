"""Nulls, intervals and the control of many tests at once."""

from cutaway.evidence.decision import Decision, decide
from cutaway.evidence.multiplicity import q_values
from cutaway.evidence.null import NULLS, MatchedSpectrum, Null, PermutedLabels, Reinitialised, replicates
from cutaway.reading.intervals import bootstrap_interval, mean_interval, median_interval, proportion_interval
from cutaway.reading.rank import p_value, undecided

__all__ = [
    "NULLS",
    "Decision",
    "MatchedSpectrum",
    "Null",
    "PermutedLabels",
    "Reinitialised",
    "bootstrap_interval",
    "decide",
    "mean_interval",
    "median_interval",
    "p_value",
    "proportion_interval",
    "q_values",
    "replicates",
    "undecided",
]
