"""Pictures of LoFi: spectra with the noise edge, convolutional filters, accuracy against samples with all baselines.

Each function draws into matplotlib axes (its own when none is given) and returns the figure; nothing is shown or saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cutaway.arrays import Array
from cutaway.features.lofi.spectral_emergence import Emergence, EmergenceCurve


def _axes(axes: Any, size: tuple[float, float]) -> tuple[Any, Any]:
    if axes is not None:
        return axes.figure, axes
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()


def spectrum_figure(found: Emergence, axes: Any = None) -> Any:
    """|Eigenvalues| of the moment operator by rank, filled where they emerged, with two noise edges: the analytic one
    of what the emerged directions leave, and that of permuted labels of the whole."""
    figure, axes = _axes(axes, (5.2, 3.4))
    rank, size = np.arange(1, found.eigenvalues.size + 1), np.abs(found.eigenvalues)
    axes.vlines(rank, 0, size, color="0.8", lw=1)
    axes.scatter(rank[found.emerged], size[found.emerged], color="C0", label="emerged", zorder=3)
    axes.scatter(
        rank[~found.emerged], size[~found.emerged], facecolor="white", edgecolor="C0", label="not emerged", zorder=3
    )
    axes.axhline(found.analytic_edge, color="C3", ls="--", label="noise edge without the emerged, analytic")
    axes.axhline(found.permuted_edge, color="C1", ls=":", label="noise edge of all, permuted labels (95 %)")
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


def filters_figure(filters: Array, values: Array, names: Sequence[str] | None = None) -> Any:
    """Patch filters (C, k, s, s), one row a channel (named by `names`), titled by their eigenvalue (C, k)."""
    from matplotlib.figure import Figure

    channels, count = filters.shape[:2]
    figure = Figure(figsize=(1.05 * count + 0.4, 1.35 * channels), layout="constrained")
    grid = figure.subplots(channels, count, squeeze=False)
    for channel in range(channels):
        for position in range(count):
            axes, picture = grid[channel, position], filters[channel, position]
            top = np.abs(picture).max()
            axes.imshow(picture, cmap="RdBu_r", vmin=-top, vmax=top)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            axes.set_title(f"{values[channel, position]:+.1e}", fontsize=7)
        grid[channel, 0].set_ylabel(names[channel] if names is not None else f"channel {channel + 1}", fontsize=8)
    return figure


def accuracy_figure(samples: Array, accuracies: dict[str, Array], errors: dict[str, Array] | None = None) -> Any:
    """Test accuracy against training samples, one line a method, bars of two standard errors set side by side.

    `samples` (k,), every accuracy and error (k,).
    """
    figure, axes = _axes(None, (5.6, 3.8))
    samples = np.asarray(samples, dtype=float)
    steps = np.diff(np.log(np.sort(samples)))
    gap = 0.04 * (float(steps.min()) if steps.size else 1.0)  # in logarithms, so that bars do not lie on one another
    for number, (name, values) in enumerate(accuracies.items()):
        shifted = samples * np.exp(gap * (number - (len(accuracies) - 1) / 2))
        bars = None if errors is None else 2 * errors[name]
        axes.errorbar(shifted, values, yerr=bars, marker="o", ms=3.5, lw=1.3, elinewidth=0.9, label=name)
    axes.set(xscale="log", xlabel="training samples", ylabel="test accuracy")
    axes.set_xticks(samples, [f"{n:,.0f}" for n in samples])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8)
    return figure
