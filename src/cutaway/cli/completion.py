"""`cutaway completion SHELL`: a script with which a shell completes commands, options, and the names that a command
takes (instruments, reproductions), as they are when it is written.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

import cyclopts

from cutaway.cli import commands
from cutaway.cli.command import Outcome, new_app

app = new_app("completion")


@app.default
def completion(shell: Literal["bash", "zsh", "fish"], *, install: bool = False) -> Outcome:
    """Print the script with which SHELL completes commands, options and their values; or install it.

    For this session alone: `source <(cutaway completion bash)`.

    Parameters
    ----------
    shell
        Where you type.
    install
        Write the script where SHELL looks for it, and a line into its start-up file where it needs one.
    """
    whole = cyclopts.App(name="cutaway", version_flags=[])
    for name in commands():
        app_of = importlib.import_module(f"cutaway.cli.{name.replace('-', '_')}").app
        whole.command(_offering(app_of.default_command, found) if (found := _names(name)) else app_of, name=name)
    if not install:
        script = whole.generate_completion(shell=shell)
        return Outcome(payload={"shell": shell, "script": script}, words=script)
    path = whole.install_completion(shell=shell)
    words = f"{path}: written; it holds from the next {shell} on"
    return Outcome(payload={"shell": shell, "path": str(path)}, words=words)


def _names(command: str) -> Sequence[str]:
    """What the first argument of a command may be, where that is one of a list."""
    from cutaway import registry, reproductions

    known = {"measure": registry.names, "instruments": registry.names, "reproduce": reproductions.reproduction_names}
    return known[command]() if command in known else ()


def _offering(function: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """The same command to look at, its first argument one of `names`."""
    signature = inspect.signature(function, eval_str=True)
    first, *rest = signature.parameters.values()
    default = inspect.Parameter.empty if first.default is inspect.Parameter.empty else names[0]
    first = first.replace(annotation=Literal[tuple(names)], default=default)  # type: ignore[valid-type]

    @functools.wraps(function)
    def shown(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    del shown.__wrapped__
    shown.__signature__ = signature.replace(parameters=[first, *rest])  # type: ignore[attr-defined]
    shown.__annotations__ = {p.name: p.annotation for p in (first, *rest)}
    return shown
