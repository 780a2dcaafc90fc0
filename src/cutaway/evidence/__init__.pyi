# Written by tools/write_stubs.py from __init__.py.

from cutaway.evidence.comparison import comparison_bound as comparison_bound
from cutaway.evidence.comparison import rounds_within as rounds_within
from cutaway.evidence.decision import Decision as Decision
from cutaway.evidence.decision import decide as decide
from cutaway.evidence.holdout import Answer as Answer
from cutaway.evidence.holdout import Holdout as Holdout
from cutaway.evidence.holdout import guaranteed_questions as guaranteed_questions
from cutaway.evidence.holdout import thresholdout as thresholdout
from cutaway.evidence.information import rajski_distance as rajski_distance
from cutaway.evidence.looks import LookLog as LookLog
from cutaway.evidence.memorised import memorise as memorise
from cutaway.evidence.multiplicity import q_values as q_values
from cutaway.evidence.null import NULLS as NULLS
from cutaway.evidence.null import MatchedSpectrum as MatchedSpectrum
from cutaway.evidence.null import MemorisedLabels as MemorisedLabels
from cutaway.evidence.null import Null as Null
from cutaway.evidence.null import PermutedLabels as PermutedLabels
from cutaway.evidence.null import Reinitialised as Reinitialised
from cutaway.evidence.null import replicates as replicates
from cutaway.evidence.trend import trend_stop as trend_stop
from cutaway.reading.intervals import bootstrap_interval as bootstrap_interval
from cutaway.reading.intervals import mean_interval as mean_interval
from cutaway.reading.intervals import median_interval as median_interval
from cutaway.reading.intervals import proportion_interval as proportion_interval
from cutaway.reading.rank import p_value as p_value
from cutaway.reading.rank import undecided as undecided

__all__ = [
    "Answer",
    "Decision",
    "Holdout",
    "LookLog",
    "MatchedSpectrum",
    "MemorisedLabels",
    "NULLS",
    "Null",
    "PermutedLabels",
    "Reinitialised",
    "bootstrap_interval",
    "comparison_bound",
    "decide",
    "guaranteed_questions",
    "mean_interval",
    "median_interval",
    "memorise",
    "p_value",
    "proportion_interval",
    "q_values",
    "rajski_distance",
    "replicates",
    "rounds_within",
    "thresholdout",
    "trend_stop",
    "undecided",
]
