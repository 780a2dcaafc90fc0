"""Training: watching it, bringing robustness forward, and a small honest trainer.

`Tracker` measures instruments while a network trains and never changes the training; `regularisers` and `adversarial`
are plain functions for any loop; `fit` trains from a recipe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cutaway.training.phases import Phases, detect_phases
    from cutaway.training.schedule import AnyOf, EveryN, LogSpaced, Schedule, TimeBudget, When
    from cutaway.training.store import TrainingRun, open_training
    from cutaway.training.tracker import Tracker

_HOME = {
    "Tracker": "tracker",
    "EveryN": "schedule",
    "LogSpaced": "schedule",
    "TimeBudget": "schedule",
    "When": "schedule",
    "AnyOf": "schedule",
    "Schedule": "schedule",
    "TrainingRun": "store",
    "open_training": "store",
    "detect_phases": "phases",
    "Phases": "phases",
}

__all__ = [
    "AnyOf",
    "EveryN",
    "LogSpaced",
    "Phases",
    "Schedule",
    "TimeBudget",
    "Tracker",
    "TrainingRun",
    "When",
    "detect_phases",
    "open_training",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _HOME:
        return getattr(import_module(f"cutaway.training.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
