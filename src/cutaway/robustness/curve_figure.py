"""Pictures of the shares certified, unknown and broken by an attack against the radius: one panel a network, or all in
one."""

from __future__ import annotations

from pathlib import Path

from cutaway.files import atomic

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
        labels = ["certified", "unknown", "broken by an attack", "wrong without attack"]
        axes.stackplot(radii, *parts, colors=colours, labels=labels)
        axes.set(title=name, xlabel=f"l{norm} radius", ylim=(0, 1), xlim=(min(radii), max(radii)))
    panels[0].set_ylabel("share of samples")
    panels[-1].legend(loc="lower left", fontsize=8)
    figure.suptitle(units, fontsize=8)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=150, format=Path(path).suffix.lstrip(".") or "png")


def draw_together(curves: dict[str, Curve], path: Path, *, norm: str, units: str = "") -> None:
    """Write a .png or .svg: for each network the certified share (line, with its Clopper-Pearson band), the share that
    withstood the attack (dashed), and what lies between, undecided (light)."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure = Figure(figsize=(4.8, 3.4), layout="constrained")
    axes = figure.subplots()
    reach = max(p["radius"] for curve in curves.values() for p in curve)
    for i, ((name, curve), colour) in enumerate(zip(curves.items(), ("#1f5fa8", "#c8641b", "#3a7d44", "#7a4b94"))):
        radii = [p["radius"] for p in curve]
        beside = [r + (i - (len(curves) - 1) / 2) * 0.008 * reach for r in radii]  # so that bars do not hide each other
        certified, attacked = ([p[k] for p in curve] for k in ("certified", "attacked"))
        axes.fill_between(radii, certified, attacked, color=colour, alpha=0.13, linewidth=0)
        axes.plot(radii, attacked, color=colour, linestyle=(0, (4, 2)), linewidth=1.1)
        axes.plot(radii, certified, color=colour, linewidth=1.6, label=name)
        below, above = ([p[f"certified_{k}"] for p in curve] for k in ("low", "high"))
        bars = [[c - b for c, b in zip(certified, below)], [a - c for c, a in zip(certified, above)]]
        axes.errorbar(beside, certified, bars, color=colour, fmt="o", markersize=3.5, elinewidth=0.9, capsize=2)
    axes.set_xlabel(f"{_symbol(norm)} radius" + (f" ({units})" if units else ""), fontsize=9)
    axes.set_ylabel("share of test images", fontsize=9)
    axes.set(ylim=(-0.02, 1.02), xlim=(-0.02 * reach, 1.02 * reach))
    axes.locator_params(axis="x", nbins=6)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    grey = "#555555"
    extra = [
        Line2D([], [], color=grey, marker="o", markersize=3.5, linewidth=1.6, label="certified, 95 % interval"),
        Line2D([], [], color=grey, linestyle=(0, (4, 2)), linewidth=1.1, label="not broken by the attack"),
        Patch(color=grey, alpha=0.2, linewidth=0, label="undecided"),
    ]
    handles, _ = axes.get_legend_handles_labels()
    axes.legend(handles=[*handles, *extra], frameon=False, fontsize=8, loc="lower left")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=200, format=Path(path).suffix.lstrip(".") or "png")


def _symbol(norm: str) -> str:
    return {"inf": r"$\ell_\infty$", "2": r"$\ell_2$", "1": r"$\ell_1$"}.get(norm, norm)
