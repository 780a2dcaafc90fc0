"""Training: watching it, bringing robustness forward, knowing when to stop, and a small honest trainer.

| question | names |
|---|---|
| watch a training | `Tracker`, `EveryN`, `LogSpaced`, `TimeBudget`, `When`, `AnyOf`; callbacks in `adapters` |
| read what it saw | `open_training`, `TrainingRun`, `tell`, `detect_phases`, `onset`, `plateau` |
| when to stop | `GeometryStop`, `ValidationStop`, `Watch` |
| loss terms | `MaximumMargin`, `BoundaryDensity`, `JacobianNorm`, `InputGradient`, `LinearMargin`; `certified_radius` |
| adversarial training | `Ascent` (PGD), `fast`, `Free`, `Trades`, `Mixed` |
| train | `Settings`, `Term`, `train`; from a recipe: `from cutaway.training.fit import fit` |

Names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cutaway.training.adversarial import Ascent, Free, Mixed, Trades, fast
    from cutaway.training.loop import Settings, Term, Trained, train
    from cutaway.training.phases import Onset, Phase, Phases, detect_phases, half_rise, onset, plateau
    from cutaway.training.regularisers import (
        BoundaryDensity,
        InputGradient,
        JacobianNorm,
        LinearMargin,
        MaximumMargin,
        certified_radius,
    )
    from cutaway.training.schedule import AnyOf, EveryN, LogSpaced, Moment, Schedule, TimeBudget, When
    from cutaway.training.stopping import GeometryStop, ValidationStop, Watch, regret, stop_step
    from cutaway.training.store import Series, TrainingRun, open_training
    from cutaway.training.story import Story, tell
    from cutaway.training.tracker import Tracker

_HOMES = {
    "tracker": ("Tracker",),
    "schedule": ("AnyOf", "EveryN", "LogSpaced", "Moment", "Schedule", "TimeBudget", "When"),
    "store": ("Series", "TrainingRun", "open_training"),
    "story": ("Story", "tell"),
    "phases": ("Onset", "Phase", "Phases", "detect_phases", "half_rise", "onset", "plateau"),
    "stopping": ("GeometryStop", "ValidationStop", "Watch", "regret", "stop_step"),
    "regularisers": (
        "BoundaryDensity",
        "InputGradient",
        "JacobianNorm",
        "LinearMargin",
        "MaximumMargin",
        "certified_radius",
    ),
    "adversarial": ("Ascent", "Free", "Mixed", "Trades", "fast"),
    "loop": ("Settings", "Term", "Trained", "train"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AnyOf",
    "Ascent",
    "BoundaryDensity",
    "EveryN",
    "Free",
    "GeometryStop",
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
    "Schedule",
    "Series",
    "Settings",
    "Story",
    "Term",
    "TimeBudget",
    "Tracker",
    "Trades",
    "Trained",
    "TrainingRun",
    "ValidationStop",
    "Watch",
    "When",
    "certified_radius",
    "detect_phases",
    "fast",
    "half_rise",
    "onset",
    "open_training",
    "plateau",
    "regret",
    "stop_step",
    "tell",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
