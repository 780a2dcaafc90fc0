"""Modules and names that have moved: the old path still imports for one release, and warns with the new one.

All of it is in one table (`_moved_table`). A finder at the head of `sys.meta_path` looks at a name of a module that is
to be imported, no more: it answers for the old modules, and gives a module that stays, but some of whose names have
moved, a `__getattr__` that says where they are. The fronts of packages (`_facade`) ask here by themselves.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

from cutaway._moved_table import GONE, MOVED, NAMES

HOLDERS = {old.partition(":")[0] for old in (*NAMES, *GONE)}
"""Modules of which names have moved or gone."""
PACKAGES = {old.rpartition(".")[0] for old in MOVED}


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in MOVED:
            return importlib.util.spec_from_loader(fullname, _Forward(), is_package=fullname in PACKAGES)
        if fullname not in HOLDERS:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Telling(spec.loader.name, spec.loader.path)
        return spec


class _Telling(SourceFileLoader):
    """A module that stays: where it has no name, it says where that has gone."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        vars(module).setdefault("__getattr__", moved_names(module.__name__))


class _Forward(Loader):
    """A module that holds the names of the one it has become."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        warnings.warn(f"{old} is now {MOVED[old]}; the old path goes with the next release", DeprecationWarning, 2)
        new = importlib.import_module(MOVED[old])
        vars(module).update({name: value for name, value in vars(new).items() if not name.startswith("__")})
        module.__doc__ = new.__doc__
        vars(module)["__getattr__"] = moved_names(old, new)
        module.__class__ = _Called


class _Called(ModuleType):
    """An old module that hides a function of its name in the package (`guard.evaluate`): it is called as that one."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **kwargs)


def moved_name(module: str, name: str, heir: ModuleType | None = None) -> Any:
    """What `module.name` has become, with a warning; `AttributeError` for a name that never was there, or has no heir.

    heir: the module that `module` has become; what it has is found there.
    """
    path = f"{module}:{name}"
    if path in GONE:
        words = f"{module}.{name} is gone; {GONE[path]}"
        warnings.warn(words, DeprecationWarning, 3)
        raise AttributeError(words)
    found = NAMES.get(path)
    if found is None:
        if heir is not None and not name.startswith("__"):
            return getattr(heir, name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    home, _, new = found.partition(":")
    home = home or module
    told = f"{new} in {home}" if new else f"in {home}"
    warnings.warn(f"{name} is now {told}; {module}.{name} goes with the next release", DeprecationWarning, 3)
    return getattr(importlib.import_module(home), new or name)


def moved_names(module: str, heir: ModuleType | None = None) -> Callable[[str], Any]:
    """The `__getattr__` of a module some of whose names have moved."""
    return lambda name: moved_name(module, name, heir)


def install() -> None:
    """Answer for the old paths from now on; called once by `cutaway`."""
    sys.meta_path.insert(0, _Finder())
