"""The errors a user meets: one tree, one form of message.

Every message names the offender (file, layer, operator, row), what was found, what was expected and the next step.
The command line prints it without a traceback and exits with code 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class CutawayError(Exception):
    """Root of every error that Cutaway raises on purpose."""

    exit_code = 2

    def __init__(self, offender: str, *, found: str = "", expected: str = "", remedy: str = "") -> None:
        self.offender, self.found, self.expected, self.remedy = offender, found, expected, remedy
        super().__init__(_message(offender, found, expected, remedy))

    def __reduce__(self):  # keyword arguments survive pickling, so that worker processes can raise these
        return _rebuild, (type(self), self.offender, self.found, self.expected, self.remedy)


def _message(offender: str, found: str, expected: str, remedy: str) -> str:
    parts = [offender]
    if found:
        parts.append(f"found {found}")
    if expected:
        parts.append(f"expected {expected}")
    message = "; ".join(parts) + "."
    if remedy:
        message += f" {remedy[0].upper()}{remedy[1:].rstrip('.')}" + ("" if remedy.endswith("?") else ".")
    return message


def _rebuild(kind: type[CutawayError], offender: str, found: str, expected: str, remedy: str) -> CutawayError:
    return kind(offender, found=found, expected=expected, remedy=remedy)


def nearest_name(name: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """The known name that is most like `name`, whatever the case of its letters; None where none is like it.

    likeness: least ratio of difflib's matcher, 0 to 1.
    """
    import difflib

    by_form = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(name.casefold(), by_form, n=1, cutoff=likeness)
    return by_form[near[0]] if near else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "give one of these") -> str:
    """The remedy for a misspelt name: the nearest known one, else `otherwise`.

    >>> did_you_mean("mnits", ["digits", "mnist"]), did_you_mean("x", ["digits"])
    ("did you mean 'mnist'?", 'give one of these')
    """
    near = nearest_name(name, known)
    return f"did you mean {near!r}?" if near else otherwise


class InputError(CutawayError):
    """The user's data, option or argument is not usable."""


class ModelError(CutawayError):
    """The model cannot be read: bad weights, wrong mode, wrong input shape."""


class UnsupportedOperator(ModelError):
    """An operator that Cutaway does not know: which one, where, what to do."""


class NotPiecewiseAffine(ModelError):
    """A question about affine pieces was asked of a network that has none; names the site."""


class NoGradient(ModelError):
    """Gradients were asked of a network whose outputs have none with respect to its inputs."""


class FileError(CutawayError):
    """A file is missing, truncated, of another format, or refused (pickle)."""


class MissingExtra(CutawayError):
    """An optional dependency is not installed; the message says which extra to install."""

    @classmethod
    def of(cls, package: str, extra: str) -> MissingExtra:
        return cls(
            f"package {package!r} is not installed",
            expected=f"the extra {extra!r}",
            remedy=f"install it with: pip install 'cutaway[{extra}]'",
        )


class BudgetError(CutawayError):
    """The memory, time or region budget is too small for the work; says how far it got and how to go on."""


class ClaimError(CutawayError):
    """A result failed its own re-check (an adversarial example that is none, areas that do not add up)."""

    exit_code = 1


class WorkError(CutawayError):
    """The work itself failed (a job died more often than it may)."""

    exit_code = 1


class CutawayWarning(UserWarning):
    """What may be meant as it stands but probably is not; worded like the errors. Give it to `warnings.warn`."""

    def __init__(self, offender: str, *, found: str = "", expected: str = "", remedy: str = "") -> None:
        super().__init__(_message(offender, found, expected, remedy))


def failure(error: BaseException) -> str:
    """What an exception says in one line: our own message, else kind, first line and the place that raised it."""
    if isinstance(error, CutawayError):
        return str(error)
    first = (str(error).strip().splitlines() or [""])[0][:200]
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = "" if frame is None else f" ({Path(frame.tb_frame.f_code.co_filename).name}, line {frame.tb_lineno})"
    return f"{type(error).__name__}" + (f": {first}" if first else "") + where
