"""Theory and simulation in one picture: lines for the equations, bands for the seeds (10 to 90 %), phase diagrams."""

from __future__ import annotations

from typing import Any

import numpy as np

from cutaway.arrays import Array
from cutaway.dynamics.phase import phase_boundary


def overlay_figure(
    theory: dict[str, tuple[Array, Array]],
    simulation: dict[str, tuple[Array, Array]],
    *,
    xlabel: str = "step",
    ylabel: str = "overlap",
) -> Any:
    """`theory[name]` = (x, y) drawn as a line; `simulation[name]` = (x (T,), values (T, S)) as median and 10-90 % band.

    The same name gets the same colour. Returns a matplotlib figure; nothing is shown or saved.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    names = list(dict.fromkeys([*theory, *simulation]))
    for number, name in enumerate(names):
        color = f"C{number}"
        if name in simulation:
            x, values = simulation[name]
            low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=1)
            axes.fill_between(x, low, high, color=color, alpha=0.25, lw=0)
            axes.plot(x, middle, color=color, ls="--", lw=1, label=f"{name}, {values.shape[1]} seeds")
        if name in theory:
            axes.plot(*theory[name], color=color, lw=1.8, label=f"{name}, theory")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend(frameon=False, fontsize=8)
    return figure


def path_figure(risk: tuple[Array, Array], overlaps: dict[str, tuple[Array, Array]]) -> Any:
    """Risk against the step above, overlaps below: each (x, y), on an axis of its own. Returns a matplotlib figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 5.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(*risk, color="k", lw=1.8)
    above.set(ylabel="risk")
    for number, (name, line) in enumerate(overlaps.items()):
        below.plot(*line, color=f"C{number}", lw=1.8, label=name)
    below.set(xlabel="step", ylabel="overlap, mean over neurons")
    below.legend(frameon=False, fontsize=8)
    return figure


def phase_figure(exponent: int, points: dict[str, tuple[float, float]] | None = None) -> Any:
    """Time exponent against batch exponent for both losses; `points` marks runs by name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for number, loss in enumerate(("square", "correlation")):
        found = phase_boundary(exponent, loss=loss)
        style = "--" if number else "-"  # the two lie on one another up to half the information exponent
        axes.plot(found.batch_exponents, found.time_exponents, color=f"C{number}", ls=style, label=f"{loss} loss")
    for name, (mu, theta) in (points or {}).items():
        axes.plot([mu], [theta], "k.")
        axes.annotate(name, (mu, theta), fontsize=7, textcoords="offset points", xytext=(6, -3))
    axes.set(xlabel="log batch / log d", ylabel="log steps / log d", title=f"information exponent {exponent}")
    axes.legend(frameon=False, fontsize=8)
    return figure


def collapse_figure(series: dict[str, list[list[float]]], xlabel: str, *, logs: bool) -> Any:
    """Errors by generation or by rows, a line a series; penalties and standard errors are left out.

    Returns a matplotlib figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for name, pairs in series.items():
        if name not in ("best_lambda", "standard_error"):
            table = np.array([[np.nan if v is None else v for v in pair] for pair in pairs], dtype=float)
            axes.plot(table[:, 0], table[:, 1], "o-", ms=4, lw=1.6, label=name)
    axes.set(xlabel=xlabel, ylabel="error", xscale="log" if logs else "linear", yscale="log" if logs else "linear")
    axes.legend(frameon=False, fontsize=8)
    return figure
