"""Neural LoFi: what a network would learn, one spectral step a layer (arXiv 2605.13612)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "LoFiClassifier": "estimators",
    "LoFiRegressor": "estimators",
    "LoFiTransformer": "estimators",
}

__all__ = ["LoFiClassifier", "LoFiRegressor", "LoFiTransformer"]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
