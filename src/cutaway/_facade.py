"""The one shape of a room's front: its public names, where each lives, imported when it is first asked for.

    __all__, __getattr__, __dir__ = _facade.front(__name__, {"plane": "Plane plane_through"})

Beside each such `__init__.py` lies an `__init__.pyi` for type checkers and editors, written by `tools/write_stubs.py`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from cutaway import _moved

Front = tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]
"""A package's `__all__`, `__getattr__` and `__dir__`."""

homes: dict[str, dict[str, str]] = {}
"""Package -> public name -> the module that defines it, of every front that was made."""


def front(package: str, names: Mapping[str, str]) -> Front:
    """The front of `package`: `names` maps a module, by its path in the package or in full, to names in it.

    A name that has moved away is still found for one release, with a warning (`_moved`); any other raises
    `AttributeError`, as a module does.
    """
    home = {name: _full(package, module) for module, several in names.items() for name in several.split()}
    homes[package] = home

    def find(name: str) -> Any:
        if name in home:
            return getattr(importlib.import_module(home[name]), name)
        return _moved.moved_name(package, name)

    listed = sorted(home)
    return listed, find, listed.copy


def _full(package: str, module: str) -> str:
    return module if module.startswith("cutaway.") else f"{package}.{module}"
