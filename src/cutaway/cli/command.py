"""What every command shares: options parsed by cyclopts, JSON or words, errors without a traceback."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from dataclasses import dataclass, field
from typing import Any

import cyclopts

from cutaway.errors import CutawayError
from cutaway.jsonable import clean


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command did: `payload` for `--json`, `words` for people, and the exit code."""

    payload: dict[str, Any]
    words: str = ""
    code: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


def new_app(name: str, help: str) -> cyclopts.App:
    """An app that leaves errors and results to `execute`."""
    return cyclopts.App(
        name=f"cutaway {name}",
        help=help,
        version_flags=[],
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )


def execute(name: str, arguments: list[str]) -> int:
    """Parse, run and print one command; returns the exit code."""
    as_json = "--json" in arguments
    arguments = [a for a in arguments if a != "--json"]
    app = importlib.import_module(f"cutaway.cli.{name}").app
    try:
        outcome = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except cyclopts.CycloptsError as error:
        return _fail(f"cutaway {name}: {error}", 2, as_json)
    except CutawayError as error:
        return _fail(f"cutaway {name}: {error}", error.exit_code, as_json)
    except KeyboardInterrupt:
        return _fail(f"cutaway {name}: stopped; what was finished is kept", 130, as_json)
    except MemoryError:
        return _fail(f"cutaway {name}: out of memory; give a smaller --budget or --num", 1, as_json)
    except Exception as error:
        traceback.print_exc()
        return _fail(f"cutaway {name}: the work failed: {type(error).__name__}: {error}", 1, as_json)
    if not isinstance(outcome, Outcome):  # --help of the command itself
        return 0
    try:
        print(json.dumps(clean(outcome.payload), allow_nan=False) if as_json else outcome.words, flush=True)
    except BrokenPipeError:  # the reader closed the pipe, as `head` does
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    return outcome.code


def _fail(message: str, code: int, as_json: bool) -> int:
    print(message, file=sys.stderr)
    if as_json:
        print(json.dumps({"error": message, "code": code}))
    return code
