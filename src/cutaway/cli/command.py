"""What every command shares: options parsed by cyclopts, JSON or words, errors without a traceback."""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import pickle
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cyclopts
from cyclopts import Parameter

from cutaway.cli import commands, fail, show
from cutaway.errors import CutawayError, CutawayWarning
from cutaway.jsonable import clean


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command did: `payload` for `--json`, `words` for people, and the exit code."""

    payload: dict[str, Any]
    words: str = ""
    code: int = 0


def new_app(name: str, help: str | None = None) -> cyclopts.App:
    """An app that leaves errors and results to `execute`; its help is the docstring of its function."""
    return cyclopts.App(
        name=f"cutaway {name}",
        help=help,
        version_flags=[],
        result_action="return_value",
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative_iterable=()),
    )


def new_group(name: str, help: str, package: str, folders: Sequence[str]) -> cyclopts.App:
    """An app whose commands are the files in the `folders` of `package`."""
    group = new_app(name, help)
    for each in commands(folders, f"{name} "):
        group.command(importlib.import_module(f"{package}.{each.replace('-', '_')}").app, name=each)
    return group


_BAD_PATH = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EROFS, errno.ENAMETOOLONG}
)


def _file_trouble(error: OSError) -> str:
    where = f"file {error.filename!r}; " if error.filename else ""
    remedy = "Check the path, its permissions and the free space."
    return f"{where}found {error.strerror or error}; expected one that can be read or written. {remedy}"


@contextlib.contextmanager
def quiet(as_json: bool) -> Iterator[None]:
    """Warnings of ours without the line of code they come from; with `--json`, what the user's code prints goes to
    standard error."""
    usual = warnings.formatwarning

    def told(message, category, *place, **more) -> str:
        ours = issubclass(category, CutawayWarning)
        return f"warning: {message}\n" if ours else usual(message, category, *place, **more)

    warnings.formatwarning = told
    try:
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*", FutureWarning)  # torch on its own exports
            yield
    finally:
        warnings.formatwarning = usual


def execute(name: str, arguments: list[str]) -> int:
    """Parse, run and print one command; returns the exit code."""
    as_json = "--json" in arguments
    arguments = [a for a in arguments if a != "--json"]
    app = importlib.import_module(f"cutaway.cli.{name.replace('-', '_')}").app
    try:
        with quiet(as_json):
            outcome = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except cyclopts.CycloptsError as error:
        return fail(f"cutaway {name}: {error}", 2, as_json)
    except CutawayError as error:
        return fail(f"cutaway {name}: {error}", error.exit_code, as_json)
    except KeyboardInterrupt:
        how = "; go on with --resume" if name in ("scan", "fit") else ""
        return fail(f"cutaway {name}: stopped; what was finished is kept{how}", 130, as_json)
    except OSError as error:
        return fail(f"cutaway {name}: {_file_trouble(error)}", 2 if error.errno in _BAD_PATH else 1, as_json)
    except pickle.PicklingError as error:
        told = f"the model; found {error}; expected one that can be sent to worker processes. Use --engine inline."
        return fail(f"cutaway {name}: {told}", 2, as_json)
    except MemoryError:
        return fail(f"cutaway {name}: out of memory; give a smaller --budget or --num", 1, as_json)
    except Exception as error:
        traceback.print_exc()
        return fail(f"cutaway {name}: the work failed: {type(error).__name__}: {error}", 1, as_json)
    if not isinstance(outcome, Outcome):  # --help, or no command of a group: cyclopts has printed what there is
        asked = any(flag in arguments for flag in ("--help", "-h"))
        return (
            0 if asked else fail(f"cutaway {name}: a command of it is needed; see `cutaway {name} --help`", 2, as_json)
        )
    show(json.dumps(clean(outcome.payload), allow_nan=False) if as_json else outcome.words)
    return outcome.code
