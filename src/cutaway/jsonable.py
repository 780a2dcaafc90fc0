"""`clean`: any result as plain JSON, where NaN and infinities have no place; `plain`: numbers of other libraries."""

from __future__ import annotations

import math
from typing import Any


def plain(value: Any) -> Any:
    """A scalar of NumPy, or an array or tensor of no dimensions, as Python's own number; anything else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def clean(value: Any) -> Any:
    """`value` as plain JSON: NaN and infinities become null, arrays lists, numpy scalars numbers, paths and enums
    text."""
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [clean(v) for v in value]
    if hasattr(value, "tolist"):
        return clean(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return str(value)
