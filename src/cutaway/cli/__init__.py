"""The command line: `cutaway COMMAND ...`, one file a command, each imported only when it is called.

A command is its file `cli/NAME.py`, whose first sentence is its line in `cutaway --help`. It defines `app`, a
`cyclopts.App` made by `cutaway.cli.command.new_app`. Its functions return an `Outcome`: the payload that `--json`
prints (one object on standard output, nothing else there) and the words printed otherwise. Errors on purpose
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
        print(help_text())
        return 0
    if arguments[0] in ("-V", "--version"):
        from cutaway import __version__

        print(f"cutaway {__version__}")
        return 0
    if arguments[0] not in (known := commands()):
        import difflib

        near = difflib.get_close_matches(arguments[0], known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else " See `cutaway --help`."
        print(f"cutaway: unknown command {arguments[0]!r}.{hint}", file=sys.stderr)
        return 2
    from cutaway.cli.command import execute

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch loads: threads that wait give their core away
    return execute(arguments[0], arguments[1:])


def commands() -> dict[str, str]:
    """Name of each command -> what it does, by the first sentence of its file, which begins with its name; a file that
    begins otherwise is no command. Nothing is imported."""
    found = {}
    for path in sorted(path for folder in __path__ for path in Path(folder).glob("[!_]*.py")):
        with open(path, encoding="utf-8") as file:
            told = _HEAD.match(file.read(500))
        if told is not None and told[1] == path.stem:
            found[told[1]] = " ".join(told[2].split())
    return found


_HEAD = re.compile(r'"""`cutaway ([a-z]+)[^`]*`: ([^.;]+)')


def help_text() -> str:
    lines = ["cutaway opens a neural network up.", "", "usage: cutaway COMMAND [ARGUMENTS] [--json]", "", "commands:"]
    lines += [f"  {name:<12} {does}" for name, does in commands().items()]
    lines += [
        "",
        "`cutaway COMMAND --help` tells a command's options. --json prints one JSON object on standard output.",
    ]
    return "\n".join(lines)
