"""When a tracker measures: every n steps, at log-spaced steps, within a share of the time, or on a condition.

A schedule is asked once a step and answers `now`, `later` (as soon as it can be afforded) or `no`. Schedules that look
at nothing but the step are `by_step`: processes that train together then agree without talking.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from cutaway.errors import InputError

Answer = Literal["now", "later", "no"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What a schedule may look at.

    `step`: optimisation steps done. `scalars`: loss, learning rate and what else the loop told. `elapsed`: wall seconds
    since the tracker's first step, tracking included. `spent`: seconds of them spent on tracking. `cost`: seconds that
    the next measurement will take (the dearest of the last three; half the first for the second, as the first pays
    for imports and caches), None before the first. `waiting`: a measurement was put off and is still due.
    """

    step: int
    scalars: Mapping[str, float] = field(default_factory=dict)
    elapsed: float = 0.0
    spent: float = 0.0
    cost: float | None = None
    waiting: bool = False


class Schedule(ABC):
    """When to measure; combine with `|`."""

    @property
    def by_step(self) -> bool:
        """Whether it looks at the step alone, so that every process finds the same answer."""
        return True

    @abstractmethod
    def due(self, moment: Moment) -> Answer:
        """Whether to measure at this moment."""

    def __or__(self, other: Schedule) -> AnyOf:
        return AnyOf((self, other))


@dataclass(frozen=True)
class EveryN(Schedule):
    """At step 0 and every `n` steps. Raises `InputError` for an `n` below 1."""

    n: int

    def __post_init__(self) -> None:
        _positive("EveryN", "n", self.n)

    def due(self, moment: Moment) -> Answer:
        return "now" if moment.step % self.n == 0 else "no"


@dataclass(frozen=True)
class LogSpaced(Schedule):
    """At step 0 and at `points` steps evenly spaced in the logarithm from 1 to `last`, rounded, without repeats.

    Rounding merges the first ones: of 50 points up to 100,000, 42 are different steps.
    Raises `InputError` for numbers below 1.
    """

    last: int
    points: int = 50

    def __post_init__(self) -> None:
        _positive("LogSpaced", "last", self.last)
        _positive("LogSpaced", "points", self.points)

    @cached_property
    def steps(self) -> frozenset[int]:
        """The steps themselves, 0 among them."""
        if self.points == 1:
            return frozenset({0, self.last})
        ratio = math.log(self.last) / (self.points - 1)
        return frozenset({0} | {round(math.exp(ratio * i)) for i in range(self.points)})

    def due(self, moment: Moment) -> Answer:
        return "now" if moment.step in self.steps else "no"


@dataclass(frozen=True)
class TimeBudget(Schedule):
    """At the steps of `of` (every step by default), as far as tracking stays below `share` of the run's wall time.

    A measurement that cannot be afforded yet is put off until it can. The first one is taken at once, since its
    cost is not known before; a second comes when the share pays for the first and half of it again (at the earliest
    after 1.5 first costs / share seconds), and the share is kept from then on.
    Raises `InputError` for a share outside (0, 1).
    """

    share: float
    of: Schedule = field(default_factory=lambda: EveryN(1))

    @property
    def by_step(self) -> bool:
        return False

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise InputError(
                "TimeBudget share",
                found=str(self.share),
                expected="a share between 0 and 1, such as 0.05",
                remedy="give a share in this range",
            )

    def due(self, moment: Moment) -> Answer:
        if not moment.waiting and self.of.due(moment) == "no":
            return "no"
        if moment.cost is None:
            return "now"
        affordable = moment.spent + moment.cost <= self.share * (moment.elapsed + moment.cost)
        return "now" if affordable else "later"


@dataclass(frozen=True)
class When(Schedule):
    """At steps where `condition(moment)` is true, for instance `When(lambda m: m.scalars["loss"] < 0.1)`."""

    condition: Callable[[Moment], bool]

    @property
    def by_step(self) -> bool:
        return False

    def due(self, moment: Moment) -> Answer:
        return "now" if self.condition(moment) else "no"


@dataclass(frozen=True)
class AnyOf(Schedule):
    """When any of several schedules says so."""

    schedules: tuple[Schedule, ...]

    @property
    def by_step(self) -> bool:
        return all(s.by_step for s in self.schedules)

    def due(self, moment: Moment) -> Answer:
        answers = [s.due(moment) for s in self.schedules]
        return "now" if "now" in answers else "later" if "later" in answers else "no"


def _positive(what: str, name: str, value: int) -> None:
    if value < 1:
        raise InputError(
            f"{what}({name}={value})",
            found=str(value),
            expected="at least 1",
            remedy="give a whole number of at least 1",
        )
