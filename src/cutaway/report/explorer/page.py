"""The explorer: slices as one self-contained HTML page to pan, zoom and point at.

`write_explorer([slice, ...], path, labels=[...])` embeds for every slice (a frame: one checkpoint) the vertices, faces
and edges, the linear outputs of every face (a sign partition has none), and the tree of activation patterns (see
`pattern_tree`); the page draws them on a canvas in tiles and needs no network. Numbers are stored in single precision
for drawing; the exact ones stay in `Slice`.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.errors import BudgetError, InputError
from cutaway.files import write_text
from cutaway.geometry.decision import as_logits
from cutaway.geometry.face_patterns import pattern_tree
from cutaway.geometry.partition import Slice
from cutaway.pictures import colours
from cutaway.report.explorer.picture import face_values

_MAX_FACES = 400_000
_SCRIPTS = ("slice.js", "panel.js", "draw.js", "export.js", "moves.js")


def explorer_page(
    slices: Sequence[Slice],
    *,
    labels: Sequence[str] = (),
    title: str = "slice",
    class_names: Sequence[str] = (),
) -> str:
    """The page as text. `slices` share plane and domain (checkpoints of one training run); `labels` name them.

    Raises InputError when they do not share a domain, BudgetError beyond 400,000 faces a frame.
    """
    if not slices:
        raise InputError("explorer", found="no slice", expected="at least one", remedy="give a slice")
    first = slices[0]
    for number, other in enumerate(slices):
        if other.domain.shape != first.domain.shape or not np.allclose(other.domain, first.domain):
            raise InputError(
                f"slice {number}",
                found="another domain than slice 0",
                expected="one domain for all frames",
                remedy="slice all frames with the same domain",
            )
        if other.num_faces > _MAX_FACES:
            raise BudgetError(
                f"explorer, slice {number}",
                found=f"{other.num_faces} faces",
                expected=f"at most {_MAX_FACES}",
                remedy="take a smaller domain for the page; the picture has no such bound",
            )
    names = [
        labels[i] if i < len(labels) else (f"checkpoint {i}" if len(slices) > 1 else "") for i in range(len(slices))
    ]
    plane = first.plane
    classes = as_logits(first.outputs[:1]).shape[1]
    data = {
        "title": title,
        "kind": first.kind,
        "frames": [_frame(s, label) for s, label in zip(slices, names)],
        "domain": first.domain.tolist(),
        "anchors": plane.anchors.tolist(),
        "anchorLabels": list(plane.labels[: len(plane.anchors)]) if len(plane.anchors) <= 12 else [],
        "classes": [str(class_names[c]) if c < len(class_names) else f"class {c}" for c in range(classes)],
        "classColours": [colours.class_colour(c) for c in range(classes)],
        "scale": _scale(),
        "shape": list(plane.input_shape),
        "origin": _pack(plane.origin),
        "directions": _pack(plane.directions),
    }
    here = resources.files("cutaway.report.explorer")
    template = here.joinpath("explorer.html").read_text(encoding="utf-8")
    script = "\n".join(here.joinpath(name).read_text(encoding="utf-8") for name in _SCRIPTS)
    payload = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    return template.replace("{{title}}", html.escape(title)).replace("{{script}}", script).replace("{{data}}", payload)


def write_explorer(slices: Sequence[Slice], path: str | Path, **options: Any) -> Path:
    """Write `explorer_page` to a file (whole or not at all)."""
    return write_text(path, explorer_page(slices, **options))


def _frame(result: Slice, label: str) -> dict[str, Any]:
    measures, cells = result.measures, result.cells
    pieces = result.class_pieces()
    ends = np.concatenate([[0], np.cumsum([len(p) for p in pieces.polygons])])
    return {
        "label": label,
        "kind": result.kind_of_faces,
        "faces": result.num_faces,
        "summary": {k: v if v == v else None for k, v in result.summary().items() if k != "kind"},
        "vertices": _pack(result.vertices),
        "start": _pack(measures.start, np.uint32),
        "corners": _pack(cells.origin[measures.order], np.uint32),
        "interior": _pack(measures.interior),
        "edges": _pack(result.edges, np.uint32),
        "edgeSites": _pack(result.edge_sites, np.int16),
        "sites": [f"{s.name} ({s.kind})" for s in result.sites],
        "siteColours": colours.depth_colours(len(result.sites)),
        "boundary": _pack(result.decision.segments),
        "class": _pack(result.face_classes, np.uint16),
        "present": np.flatnonzero(result.class_areas() > 1e-9 * measures.area.sum()).tolist(),
        "maps": _pack(_maps(result) if result.affine else np.zeros(0)),
        "pieceStart": _pack(ends, np.uint32),
        "piecePoints": _pack(np.concatenate(pieces.polygons) if pieces.polygons else np.zeros((0, 2))),
        "pieceClass": _pack(pieces.classes, np.uint16),
        "pieceFace": _pack(pieces.faces, np.uint32),
        "colourings": {
            name: _colouring(result, name) for name in (("area", "norm", "condition") if result.affine else ("area",))
        },
        **_patterns(result),
    }


def _maps(result: Slice) -> np.ndarray:
    """(F, C, 3): logits at each face's interior point and their slopes along the plane."""
    logits, slopes = as_logits(result.interior_outputs), result.slopes
    if slopes.shape[1] < logits.shape[1]:
        slopes = np.concatenate([np.zeros_like(slopes), slopes], axis=1)
    return np.concatenate([logits[:, :, None], slopes], axis=2)


def _colouring(result: Slice, name: str) -> dict[str, Any]:
    values = face_values(result, name)
    low, high = colours.robust_range(values)
    return {"values": _pack(np.nan_to_num(values, nan=high, posinf=high, neginf=low)), "low": low, "high": high}


def _patterns(result: Slice) -> dict[str, Any]:
    """The pattern tree of the gates that made an edge, and what these gates are called; the page climbs it."""
    tree = pattern_tree(result)
    names = []
    for gate in tree.gates:
        site, channel, position, part = result.neuron(int(gate))
        where = f"[{channel}" + ("".join(f",{p}" for p in position)) + "]"
        names.append(f"{site}{where}" + (f" part {part}" if part else ""))
    return {
        "gates": names,
        "windowsLeftOut": tree.windows_left_out,
        "rootPattern": _pack(np.packbits(tree.root_pattern, bitorder="little"), np.uint8),
        "parent": _pack(tree.parent, np.int32),
        "flipStart": _pack(tree.flip_start, np.uint32),
        "flips": _pack(tree.flips, np.uint32),
    }


def _pack(array, dtype: Any = np.float32) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()).decode()


def _scale() -> list[list[int]]:
    from matplotlib import colormaps

    return [[int(255 * c) for c in colormaps[colours.FACE_SCALE](i / 255)[:3]] for i in range(256)]
