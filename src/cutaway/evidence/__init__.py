"""Nulls, intervals and the control of many tests at once."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "comparison": "comparison_bound rounds_within",
        "decision": "Decision decide",
        "holdout": "Answer Holdout guaranteed_questions thresholdout",
        "information": "rajski_distance",
        "looks": "LookLog",
        "multiplicity": "q_values",
        "memorised": "memorise",
        "null": "MatchedSpectrum MemorisedLabels NULLS Null PermutedLabels Reinitialised replicates",
        "trend": "trend_stop",
        "cutaway.reading.intervals": "bootstrap_interval mean_interval median_interval proportion_interval",
        "cutaway.reading.rank": "p_value undecided",
    },
)
