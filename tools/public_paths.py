"""The public paths of earlier commits, as Python users could import them: a module and its names on each line.

    python tools/public_paths.py COMMIT... > tests/old_public_paths.txt

Public is what could be imported without an underscore: every module and package, `module:name` of every function and
class defined at a module's top, and `package:name` of every name that a package's front lists. Left out are `cli`,
whose interface is the command line, and what a reproduction's file has beside `reproduce`, which the command line
calls. A commit's list is made from its own sources, and its fronts are imported in a process of their own.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from house_counts import earlier

LISTED = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
found = {}
for package in json.load(sys.stdin):
    found[package] = list(getattr(importlib.import_module(package), "__all__", ()))
print(json.dumps(found))
"""


def paths(source: Path) -> Iterator[str]:
    """Public paths of the package at `source`."""
    files = {".".join(("cutaway", *_parts(p, source))): p for p in sorted(source.rglob("*.py"))}
    public = {name: path for name, path in files.items() if is_public(name)}
    for module, path in public.items():
        yield module
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and is_public(f"{module}:{node.name}"):
                yield f"{module}:{node.name}"
    packages = [name for name, path in public.items() if path.name == "__init__.py"]
    environment = {**os.environ, "PYTHONPATH": str(source.parent)}
    told = subprocess.run(
        [sys.executable, "-c", LISTED], input=json.dumps(packages), env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    for package, names in json.loads(told.stdout).items():
        yield from (f"{package}:{name}" for name in names)


def _parts(path: Path, source: Path) -> tuple[str, ...]:
    parts = path.relative_to(source).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def is_public(path: str) -> bool:
    """Whether a path is one that a user could rely on (see above)."""
    module, _, name = path.partition(":")
    words = module.split(".")
    if any(word.startswith("_") for word in (*words, name)) or "cli" in words[1:2]:
        return False
    return not name or words[1:2] != ["reproductions"] or len(words) == 2 or name == "reproduce"


def main() -> None:
    """Print the paths of all commits together."""
    found: set[str] = set()
    for commit in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            found |= set(paths(earlier(commit, Path(folder)) / "src" / "cutaway"))
    by_module: dict[str, list[str]] = {}
    for path in sorted(found):
        module, _, name = path.partition(":")
        by_module.setdefault(module, []).extend([name] if name else [])
    for module, names in by_module.items():
        print(" ".join([module, *names]))


if __name__ == "__main__":
    main()
