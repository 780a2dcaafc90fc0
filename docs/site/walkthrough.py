"""Pages with commands that are run: a block ```` ```console run ```` becomes the commands with what they print.

All such blocks of a page run one after the other in one empty folder, into which the files that the page shows
(```` ```python nets.py ````) are written first. What a page tells of a command is therefore what this version does.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from kept import ROOT, kept

BLOCK = re.compile(r"^```console run\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^```(?:python|toml) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """The commands of a page, in order; a line that ends with a backslash goes on."""
    lines = "".join(BLOCK.findall(text)).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ").strip() for line in lines if line.strip()]


def files(text: str) -> dict[str, str]:
    """The files that a page shows, by name."""
    return dict(FILE.findall(text))


def outputs(text: str, name: str) -> list[str]:
    """What each command of the page `name` prints; one that fails ends it, with what it said."""
    if not commands(text):
        return []
    asked = json.dumps([commands(text), files(text)])
    found = kept(f"commands-{name}", asked, lambda path: _run(text, path), suffix=".json")
    return json.loads(found.read_text(encoding="utf-8"))


def _run(text: str, target: Path) -> None:
    found = []
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT / "src"),
        "NO_COLOR": "1",
        "COLUMNS": "110",
    }
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files(text).items():
            (Path(folder) / name).write_text(content, encoding="utf-8")
        for command in commands(text):
            done = subprocess.run(
                command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"{command}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
            found.append(done.stdout.replace(folder + os.sep, ""))
    target.write_text(json.dumps(found), encoding="utf-8")


def told(text: str, name: str, *, draft: bool = False) -> str:
    """The page as Sphinx reads it."""
    printed = iter([] if draft else outputs(text, name))

    def block(match: re.Match[str]) -> str:
        lines = []
        for command in commands(match[0]):
            lines += [f"$ {command}", *next(printed, "").rstrip().splitlines()]
        return "```console\n" + "\n".join(lines) + "\n```"

    def file(match: re.Match[str]) -> str:
        kind = "toml" if match[1].endswith(".toml") else "python"
        return f"```{{code-block}} {kind}\n:caption: {match[1]}\n\n{match[2]}```"

    return FILE.sub(file, BLOCK.sub(block, text))
