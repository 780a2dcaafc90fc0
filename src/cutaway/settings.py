"""What the settings of an instrument may be: every field declares its range and meaning, and one check reads them.

    radius: float = field(default=0.1, metadata=at_least(0, "size of the attack, in the data's units"))

The type comes from the default, the range from the metadata; `Instrument.check` calls `check_settings` before it
measures, and `cutaway instruments NAME` prints `described`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cutaway.errors import InputError, did_you_mean

_KEY = "cutaway.settings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The values that a setting may take: numbers from `low` on (more than it if `open`) and below `below`, or one of
    `choices` where there are any. `meaning`: what the setting is, with its unit."""

    meaning: str = ""
    low: float = -math.inf
    open: bool = False
    below: float = math.inf
    choices: tuple[Any, ...] = ()

    def holds(self, value: Any) -> bool:
        """Whether `value`, of the right type already, lies inside; of several values each."""
        if isinstance(value, tuple):
            return all(map(self.holds, value))
        if self.choices:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        return value < self.below and (value > self.low if self.open else value >= self.low)

    def __str__(self) -> str:
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        low = "" if self.low == -math.inf else f"{'above' if self.open else 'at least'} {self.low:g}"
        return ", ".join(filter(None, (low, "" if self.below == math.inf else f"below {self.below:g}")))


def at_least(low: float, meaning: str = "") -> Mapping[str, Range]:
    """Metadata of a field whose value is `low` or more."""
    return {_KEY: Range(low=low, meaning=meaning)}


def above(low: float, meaning: str = "") -> Mapping[str, Range]:
    """Metadata of a field whose value is more than `low`."""
    return {_KEY: Range(low=low, open=True, meaning=meaning)}


def between(low: float, below: float, meaning: str = "") -> Mapping[str, Range]:
    """Metadata of a field whose value is `low` or more and below `below`."""
    return {_KEY: Range(low=low, below=below, meaning=meaning)}


def share(meaning: str = "") -> Mapping[str, Range]:
    """Metadata of a field whose value is more than 0 and below 1."""
    return {_KEY: Range(low=0, open=True, below=1, meaning=meaning)}


def one_of(choices: tuple[Any, ...], meaning: str = "") -> Mapping[str, Range]:
    """Metadata of a field whose value is one of `choices`."""
    return {_KEY: Range(choices=choices, meaning=meaning)}


def means(meaning: str) -> Mapping[str, Range]:
    """Metadata of a field that may have any value of its type."""
    return {_KEY: Range(meaning=meaning)}


def range_of(setting: dataclasses.Field[Any]) -> Range:
    """What the field declares; anything of its type where it declares nothing."""
    return setting.metadata.get(_KEY, Range())


def check_settings(instrument: Any) -> None:
    """Raise `InputError` for a setting of another type than its default's, a number that is not finite, or a value
    outside the range that its field declares."""
    for setting in dataclasses.fields(instrument):
        value, allowed = getattr(instrument, setting.name), range_of(setting)
        if value is None and _may_be_none(setting):
            continue
        typed, kind = _typed(value, setting.default)
        if not (typed and allowed.holds(value)):
            raise InputError(
                f"setting {setting.name!r} of instrument {instrument.name!r}",
                found=repr(value),
                expected=", ".join(filter(None, ("" if allowed.choices else kind, str(allowed)))),
                remedy=_remedy(value, setting, allowed),
            )


def described(kind: type) -> list[dict[str, Any]]:
    """Every setting of an instrument's class: `name`, `type`, `default`, `range` in words and `meaning`."""
    rows = []
    for setting in dataclasses.fields(kind):
        allowed, usual = range_of(setting), setting.default
        plain = str(setting.type) if usual is None or usual is dataclasses.MISSING else type(usual).__name__
        rows.append(
            {
                "name": setting.name,
                "type": plain + (" or None" if _may_be_none(setting) and "None" not in plain else ""),
                "default": None if usual is dataclasses.MISSING else usual,
                "range": str(allowed) or _typed(None, usual)[1].replace("a ", "any ", 1),
                "meaning": allowed.meaning,
            }
        )
    return rows


def _may_be_none(setting: dataclasses.Field[Any]) -> bool:
    return setting.default is None or "None" in str(setting.type)


def _typed(value: Any, usual: Any) -> tuple[bool, str]:
    """Whether `value` is of the type of the default `usual`, and that type in words."""
    if isinstance(usual, tuple):
        one = _typed(None, usual[0])[1]
        given = isinstance(value, tuple) and all(_typed(v, usual[0])[0] for v in value)
        return given and len(value) > 0, f"several, each {one}"
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(usual, bool):
        return isinstance(value, bool), "True or False"
    if isinstance(usual, int):
        return whole, "a whole number"
    if isinstance(usual, float):
        return whole or (isinstance(value, float) and math.isfinite(value)), "a finite number"
    if isinstance(usual, str):
        return isinstance(value, str), "text"
    return True, ""


def _remedy(value: Any, setting: dataclasses.Field[Any], allowed: Range) -> str:
    usual = "" if setting.default is dataclasses.MISSING else f"its default is {setting.default!r}"
    return did_you_mean(str(value), map(str, allowed.choices), usual)
