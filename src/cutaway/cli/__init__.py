"""The command line: `cutaway COMMAND ...`, one file a command, each imported only when it is called.

A command is its file `cli/NAME.py`, whose first sentence is its line in `cutaway --help`; a command of a group is its
file `cli/GROUP/NAME.py`. It defines `app`, a `cyclopts.App` made by `cutaway.cli.command.new_app`, whose function
returns an `Outcome`: the payload that `--json` prints (one object on standard output, nothing else there) and the words
printed otherwise. Errors on purpose
(`CutawayError`) print their message and exit with their code: 2 for bad input, 1 for failed work.
Progress goes to standard error.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

called = time.monotonic()
"""When the command line was called last: time limits count from there."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script; exits with the command's code."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code: 0 done, 1 the work failed, 2 bad input."""
    global called
    called = time.monotonic()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        show(help_text())
        return 0
    if arguments[0] in ("-V", "--version"):
        from cutaway import __version__

        print(f"cutaway {__version__}")
        return 0
    if arguments[0] not in (known := commands()):
        from cutaway.errors import InputError, did_you_mean

        remedy = did_you_mean(arguments[0], known, "see `cutaway --help`")
        error = InputError(f"unknown command {arguments[0]!r}", expected=", ".join(known), remedy=remedy)
        return fail(f"cutaway: {error}", 2, "--json" in arguments)
    from cutaway.cli.command import execute

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch loads: threads that wait give their core away
    return execute(arguments[0], arguments[1:])


def commands(folders: Sequence[str] | None = None, group: str = "") -> dict[str, str]:
    """Name of each command (of a `group` in `folders`) -> what it does, by the first sentence of its file, which begins
    with its name; a file that begins otherwise is no command, a folder is a group. Nothing is imported."""
    found = {}
    for folder in map(Path, __path__ if folders is None else folders):
        for path in (*folder.glob("[!_]*.py"), *folder.glob("[!_]*/__init__.py")):
            name = (path.stem if path.stem != "__init__" else path.parent.name).replace("_", "-")
            with open(path, encoding="utf-8") as file:
                told = re.match(rf'"""`cutaway {group}{name}(?: [^`]*)?`: ([^.;]+)', file.read(500))
            if told is not None:
                found[name] = " ".join(told[1].split())
    return dict(sorted(found.items()))


def show(text: str) -> None:
    """Print, to a reader who may have closed the pipe, as `head` does."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def fail(message: str, code: int, as_json: bool) -> int:
    """Say what went wrong, in words and, where asked, in JSON; returns the exit code."""
    print(message, file=sys.stderr)
    if as_json:
        import json

        show(json.dumps({"error": message, "code": code}))
    return code


def help_text() -> str:
    """What `cutaway --help` prints."""
    lines = ["cutaway opens a neural network up.", "", "usage: cutaway COMMAND [ARGUMENTS] [--json]", "", "commands:"]
    lines += [f"  {name:<12} {does}" for name, does in commands().items()]
    lines += [
        "",
        "`cutaway COMMAND --help` tells a command's options. --json prints one JSON object on standard output.",
    ]
    return "\n".join(lines)
