"""From a question about a network to a verdict: attack, bounds, branch and bound, replay."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cutaway.robustness.verify.instances import run_instances
    from cutaway.robustness.verify.onnx_query import open_onnx, verify_vnnlib
    from cutaway.robustness.verify.replay import module_replay, onnx_replay
    from cutaway.robustness.verify.verdict import Verdict, VerifySettings, verify

__all__ = [
    "Verdict",
    "VerifySettings",
    "module_replay",
    "onnx_replay",
    "open_onnx",
    "run_instances",
    "verify",
    "verify_vnnlib",
]

_HOME = {
    "Verdict": "verdict",
    "VerifySettings": "verdict",
    "module_replay": "replay",
    "onnx_replay": "replay",
    "open_onnx": "onnx_query",
    "run_instances": "instances",
    "verify": "verdict",
    "verify_vnnlib": "onnx_query",
}


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
