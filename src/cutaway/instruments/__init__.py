"""One file a question: parameters, measurement, picture and words. A file's name is its instrument's, `_` for `-`.

    from cutaway.instruments import Accuracy, LocalComplexity

A class is imported when it is first asked for; its name is its file's in capitals.
"""

from __future__ import annotations

import re
from typing import Any


def __getattr__(name: str) -> Any:
    from cutaway import registry

    if (word := _word(name)) in registry.homes():
        return registry.instrument(word)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    from cutaway import registry

    return ["".join(part.capitalize() for part in word.split("-")) for word in registry.homes()]


def _word(name: str) -> str:
    """`LocalComplexity` -> `local-complexity`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
