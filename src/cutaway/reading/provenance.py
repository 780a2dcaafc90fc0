"""Where a reading comes from and what it cost: provenance, coverage, cost.

All three are plain frozen records that survive JSON unchanged, so that a reading's file tells its whole story.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cutaway.records import Skipped

REPORTED_PACKAGES = ("cutaway", "torch", "numpy", "scipy", "scikit-learn", "xarray")


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Sites and samples that were read, and those that were not."""

    sites: tuple[str, ...] = ()
    samples: int = 0
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds of wall time, passes through the network (in samples), growth of the peak resident memory in bytes."""

    seconds: float = 0.0
    forward_passes: int = 0
    backward_passes: int = 0
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """All that is needed to make the same reading again. `looks`: how often its rows had been looked at, this time
    included, where that is counted (0: it is not)."""

    instrument: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    model_fingerprint: str = ""
    data: str = ""
    data_fingerprint: str = ""
    seed: int = 0
    device: str = "cpu"
    dtype: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    time: str = ""
    looks: int = 0


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = {"python": platform.python_version()}
    for name in REPORTED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return tuple(found.items())


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide a reading's numbers, and Python's."""
    return dict(_versions())


def now() -> str:
    """UTC time, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
