"""Finding instruments: ours by walking `cutaway/instruments/`, other packages' through the entry-point group
`cutaway.instruments`.

A file of ours is named as its instrument (`local_complexity.py` for `local-complexity`), so that listing imports
nothing; an instrument is imported by name when it is asked for. Where another package uses one of our names, ours
stands.
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import altair

    from cutaway.instrument import Instrument
    from cutaway.reading import Reading

GROUP = "cutaway.instruments"


@cache
def homes() -> dict[str, str]:
    """Name of each of our instruments -> its module, by the files of the package `cutaway.instruments`."""
    found = {}
    for folder in map(Path, importlib.import_module("cutaway.instruments").__path__):
        for path in sorted(folder.glob("*/[!_]*.py")):
            found[path.stem.replace("_", "-")] = f"cutaway.instruments.{path.parent.name}.{path.stem}"
    return found


@cache
def _foreign() -> dict[str, EntryPoint]:
    points = [point for point in entry_points(group=GROUP) if point.dist is None or point.dist.name != "cutaway"]
    return {point.name: point for point in points if point.name not in homes()}


@cache
def names() -> tuple[str, ...]:
    """Names of all instruments, sorted, without importing them."""
    return tuple(sorted({*homes(), *_foreign()}))


@cache
def instrument(name: str) -> type[Instrument]:
    """The class of the instrument called `name`; `InputError` with the nearest name for an unknown one."""
    if name in homes():
        return _class_in(homes()[name], name)
    if name in _foreign():
        return _foreign()[name].load()
    raise InputError(
        f"instrument {name!r}",
        found="no such instrument",
        expected="one of " + ", ".join(names()),
        remedy=did_you_mean(name, names(), "see `cutaway instruments`"),
    )


def _class_in(module: str, name: str) -> type[Instrument]:
    """The class in `module` whose instrument's name is `name`."""
    for kind in vars(importlib.import_module(module)).values():
        if isinstance(kind, type) and getattr(kind, "name", None) == name:
            return kind
    raise InputError(
        f"instrument {name!r}",
        found=f"no class of that name in {module}",
        expected=f"a subclass of Instrument with name = {name!r}",
        remedy="name the file as the instrument, with _ for -",
    )


def draw(reading: Reading) -> altair.TopLevelMixin:
    """The picture of a reading by its instrument, or the plain one where that is not installed."""
    from cutaway.pictures.charts import figures_chart

    if reading.instrument not in names():
        return figures_chart(reading)
    kind = instrument(reading.instrument)
    return kind(**reading.provenance.parameters).draw(reading) if reading.figures else figures_chart(reading)
