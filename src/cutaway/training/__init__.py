"""Training: watching it, bringing robustness forward, knowing when to stop, and a small honest trainer.

| question | names |
|---|---|
| watch a training | `Tracker`, `EveryN`, `LogSpaced`, `TimeBudget`, `When`, `AnyOf`; callbacks in `adapters` |
| which rows matter | `RowWatch`; `prune`, `recall_quotas` in `cutaway.outputs` |
| read what it saw | `open_training`, `TrainingRun`, `tell`, `detect_phases`, `onset`, `plateau` |
| when to stop | `GeometryStop`, `ValidationStop`, `TrendStop`, `Watch` |
| loss terms | `MaximumMargin`, `BoundaryDensity`, `JacobianNorm`, `InputGradient`, `LinearMargin`; `certified_radius` |
| for the group that is worst off | `GroupPrior` (a loss term), `retrained_last_layer` |
| adversarial training | `Ascent` (PGD), `fast`, `Free`, `Trades`, `Mixed` |
| probabilities of random outcomes | `calibrated_phase` (CaPE), after early stopping |
| tune by comparisons alone | `ComparisonTuner`; `comparison_bound` in `cutaway.evidence` |
| train | `TrainingSettings`, `Term`, `train`; from a recipe: `from cutaway.training.fit import fit` |

Names are imported on first use.
"""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "adversarial": "Ascent Free Mixed Trades fast",
        "cape": "CalibratedPhase bin_targets calibrated_phase kernel_targets",
        "comparison_tuner": "ComparisonTuner Tuned scaled_channels",
        "group_prior": "GroupPrior balanced_rows group_cells last_layer retrained_last_layer",
        "loop": "TrainingSettings Term Trained train",
        "margins": "MaximumMargin certified_radius",
        "phases": "Onset Phase Phases detect_phases half_rise onset plateau",
        "regularisers": "BoundaryDensity InputGradient JacobianNorm LinearMargin",
        "row_watch": "RowWatch",
        "schedule": "AnyOf EveryN LogSpaced Moment Schedule TimeBudget When",
        "steepest": "SteepestDescent",
        "stopping": "GeometryStop TrendStop ValidationStop Watch regret stop_step",
        "store": "Series TrainingRun open_training",
        "story": "Story tell",
        "tracker": "Tracker",
    },
)
