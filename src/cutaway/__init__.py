"""Cutaway opens a neural network up.

    Network  --instrument.measure(network, data)-->  Reading  --.against(null)-->  figures with p-values  -->  report

Names are imported on first use, so that `import cutaway` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

from cutaway import _late, _moved

_HOMES = {
    "Network": "cutaway.network",
    "Reading": "cutaway.reading",
    "Figure": "cutaway.reading",
    "Instrument": "cutaway.instrument",
    "Status": "cutaway.status",
    "CutawayError": "cutaway.errors",
    "load_data": "cutaway.data",
    "load_model": "cutaway.network.sources",
    "scan": "cutaway.scanning",
}

__all__ = sorted(_HOMES)
__version__ = "0.1.0"
_moved.install()
_late.attach("Reading.plot", "cutaway.registry:draw")
_late.attach("Reading._repr_html_", "cutaway.report.notebook:reading_html")
_late.attach("Network.bounds", "cutaway.robustness.bounds.layers:layer_bounds")
_late.attach("Slice.draw", "cutaway.report.explorer.picture:draw_slice")
_late.attach("Run.report", "cutaway.report.page:write_report")
_late.attach("Run._repr_html_", "cutaway.report.notebook:run_html")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name.replace("load_data", "load"))
    raise AttributeError(f"module 'cutaway' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
