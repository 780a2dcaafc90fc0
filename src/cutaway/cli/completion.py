"""`cutaway completion SHELL`: a script with which a shell completes commands and options."""

from __future__ import annotations

import importlib
from typing import Literal

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
        whole.command(importlib.import_module(f"cutaway.cli.{name.replace('-', '_')}").app, name=name)
    if not install:
        script = whole.generate_completion(shell=shell)
        return Outcome(payload={"shell": shell, "script": script}, words=script)
    path = whole.install_completion(shell=shell)
    words = f"{path}: written; it holds from the next {shell} on"
    return Outcome(payload={"shell": shell, "path": str(path)}, words=words)
