"""The picture of a slice: faces filled, edges coloured by the depth of their site, the decision boundary on top."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from cutaway.arrangement.faces import in_plane_spectrum
from cutaway.errors import InputError
from cutaway.files import atomic
from cutaway.geometry.partition import Slice
from cutaway.geometry.plane import Plane
from cutaway.pictures import colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Colouring = Literal["class", "area", "condition", "norm", "none"]
AXIS_NAMES = ("first direction of the plane (units of the input)", "second direction")
_RASTER_ABOVE = 20_000  # faces: beyond this the polygons of an SVG are one embedded image


def draw_slice(
    result: Slice,
    axes: Axes | None = None,
    *,
    colour: Colouring = "class",
    title: str = "",
    class_names: tuple[str, ...] = (),
    axis_names: tuple[str, str] = AXIS_NAMES,
) -> Axes:
    """Draw onto matplotlib axes (new ones if none are given) and return them; `colour` says what fills the faces."""
    if axes is None:
        import matplotlib.pyplot as plt

        axes = plt.subplots(figsize=(7.2, 6.2), layout="constrained")[1]
    from matplotlib.collections import LineCollection, PolyCollection

    raster = result.num_faces > _RASTER_ABOVE
    corners = [result.vertices[result.corners(f)] for f in range(result.num_faces)]
    faces = PolyCollection(corners, edgecolors="none", antialiaseds=False, rasterized=raster)
    if colour == "class":
        faces.set_facecolor([colours.class_colour(int(c)) for c in result.face_classes])
    elif colour != "none":
        values = face_values(result, colour)
        faces.set_array(values)
        faces.set_cmap(colours.FACE_SCALE)
        faces.set_clim(*colours.robust_range(values))
        axes.figure.colorbar(faces, ax=axes, fraction=0.046, pad=0.02, label=FACE_LABELS[colour])
    else:
        faces.set_facecolor("white")
    axes.add_collection(faces)
    if colour == "class":
        pieces = result.class_pieces()
        shades = [colours.class_colour(int(c)) for c in pieces.classes]
        axes.add_collection(
            PolyCollection(pieces.polygons, facecolors=shades, edgecolors="none", antialiaseds=False, rasterized=raster)
        )
    sites = result.edge_sites
    palette = colours.depth_colours(len(result.sites))
    width = float(np.clip(40 / np.sqrt(max(result.num_faces, 1)), 0.12, 0.9))
    segments = result.vertices[result.edges]
    for site in np.unique(sites):
        shade = colours.DOMAIN if site < 0 else palette[site]
        lines = LineCollection(
            list(segments[sites == site]),
            colors=shade,
            linewidths=1.0 if site < 0 else width,
            capstyle="round",
            rasterized=raster,
        )
        axes.add_collection(lines)
    bold = float(np.clip(40 / np.sqrt(max(len(result.decision.segments), 1)), 0.8, 1.8))
    axes.add_collection(
        LineCollection(list(result.decision.segments), colors=colours.BOUNDARY, linewidths=bold, capstyle="round")
    )
    if len(result.plane.anchors):
        _mark_inputs(result.plane, axes, class_names)
    low, high = result.domain.min(axis=0), result.domain.max(axis=0)
    margin = 0.02 * (high - low).max()
    axes.set_xlim(low[0] - margin, high[0] + margin)
    axes.set_ylim(low[1] - margin, high[1] + margin)
    axes.set_aspect("equal")
    axes.tick_params(labelsize=7, length=2, width=0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title or _title(result), fontsize=9)
    axes.set_xlabel(axis_names[0], fontsize=7)
    axes.set_ylabel(axis_names[1], fontsize=7)
    if colour == "class":
        _class_legend(result, axes, class_names)
    if len(result.sites) > 1:
        _depth_scale(result, axes)
    return axes


def _mark_inputs(plane: Plane, axes: Axes, class_names: tuple[str, ...]) -> None:
    """The inputs that the plane goes through, in their class's colour where they have one; a few with their label."""
    known = [class_names.index(n) if n in class_names else int(n) if n.isdecimal() else None for n in plane.labels]
    shades = ["white" if k is None else colours.class_colour(k) for k in known] or "white"
    axes.scatter(*plane.anchors.T, s=25, c=shades, edgecolors="black", linewidths=1.2, zorder=3)
    if len(plane.anchors) <= 12:
        for point, label in zip(plane.anchors, plane.labels, strict=False):
            box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}
            axes.annotate(label, point, (6, 5), textcoords="offset points", fontsize=8, bbox=box, annotation_clip=True)


FACE_LABELS = {
    "area": "log10 area of the face",
    "condition": "log10 condition number of the map along the slice",
    "norm": "largest singular value of the map along the slice",
}


def face_values(result: Slice, colour: str):
    """(F,): what a face colouring other than by class shows."""
    if colour == "area":
        return np.log10(np.maximum(result.measures.area, 1e-300))
    spectrum = in_plane_spectrum(result.slopes)
    if colour == "norm":
        return spectrum[:, 0]
    if colour == "condition":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log10(spectrum[:, 0] / spectrum[:, 1])
    raise InputError(
        "colour of the faces", found=colour, expected="class, area, condition, norm or none", remedy="give one of these"
    )


def _title(result: Slice) -> str:
    count = f"{result.num_faces:,} {result.kind_of_faces}"
    return count if result.num_faces > 1 else f"{count}: no neuron's boundary crosses the domain"


def _class_legend(result: Slice, axes: Axes, names: tuple[str, ...]) -> None:
    from matplotlib.patches import Patch

    present = np.flatnonzero(result.class_areas() > 1e-9 * result.measures.area.sum())
    if len(present) > 12:
        return
    handles = [
        Patch(facecolor=colours.class_colour(int(c)), label=names[c] if c < len(names) else f"class {c}")
        for c in present
    ]
    axes.legend(handles=handles, fontsize=6.5, loc="upper right", framealpha=0.88, edgecolor="none", handlelength=1.0)


def _depth_scale(result: Slice, axes: Axes) -> None:
    """A small scale in the lower left corner: edge colour from the first site to the last."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((0.01, 0.01), 0.27, 0.085, transform=axes.transAxes, color="white", alpha=0.88, zorder=4))
    inset = axes.inset_axes((0.04, 0.05, 0.2, 0.016), zorder=5)
    shades = colours.depth_colours(len(result.sites))
    inset.imshow(np.arange(len(shades))[None], cmap=ListedColormap(shades), aspect="auto")
    inset.set_xticks([0, len(shades) - 1], ["first", "last"], fontsize=6)
    inset.set_yticks([])
    inset.tick_params(length=0, pad=1.5)
    inset.set_title(f"edge: its neuron's site (of {len(shades)})", fontsize=6, pad=2)
    for spine in inset.spines.values():
        spine.set_linewidth(0.4)


def write_picture(
    result: Slice,
    path: str | Path,
    *,
    colour: Colouring = "class",
    title: str = "",
    class_names: tuple[str, ...] = (),
    axis_names: tuple[str, str] = AXIS_NAMES,
) -> list[Path]:
    """Write PATH.png (250 dpi) and PATH.svg; returns both. Nothing is left half-written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    names = {"class_names": class_names, "axis_names": axis_names}
    draw_slice(result, figure.add_subplot(), colour=colour, title=title, **names)
    stem, made = Path(path), []
    for kind in ("png", "svg"):
        target = stem.parent / f"{stem.name}.{kind}"
        with atomic(target) as unfinished:
            figure.savefig(unfinished, format=kind, dpi=250)
        made.append(target)
    return made
