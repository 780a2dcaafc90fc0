"""From the names in a recipe to objects: loss terms, adversaries, instruments, schedules."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cutaway.errors import InputError, did_you_mean
from cutaway.robustness.attacks.units import warn_of_units
from cutaway.training.loop import Term

if TYPE_CHECKING:
    from cutaway.data import Dataset
    from cutaway.instrument import Instrument
    from cutaway.training.recipe import AdversaryPart, InstrumentPart, RegulariserPart, TrackerPart
    from cutaway.training.schedule import Schedule

REGULARISERS = (
    "mmr",
    "local-complexity-density",
    "jacobian",
    "gradient-norm",
    "linear-margin",
    "trades",
    "group-prior",
)
ADVERSARIES = ("pgd", "fast", "free")


def term(part: RegulariserPart, *, steps: int, data: Dataset) -> Term:
    """The loss term that a recipe names. Its radii and margins are in the data's units."""
    from cutaway.training import regularisers as rooms
    from cutaway.training.adversarial import Ascent, Trades
    from cutaway.training.group_prior import GroupPrior

    def balanced(radius: float = 0.0, batch_size: int = 64) -> GroupPrior:
        return GroupPrior(data=data, radius=radius, batch_size=batch_size)

    options = _tuples(part.options)
    makers: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[str, ...]]] = {
        "mmr": (rooms.MaximumMargin, lambda **o: rooms.over_training(rooms.MaximumMargin(**o), steps), ("step",)),
        "local-complexity-density": (rooms.BoundaryDensity, rooms.BoundaryDensity, ("generator",)),
        "jacobian": (rooms.JacobianNorm, rooms.JacobianNorm, ("generator",)),
        "gradient-norm": (rooms.InputGradient, rooms.InputGradient, ()),
        "linear-margin": (rooms.LinearMargin, rooms.LinearMargin, ()),
        "group-prior": (balanced, balanced, ("generator",)),
        "trades": (Ascent, lambda **o: Trades(inner=Ascent(**_with_range(data, o))), ("generator",)),
    }
    if part.name not in makers:
        raise _unknown("regulariser", part.name, REGULARISERS)
    fields, make, needs = makers[part.name]
    if part.name == "mmr" and "boundary_share" in options:  # a share that is told stays as it is
        make, needs = rooms.MaximumMargin, ()
    function = _made(f"regulariser {part.name!r}", fields, make, options)
    weight = rooms.ramp(part.weight, part.ramp) if part.ramp else part.weight
    return Term(weight=weight, function=function, name=part.name, needs=needs)


def adversary(part: AdversaryPart, *, data: Dataset) -> Any:
    """The adversary that a recipe names; its `radius` is in the data's units."""
    from cutaway.training import adversarial as rooms

    makers: dict[str, Callable[..., Any]] = {"pgd": rooms.Ascent, "fast": rooms.fast, "free": rooms.Free}
    if part.name not in makers:
        raise _unknown("adversary", part.name, ADVERSARIES)
    make = makers[part.name]
    found = _made(f"adversary {part.name!r}", make, make, _with_range(data, part.options))
    warn_of_units(f"adversary {part.name!r}", found.radius, found.norm, data)
    if part.share == 1.0:
        return found
    if part.name == "free":
        raise InputError(
            "adversary 'free'",
            found=f"share {part.share:g}",
            expected="1: it attacks whole batches",
            remedy="set share to 1, or take another adversary",
        )
    return rooms.Mixed(adversary=found, share=part.share)


def instruments(parts: list[InstrumentPart], data: Dataset) -> dict[str, Instrument]:
    """The instruments that a recipe names, by label; attacks have a radius that suits the data unless told."""
    from cutaway import registry

    found: dict[str, Instrument] = {}
    for part in parts:
        kind = registry.instrument(part.name)
        label = part.label or part.name
        if label in found:
            raise InputError(
                f"instrument {label!r}",
                found="it twice",
                expected='a label for each, label = "..."',
                remedy="give each its label",
            )
        options = _tuples(part.options)
        _check_fields(f"instrument {part.name!r}", [f.name for f in dataclasses.fields(kind)], options)
        found[label] = dataclasses.replace(kind.suited(data), **options)
    return found


def schedule(part: TrackerPart, steps: int) -> Schedule:
    """When the tracker measures."""
    from cutaway.training.schedule import EveryN, LogSpaced, TimeBudget

    if part.schedule == "every":
        return EveryN(part.every)
    spaced = LogSpaced(steps, part.points)
    return spaced if part.schedule == "log" else TimeBudget(part.share, of=spaced)


def _made(what: str, fields: Callable[..., Any], make: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """`make(**options)` with unknown and missing options told by name; `fields` is what the options belong to."""
    import inspect

    parameters = inspect.signature(fields).parameters
    _check_fields(what, list(parameters), options)
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in options:
            raise InputError(
                what, found=f"no {name!r}", expected=f"a value for {name!r}", remedy="add this key to the recipe"
            )
    return make(**options)


def _check_fields(what: str, known: list[str], options: Mapping[str, Any]) -> None:
    for key in options:
        if key not in known:
            raise InputError(
                f"setting {key!r} of {what}",
                found="no such setting",
                expected=", ".join(known),
                remedy=did_you_mean(key, known),
            )


def _unknown(what: str, name: str, known: tuple[str, ...]) -> InputError:
    return InputError(
        f"{what} {name!r}",
        found=f"no such {what}",
        expected=", ".join(known),
        remedy=did_you_mean(name, known),
    )


def _with_range(data: Dataset, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the data's range as `low` and `high`, unless these are told."""
    low, high = data.value_range or (None, None)
    return {"low": low, "high": high, **options}


def _tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    """TOML's lists as tuples, so that frozen settings stay hashable."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
