"""The picture of certified, unknown and attacked shares against the radius, one panel a network."""

from __future__ import annotations

import os
from pathlib import Path

Curve = list[dict[str, float]]


def draw_curve(curves: Curve | dict[str, Curve], path: Path, *, norm: str, units: str = "") -> None:
    """Write a .png or .svg. Stacked areas: certified at the bottom, then unknown, then falsified, then
    misclassified."""
    from matplotlib.figure import Figure

    named = curves if isinstance(curves, dict) else {"": curves}
    figure = Figure(figsize=(4.6 * len(named), 3.6), layout="constrained")
    panels = figure.subplots(1, len(named), sharey=True, squeeze=False)[0]
    for axes, (name, curve) in zip(panels, named.items()):
        radii = [p["radius"] for p in curve]
        parts = [
            [p["certified"] for p in curve],
            [p["attacked"] - p["certified"] for p in curve],
            [p["clean"] - p["attacked"] for p in curve],
            [1 - p["clean"] for p in curve],
        ]
        colours = ["#2563a8", "#c3c8d0", "#d9822b", "#6b2d2d"]
        axes.stackplot(
            radii, *parts, colors=colours, labels=["certified", "unknown", "attacked", "wrong without attack"]
        )
        axes.set(title=name, xlabel=f"l{norm} radius", ylim=(0, 1), xlim=(min(radii), max(radii)))
    panels[0].set_ylabel("share of samples")
    panels[-1].legend(loc="lower left", fontsize=8)
    figure.suptitle(units, fontsize=8)
    temporary = Path(path).with_name("." + Path(path).name)
    figure.savefig(temporary, dpi=150, format=Path(path).suffix.lstrip(".") or "png")
    os.replace(temporary, path)
