"""Finding reproductions by the names of their files."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from cutaway.errors import InputError, did_you_mean

_NOT_ONE = {"row"}


def _folders() -> list[str]:
    """Where the package's files are."""
    return list(importlib.import_module("cutaway.reproductions").__path__)


def reproduction_names() -> tuple[str, ...]:
    """Names of all reproductions."""
    found = (info.name for info in pkgutil.iter_modules(_folders()) if not info.name.startswith("_"))
    return tuple(sorted(name.replace("_", "-") for name in found if name not in _NOT_ONE))


def get(name: str) -> ModuleType:
    """The module of a reproduction; `InputError` with the nearest name for an unknown one."""
    if name not in reproduction_names():
        raise InputError(
            f"reproduction {name!r}",
            found="no such reproduction",
            expected="one of " + ", ".join(reproduction_names()),
            remedy=did_you_mean(name, reproduction_names(), "see `cutaway reproduce --list`"),
        )
    return importlib.import_module(f"cutaway.reproductions.{name.replace('-', '_')}")


def references(name: str) -> list[str]:
    """Kinds of reference that rows of a reproduction name in its source (see `row.REFERENCES`); nothing is run."""
    from cutaway.reproductions.row import REFERENCES

    file = f"{name.replace('-', '_')}.py"
    home = next(path for folder in _folders() if (path := Path(folder) / file).is_file())
    tree = ast.parse(home.read_text())
    rows = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") in ("Row", "_row")]
    named = {
        constant.value
        for row in rows
        for keyword in row.keywords
        if keyword.arg == "reference"
        for constant in ast.walk(keyword.value)
        if isinstance(constant, ast.Constant)
    }
    plain = any(all(k.arg != "reference" for k in row.keywords) for row in rows if getattr(row.func, "id", "") == "Row")
    return [kind for kind in REFERENCES if kind in named or (kind == "own" and plain)]
