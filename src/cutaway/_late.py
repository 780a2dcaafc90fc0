"""What a lower floor offers and a higher one does: attached by name from above, imported when first called.

`cutaway` (the top) attaches; `Reading.plot` and the like call.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

_HOMES: dict[str, str] = {}


def attach(name: str, home: str) -> None:
    """`home` ("module:function") does `name` from now on."""
    _HOMES[name] = home


def attached(name: str) -> Callable[..., Any]:
    """What does `name`; `KeyError` where nothing was attached."""
    module, _, function = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), function)
