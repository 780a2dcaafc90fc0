"""The command line: `cutaway COMMAND ...`, one file a command, each imported only when it is called.

A command's file `cli/NAME.py` defines `app`, a `cyclopts.App` made by `cutaway.cli.command.new_app`. Its functions
return an `Outcome`: the payload that `--json` prints (one object on standard output, nothing else there) and the
words printed otherwise. Errors on purpose (`CutawayError`) print their message and exit with their code: 2 for bad
input, 1 for failed work. Progress goes to standard error.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

COMMANDS: dict[str, str] = {
    "scan": "look into a network with every instrument that applies, with nulls, and write a report",
    "measure": "one instrument on one network",
    "instruments": "list the instruments, or tell all of one: question, cost, settings, an example",
    "compare": "two runs side by side",
    "report": "write a run's report again",
    "slice": "the exact affine pieces on a plane through inputs",
    "certify": "prove or refute a property, with a witness",
    "fit": "train a network from a recipe, tracked",
    "track": "follow a tracked training run",
    "guard": "guardrails on language models: fit, score, evaluate, certify, serve",
    "theory": "two-layer networks: exponents, overlap equations, simulations",
    "reproduce": "run a published result and compare",
}


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
    if arguments[0] not in available():
        import difflib

        near = difflib.get_close_matches(arguments[0], available(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else " See `cutaway --help`."
        print(f"cutaway: unknown command {arguments[0]!r}.{hint}", file=sys.stderr)
        return 2
    from cutaway.cli.command import execute

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch loads: threads that wait give their core away
    return execute(arguments[0], arguments[1:])


def available() -> list[str]:
    """The commands whose file is there."""
    from importlib.util import find_spec

    return [name for name in COMMANDS if find_spec(f"cutaway.cli.{name}") is not None]


def help_text() -> str:
    lines = ["cutaway opens a neural network up.", "", "usage: cutaway COMMAND [ARGUMENTS] [--json]", "", "commands:"]
    lines += [f"  {name:<12} {COMMANDS[name]}" for name in available()]
    lines += [
        "",
        "`cutaway COMMAND --help` tells a command's options. --json prints one JSON object on standard output.",
    ]
    return "\n".join(lines)
