"""Finding instruments: ours and other packages' alike, through the entry-point group `cutaway.instruments`."""

from __future__ import annotations

import difflib
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from cutaway.errors import InputError

if TYPE_CHECKING:
    import altair

    from cutaway.instrument import Instrument
    from cutaway.reading import Reading

GROUP = "cutaway.instruments"


@cache
def names() -> tuple[str, ...]:
    """Names of all registered instruments, sorted, without importing them."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


@cache
def instrument(name: str) -> type[Instrument]:
    """The class of the instrument called `name`; `InputError` with the nearest name for an unknown one."""
    for point in entry_points(group=GROUP):
        if point.name == name:
            return point.load()
    near = difflib.get_close_matches(name, names(), n=1)
    raise InputError(
        f"instrument {name!r}",
        found="no such instrument",
        expected="one of " + ", ".join(names()),
        remedy=f"did you mean {near[0]!r}?" if near else "see `cutaway instruments`",
    )


def draw(reading: Reading) -> altair.TopLevelMixin:
    """The picture of a reading by its instrument, or the plain one where that is not installed."""
    from cutaway.reading.charts import figures_chart

    if reading.instrument not in names():
        return figures_chart(reading)
    kind = instrument(reading.instrument)
    return kind(**reading.provenance.parameters).draw(reading) if reading.figures else figures_chart(reading)
