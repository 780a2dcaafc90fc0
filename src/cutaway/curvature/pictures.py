"""The sweep over initial scales in one picture: excess of positive curvature, softmax gain and entropy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cutaway.curvature.sweep import Scaled


def sweep_figure(points: Sequence[Scaled]) -> Any:
    """Excess above, gain and entropy below, against the scale on a log axis. Returns a matplotlib figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 5.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    scales = [p.scale for p in points]
    above.axhline(0.0, color="0.7", lw=0.8)
    above.plot(scales, [p.excess.excess for p in points], "o-", color="C0", ms=4)
    above.set(ylabel=f"excess of positive curvature\nin {points[0].excess.dimension} random directions")
    below.plot(scales, [p.gain for p in points], "o-", color="C1", ms=4, label="softmax gain")
    below.plot(scales, [p.entropy for p in points], "s--", color="C2", ms=4, label="entropy of the softmax [nat]")
    below.set(xlabel="scale of the weights", xscale="log")
    below.legend(frameon=False, fontsize=8)
    return figure
