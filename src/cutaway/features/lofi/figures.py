"""Pictures of LoFi: spectra with the noise edge, convolutional filters, accuracy against samples with all baselines.

Each function draws into matplotlib axes (its own when none is given) and returns the figure; nothing is shown or saved.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway.features.lofi.emergence import Emergence, EmergenceCurve

Array = NDArray[Any]


def _axes(axes: Any, size: tuple[float, float]) -> tuple[Any, Any]:
    if axes is not None:
        return axes.figure, axes
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()


def spectrum_figure(found: Emergence, axes: Any = None) -> Any:
    """|Eigenvalues| of the moment operator by rank, filled where they emerged, with analytic and permuted noise
    edge."""
    figure, axes = _axes(axes, (5.2, 3.4))
    rank, size = np.arange(1, found.eigenvalues.size + 1), np.abs(found.eigenvalues)
    axes.vlines(rank, 0, size, color="0.8", lw=1)
    axes.scatter(rank[found.emerged], size[found.emerged], color="C0", label="emerged", zorder=3)
    axes.scatter(
        rank[~found.emerged], size[~found.emerged], facecolor="white", edgecolor="C0", label="not emerged", zorder=3
    )
    axes.axhline(found.analytic_edge, color="C3", ls="--", label="noise edge, analytic")
    axes.axhline(found.permuted_edge, color="C1", ls=":", label="noise edge, permuted labels (95 %)")
    axes.set(xlabel="direction", ylabel="|eigenvalue|", title=f"Label-weighted spectrum, n = {found.num_samples}")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)
    return figure


def emergence_figure(curve: EmergenceCurve, measured: Array | None = None, axes: Any = None) -> Any:
    """Predicted squared overlap against the number of samples; `measured` (len(samples),) is overlaid as points."""
    figure, axes = _axes(axes, (5.2, 3.4))
    fine = np.geomspace(curve.samples.min(), curve.samples.max(), 200)
    for position, critical in enumerate(curve.critical_samples):
        if not np.isfinite(critical):
            continue
        last = position == curve.critical_samples.size - 1
        label = "next feature (predicted)" if last else ("emerged" if position == 0 else None)
        axes.plot(fine, np.clip(1 - critical / fine, 0, 1), color="C1" if last else "C0", label=label)
    if measured is not None:
        axes.plot(curve.samples, measured, "ko", ms=4, label="measured")
    axes.axvline(curve.now.num_samples, color="0.6", ls=":", label="data in hand")
    axes.set(xscale="log", xlabel="samples", ylabel="squared overlap", ylim=(-0.02, 1.02))
    axes.legend(frameon=False, fontsize=8)
    return figure


def filters_figure(filters: Array, values: Array) -> Any:
    """Patch filters (C, k, s, s), one row a channel, titled by their eigenvalue."""
    from matplotlib.figure import Figure

    channels, count = filters.shape[:2]
    figure = Figure(figsize=(1.1 * count, 1.3 * channels), layout="constrained")
    grid = figure.subplots(channels, count, squeeze=False)
    for channel in range(channels):
        for position in range(count):
            axes, picture = grid[channel, position], filters[channel, position]
            top = np.abs(picture).max()
            axes.imshow(picture, cmap="RdBu_r", vmin=-top, vmax=top)
            axes.set_axis_off()
            axes.set_title(f"{values[channel, position]:+.2g}", fontsize=7)
    return figure


def accuracy_figure(samples: Array, accuracies: dict[str, Array], errors: dict[str, Array] | None = None) -> Any:
    """Test accuracy against training samples, one line a method, bands of two standard errors."""
    figure, axes = _axes(None, (5.4, 3.6))
    for number, (name, values) in enumerate(accuracies.items()):
        axes.plot(samples, values, marker="o", ms=3, color=f"C{number}", label=name)
        if errors is not None:
            low, high = values - 2 * errors[name], values + 2 * errors[name]
            axes.fill_between(samples, low, high, color=f"C{number}", alpha=0.2, lw=0)
    axes.set(xscale="log", xlabel="training samples", ylabel="test accuracy")
    axes.legend(frameon=False, fontsize=8)
    return figure
