# Written by tools/write_stubs.py from __init__.py.

from cutaway.training.adversarial import Ascent as Ascent
from cutaway.training.adversarial import Free as Free
from cutaway.training.adversarial import Mixed as Mixed
from cutaway.training.adversarial import Trades as Trades
from cutaway.training.adversarial import fast as fast
from cutaway.training.cape import CalibratedPhase as CalibratedPhase
from cutaway.training.cape import bin_targets as bin_targets
from cutaway.training.cape import calibrated_phase as calibrated_phase
from cutaway.training.cape import kernel_targets as kernel_targets
from cutaway.training.comparison_tuner import ComparisonTuner as ComparisonTuner
from cutaway.training.comparison_tuner import Tuned as Tuned
from cutaway.training.comparison_tuner import scaled_channels as scaled_channels
from cutaway.training.group_prior import GroupPrior as GroupPrior
from cutaway.training.group_prior import balanced_rows as balanced_rows
from cutaway.training.group_prior import group_cells as group_cells
from cutaway.training.group_prior import last_layer as last_layer
from cutaway.training.group_prior import retrained_last_layer as retrained_last_layer
from cutaway.training.loop import Term as Term
from cutaway.training.loop import Trained as Trained
from cutaway.training.loop import TrainingSettings as TrainingSettings
from cutaway.training.loop import train as train
from cutaway.training.margins import MaximumMargin as MaximumMargin
from cutaway.training.margins import certified_radius as certified_radius
from cutaway.training.phases import Onset as Onset
from cutaway.training.phases import Phase as Phase
from cutaway.training.phases import Phases as Phases
from cutaway.training.phases import detect_phases as detect_phases
from cutaway.training.phases import half_rise as half_rise
from cutaway.training.phases import onset as onset
from cutaway.training.phases import plateau as plateau
from cutaway.training.regularisers import BoundaryDensity as BoundaryDensity
from cutaway.training.regularisers import InputGradient as InputGradient
from cutaway.training.regularisers import JacobianNorm as JacobianNorm
from cutaway.training.regularisers import LinearMargin as LinearMargin
from cutaway.training.row_watch import RowWatch as RowWatch
from cutaway.training.schedule import AnyOf as AnyOf
from cutaway.training.schedule import EveryN as EveryN
from cutaway.training.schedule import LogSpaced as LogSpaced
from cutaway.training.schedule import Moment as Moment
from cutaway.training.schedule import Schedule as Schedule
from cutaway.training.schedule import TimeBudget as TimeBudget
from cutaway.training.schedule import When as When
from cutaway.training.steepest import SteepestDescent as SteepestDescent
from cutaway.training.stopping import GeometryStop as GeometryStop
from cutaway.training.stopping import TrendStop as TrendStop
from cutaway.training.stopping import ValidationStop as ValidationStop
from cutaway.training.stopping import Watch as Watch
from cutaway.training.stopping import regret as regret
from cutaway.training.stopping import stop_step as stop_step
from cutaway.training.store import Series as Series
from cutaway.training.store import TrainingRun as TrainingRun
from cutaway.training.store import open_training as open_training
from cutaway.training.story import Story as Story
from cutaway.training.story import tell as tell
from cutaway.training.tracker import Tracker as Tracker

__all__ = [
    "AnyOf",
    "Ascent",
    "BoundaryDensity",
    "CalibratedPhase",
    "ComparisonTuner",
    "EveryN",
    "Free",
    "GeometryStop",
    "GroupPrior",
    "InputGradient",
    "JacobianNorm",
    "LinearMargin",
    "LogSpaced",
    "MaximumMargin",
    "Mixed",
    "Moment",
    "Onset",
    "Phase",
    "Phases",
    "RowWatch",
    "Schedule",
    "Series",
    "SteepestDescent",
    "Story",
    "Term",
    "TimeBudget",
    "Tracker",
    "Trades",
    "Trained",
    "TrainingRun",
    "TrainingSettings",
    "TrendStop",
    "Tuned",
    "ValidationStop",
    "Watch",
    "When",
    "balanced_rows",
    "bin_targets",
    "calibrated_phase",
    "certified_radius",
    "detect_phases",
    "fast",
    "group_cells",
    "half_rise",
    "kernel_targets",
    "last_layer",
    "onset",
    "open_training",
    "plateau",
    "regret",
    "retrained_last_layer",
    "scaled_channels",
    "stop_step",
    "tell",
    "train",
]
