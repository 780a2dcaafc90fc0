"""Modules that have moved: the old path still imports for one release, and warns with the new one.

A finder at the end of `sys.meta_path` answers for the old names alone; nothing is imported until one is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "cutaway.run": "cutaway.running",
    "cutaway.compare": "cutaway.comparing",
    "cutaway.geometry.language": "cutaway.language.geometry",
    "cutaway.geometry.language_blocks": "cutaway.language.blocks",
    "cutaway.geometry.language_charts": "cutaway.language.charts",
    "cutaway.geometry.language_instrument": "cutaway.language.instruments",
    "cutaway.geometry.intrinsic_dimension": "cutaway.language.intrinsic_dimension",
}
"""Old path -> new path."""


class _Finder(MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, _Forward()) if fullname in MOVED else None


class _Forward(Loader):
    """A module that holds the names of the one it has become."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        warnings.warn(f"{old} is now {MOVED[old]}; the old path goes with the next release", DeprecationWarning, 6)
        new = importlib.import_module(MOVED[old])
        vars(module).update({name: value for name, value in vars(new).items() if not name.startswith("__")})
        module.__doc__ = new.__doc__


def install() -> None:
    """Answer for the old paths from now on; called once by `cutaway`."""
    sys.meta_path.append(_Finder())
