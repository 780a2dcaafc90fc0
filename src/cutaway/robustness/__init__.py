"""Attacks, sound bounds, verdicts, Lipschitz constants and patterns: how far a network's answers may be relied on.

The names below are what most users want; each is imported when it is first asked for. Two functions share their
module's name and are imported from there: `from cutaway.robustness.verify import verify` (a verdict on a question),
`from cutaway.robustness.certified_accuracy import certified_accuracy` (a whole data set).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from cutaway import _moved

if TYPE_CHECKING:
    from cutaway.robustness.attacks import (
        APGD,
        FGSM,
        PGD,
        Adversarial,
        Attack,
        Boundary,
        DeepFool,
        Noise,
        Square,
        make_attack,
    )
    from cutaway.robustness.bounds.alpha import AlphaSettings, optimised_rows
    from cutaway.robustness.bounds.intervals import Limits
    from cutaway.robustness.bounds.network import BoundNetwork, bound_network
    from cutaway.robustness.bounds.sweep import SweepSettings, bound_rows, bounds_of_many, sweep
    from cutaway.robustness.certified_accuracy import CertifiedAccuracy, margin_rows, radius_curve
    from cutaway.robustness.certified_training import CertifiedTrainingSettings, train_certified
    from cutaway.robustness.lipschitz import (
        LipschitzBounds,
        certified_radius,
        dense_weights,
        lipschitz_bounds,
        network_lipschitz,
    )
    from cutaway.robustness.lipschitz_groups import GroupedBounds, grouped_bounds
    from cutaway.robustness.patterns import Pattern, count_patterns, mine, verify_pattern
    from cutaway.robustness.query import Clause, Query, robustness_query
    from cutaway.robustness.regions import Intersection, Region, ball, box
    from cutaway.robustness.regions_linear import Ellipsoid, Hull, RotatedBox
    from cutaway.robustness.vnnlib import parse_vnnlib, read_vnnlib

__all__ = [
    "APGD",
    "Adversarial",
    "AlphaSettings",
    "Attack",
    "Boundary",
    "BoundNetwork",
    "CertifiedAccuracy",
    "CertifiedTrainingSettings",
    "Clause",
    "DeepFool",
    "Ellipsoid",
    "FGSM",
    "GroupedBounds",
    "Hull",
    "Intersection",
    "Limits",
    "LipschitzBounds",
    "Noise",
    "PGD",
    "Pattern",
    "Query",
    "Region",
    "RotatedBox",
    "Square",
    "SweepSettings",
    "ball",
    "bound_network",
    "bound_rows",
    "bounds_of_many",
    "box",
    "certified_radius",
    "count_patterns",
    "dense_weights",
    "grouped_bounds",
    "lipschitz_bounds",
    "make_attack",
    "margin_rows",
    "mine",
    "network_lipschitz",
    "optimised_rows",
    "parse_vnnlib",
    "radius_curve",
    "read_vnnlib",
    "robustness_query",
    "sweep",
    "train_certified",
    "verify_pattern",
]

_HOMES = {
    "attacks": "APGD FGSM PGD Adversarial Attack Boundary DeepFool Noise Square make_attack",
    "bounds.alpha": "AlphaSettings optimised_rows",
    "bounds.intervals": "Limits",
    "bounds.network": "BoundNetwork bound_network",
    "bounds.sweep": "SweepSettings bound_rows bounds_of_many sweep",
    "certified_accuracy": "CertifiedAccuracy margin_rows radius_curve",
    "certified_training": "CertifiedTrainingSettings train_certified",
    "lipschitz": "LipschitzBounds certified_radius dense_weights lipschitz_bounds network_lipschitz",
    "lipschitz_groups": "GroupedBounds grouped_bounds",
    "patterns": "Pattern count_patterns mine verify_pattern",
    "query": "Clause Query robustness_query",
    "regions": "Intersection Region ball box",
    "regions_linear": "Ellipsoid Hull RotatedBox",
    "vnnlib": "parse_vnnlib read_vnnlib",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str):
    if name not in _HOME:
        return _moved.moved_name(__name__, name)
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
